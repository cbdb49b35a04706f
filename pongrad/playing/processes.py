"""Workers on this machine: processes that do task after task, and can be replaced by new ones."""

import ast
import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection, resource_tracker
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pongrad.ground.errors import UserError
from pongrad.ground.system import is_being_started, lower_priority, without_stop_signals
from pongrad.playing.shared import CONTEXT, SharedAgent
from pongrad.playing.task_runner import TaskRunner
from pongrad.playing.team import WorkerDied

SECONDS_A_TASK = 300.0
"""Of a processor: a task takes 0.1 to 2 s, and one that takes so long never ends. The worker dies of it."""


_UNGUARDED = 77
"""Exit code of a process that would start others while it imports the script that started it."""

_GUARD = (
    "this starts processes, and each of them imports your script: put the call inside "
    'if __name__ == "__main__":'
)


def check_may_start_processes() -> None:
    """Find out, before anything is made, whether this process can start others.

    Raises:
        UserError: it is a daemon, or its script calls this whenever it is imported.
    """
    if is_being_started():
        os._exit(_UNGUARDED)
    if multiprocessing.current_process().daemon:
        raise UserError(
            "this starts processes, which those of multiprocessing.Pool may not: use "
            "concurrent.futures.ProcessPoolExecutor"
        )
    if _called_on_import():
        raise UserError(_GUARD)


def _called_on_import() -> bool:
    """Whether the call comes from a line of the main script that is below no `if`."""
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        names = frame.f_globals
        if frame.f_code.co_name == "<module>" and names.get("__name__") == "__main__":
            break
    else:
        return False
    spec = names.get("__spec__")
    if not names.get("__file__") or (spec and spec.name.rpartition(".")[2] == "__main__"):
        return False  # these are not imported again
    try:
        lines = ast.parse(Path(names["__file__"]).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    at = [line for line in lines if line.lineno <= frame.f_lineno <= (line.end_lineno or 0)]
    return bool(at) and not isinstance(at[0], ast.If)


class WorkerProcess:
    """A worker on this machine; a task that comes when its process has ended starts a new one."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self._name = name
        self._args = args
        self._process: Any = None
        self._pipe: Any = None
        self._tasks = 0  # given and not answered yet

    def start(self) -> None:
        """Start the process; it is ready when it is."""
        try:
            self._process, self._pipe = spawn(_work, self._args, self._name)
        except OSError as error:
            self._process = None
            raise UserError(f"cannot start a worker ({error.strerror}): use fewer --workers") from error

    def kill(self) -> None:
        """End the process, whatever it is doing: it holds nothing that could be lost."""
        self._tasks = 0
        if self._process:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    @property
    def pipe(self) -> Any:
        """What to wait for until there is an answer, or it has died."""
        return self._pipe

    def give(self, weights: int, function: Callable[..., Any], *args: Any) -> None:
        """Set it to a task: a function, its arguments, and the number of the weights to play with.

        It comes after the tasks it has.
        """
        if not self._tasks and not (self._process and self._process.is_alive()):
            self.kill()  # no death of this task, if it died before
            self.start()
        self._tasks += 1
        with contextlib.suppress(OSError):  # it has died since its last answer, as `answer` will find
            self._pipe.send((weights, function, *args))

    def answer(self) -> Any:
        """What came of the first task, waiting for it.

        Raises:
            WorkerDied: it died before.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(1)
            code = self._process.exitcode
            if code == _UNGUARDED:
                raise UserError(_GUARD) from None
            raise WorkerDied(f"exit code {code}") from None
        self._tasks -= 1
        return answer


class Processes:
    """Worker processes on this machine.

    Attributes:
        workers: all of them.
    """

    def __init__(self, shared: SharedAgent, count: int) -> None:
        """Start them.

        Args:
            shared: who is to play.
            count: how many processes.

        Raises:
            UserError: this process cannot start them.
        """
        check_may_start_processes()
        self.workers = [WorkerProcess(f"pongrad-worker-{i}", (shared, SECONDS_A_TASK)) for i in range(count)]
        try:
            for worker in self.workers:
                worker.start()
        except UserError:
            self.close()
            raise

    def wait(self, busy: Sequence[Any], seconds: float) -> list[Any]:
        """Those of the busy workers that have answered or died, waiting for one so many seconds."""
        ready = connection.wait([worker.pipe for worker in busy], seconds)
        return [worker for worker in busy if worker.pipe in ready]

    def replace(self, worker: Any) -> None:
        """End this worker's process, dead or at work; the next task starts another."""
        worker.kill()

    def close(self) -> None:
        """End them all."""
        for worker in self.workers:
            worker.kill()


def spawn(target: Callable[..., None], args: tuple[Any, ...], name: str) -> tuple[Any, Any]:
    """Start a process that runs `target(pipe, *args)`; returns it and this end of the pipe.

    It will never hear of Ctrl-C, SIGTERM or SIGHUP: these are for the process that learns.

    Raises:
        OSError: the system has no room for it.
    """
    if os.name == "posix":
        resource_tracker.ensure_running()  # else the first start would do it, and unblock the signals
    with without_stop_signals():
        here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=target, args=(there, *args), name=name, daemon=True)
        process.start()
        there.close()
        return process, here


def _work(pipe: Any, shared: SharedAgent, seconds: float) -> None:
    """A worker's life: receive a task, do it, send back what came out, until the pipe closes."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the emulator complains about damaged states; what matters is sent back
        os.dup2(silence, stream)
    lower_priority(5)  # the learner goes first: all workers wait for its weights
    agents = [shared.agent(number) for number in range(2)]
    runner = TaskRunner(seconds)
    tasks: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, tasks), daemon=True).start()
    while task := tasks.get():
        weights, function, *args = task
        answer = runner.run(agents[weights % 2], function, *args)
        try:
            pipe.send(answer)
        except OSError:
            return


def _receive(pipe: Any, tasks: SimpleQueue[Any]) -> None:
    """Take tasks out of the pipe as soon as they come, so that the sender never waits; None is the end."""
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        tasks.put(None)
