"""The processes behind `Workers`: each does task after task, and is replaced by a new one when it dies."""

import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from pongrad.games import environment
from pongrad.ground.errors import UserError
from pongrad.playing.shared import CONTEXT, SharedAgent

DEATHS = 3
"""So many workers may die of one task before it is given up."""

SECONDS_A_TASK = 300.0
"""Of a processor: a task takes 0.1 s, and one that takes so long never ends. The worker dies of it."""

_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class WorkersDied(UserError):
    """One after the other, of the same task; the unfinished rollouts are gone, all else is as it was."""


class Worker:
    """One place in the team: a process, replaced by a new one when it dies."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self._name = name
        self._args = args
        self._process: Any = None
        self._pipe: Any = None
        self._tasks: deque[tuple[Any, ...]] = deque()  # given and not answered yet
        self._deaths = 0  # since the last answer

    def start(self) -> None:
        """Start the process; it is ready when it is."""
        try:
            self._process, self._pipe = spawn(_work, self._args, self._name)
        except OSError as error:
            self._process = None
            raise UserError(f"cannot start a worker ({error.strerror}): use fewer --workers") from error

    def kill(self) -> None:
        """End the process, whatever it is doing: it holds nothing that could be lost."""
        self._tasks.clear()
        self._deaths = 0
        self._end()

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def fileno(self) -> int:
        """What to wait for until there are answers."""
        return self._pipe.fileno()

    def give(self, message: tuple[Any, ...]) -> None:
        """Set it to a task, a function and its arguments; it comes after those it has."""
        if not self._tasks and not (self._process and self._process.is_alive()):
            self.kill()  # no death of this task, if it died before
            self.start()
        self._tasks.append(message)
        self._send(message)

    def answers(self) -> list[Any]:
        """What came of the first task, waiting for it; nothing if it died and a new process does its tasks.

        Raises:
            WorkersDied: it died too often.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._replace()
            self._send(*self._tasks)
            return []
        self._tasks.popleft()
        self._deaths = 0
        return [answer]

    def _send(self, *messages: tuple[Any, ...]) -> None:
        while True:
            try:
                for message in messages:
                    self._pipe.send(message)
                return
            except OSError:  # it has died since its last answer
                self._replace()
                messages = tuple(self._tasks)

    def _replace(self) -> None:
        self._process.join(1)
        code = self._process.exitcode
        self._end()
        self._deaths += 1
        if self._deaths == DEATHS:
            self.kill()  # and forget what it dies of
            raise WorkersDied(
                f"{DEATHS} workers died of the same games, the last with exit code {code}: free memory or "
                "use fewer --workers; a training run is saved, go on with --resume (if they die again, "
                "delete its newest checkpoint)"
            )
        self.start()


def spawn(target: Callable[..., None], args: tuple[Any, ...], name: str) -> tuple[Any, Any]:
    """Start a process that runs `target(pipe, *args)`; returns it and this end of the pipe.

    It will never hear of Ctrl-C or SIGTERM: these are for the process that learns.

    Raises:
        OSError: the system has no room for it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=target, args=(there, *args), name=name, daemon=True)
        process.start()
        there.close()
        return process, here
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(pipe: Any, shared: SharedAgent, seconds: float) -> None:
    """A worker's life: receive a task, do it, send back what came out, until the pipe closes."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the emulator complains about damaged states; what matters is sent back
        os.dup2(silence, stream)
    os.nice(5)  # the learner goes first: all workers wait for its weights
    agents = [shared.agent(number) for number in range(2)]
    emulator: environment.Environment | None = None
    tasks: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, tasks), daemon=True).start()
    while task := tasks.get():
        weights, function, *args = task
        signal.setitimer(signal.ITIMER_PROF, seconds)  # ends even a loop inside the emulator
        try:
            emulator = emulator or environment.make(agents[0].game)
            answer = function(agents[weights % 2], *args, emulator)
        except Exception as error:  # raised again where it can be seen
            error.add_note(traceback.format_exc())
            answer = error
        signal.setitimer(signal.ITIMER_PROF, 0)
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
