"""Worker processes, one a core, that play pieces of games.

A worker keeps nothing of a game: it gets a game's value and sends back the rollout and the value after.
So a worker that dies loses nothing: another takes its place, and its piece is played again.
The agent's weights lie in memory that all processes share, so nothing is copied when they change; they
change only while nobody plays.
"""

import itertools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_byte
from multiprocessing import connection
from typing import Any, cast

import numpy as np

from pongrad.agent import Agent
from pongrad.errors import UserError
from pongrad.games import Emulator, Game
from pongrad.play import Rollout, Stretch, play, play_on

PIECE = 500
"""Steps a worker plays before it hands the game back: about 0.1 s, long beside what restoring costs."""

DEATHS = 3
"""So many workers may die of one task before it is given up."""

SECONDS_A_TASK = 300.0
"""Of a processor: a task takes 0.1 s, and one that takes so long never ends. The worker dies of it."""

_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_CONTEXT = multiprocessing.get_context("spawn")


_Task = tuple[Any, tuple[Any, ...]]
"""A key to know the answer by, and what to send to a worker: a function and its arguments."""

Layout = list[tuple[str, tuple[int, ...], str]]
"""Names, shapes and dtypes of the weights in shared memory."""

Shared = tuple[dict[str, Any], Any, Layout]
"""An agent's description, and its weights in shared memory."""


class Interrupted(Exception):
    """Play was broken off on request; the unfinished rollouts are gone, everything else is as it was."""


class WorkersDied(UserError):
    """One after the other, of the same task; the unfinished rollouts are gone, all else is as it was."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A team of processes that play one agent; use it in a `with` statement.

    Attributes:
        agent: the agent they play. Its weights are shared: a change is seen by all.
        shared: the same as another process can be given it; there `shared_agent` makes the agent of it.
    """

    def __init__(self, agent: Agent, count: int) -> None:
        """Start the processes.

        Args:
            agent: who is to play; its weights are copied into shared memory.
            count: how many processes.
        """
        layout = [(name, array.shape, array.dtype.str) for name, array in agent.network.weights.items()]
        memory = _CONTEXT.RawArray(c_byte, sum(array.nbytes for array in agent.network.weights.values()))
        self.agent = Agent.from_description(agent.description(), _views(memory, layout))
        for name, array in agent.network.weights.items():
            self.agent.network.weights[name][:] = array
        self.shared: Shared = agent.description(), memory, layout
        start = (*self.shared, SECONDS_A_TASK)
        self._team = [_Worker(f"pongrad-worker-{i}", start) for i in range(count)]
        try:
            for worker in self._team:
                worker.start()
        except UserError:
            self.__exit__()
            raise

    def __repr__(self) -> str:
        return f"Workers({len(self._team)} processes, {self.agent})"

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._team:
            worker.kill()

    def finish(
        self, games: Sequence[Game], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Stretch]]:
        """Play whole games to their ends, sharing them out in pieces.

        Two games a worker are under way, and the next piece is always of the one furthest from its end, so
        that at last all workers finish at nearly the same time, while the games before come out early
        enough to be learned from meanwhile. What comes out does not depend on it.

        Args:
            games: games that are not over.
            stopping: asked ten times a second whether to break off.

        Yields:
            Each game's one stretch, in the order given, as soon as it can be had.

        Raises:
            Interrupted: `stopping` said so.
            WorkersDied: again and again, of the same piece.
        """
        pieces: list[list[Rollout]] = [[] for _ in games]
        waiting = dict(enumerate(games))  # nobody is playing these
        done: dict[int, Game] = {}

        def next_piece() -> _Task | None:
            begun = [i for i in range(len(games)) if i not in done][: 2 * len(self._team)]
            ready = [i for i in begun if i in waiting]
            if not ready:
                return None
            i = min(ready, key=lambda i: (max(waiting[i].won, waiting[i].lost), i))
            return i, (play, [waiting.pop(i)], PIECE)

        next_out = 0
        for i, ((rollout,), (game,)) in self._deal(next_piece, stopping):
            pieces[i].append(rollout)
            (done if game.over else waiting)[i] = game
            while next_out in done:
                yield [(Rollout.join(pieces[next_out]), done[next_out])]
                pieces[next_out] = []
                next_out += 1

    def advance(
        self,
        games: Sequence[Game],
        steps: int,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Stretch]]:
        """Play each game on for exactly so many steps, see `play.play_on`.

        A game that ends is followed by the one numbered `len(games)` after it. Workers are given many games
        at first and few towards the end, so that they have little to send and still end together.

        Args:
            games: games that are not over.
            steps: to play in each.
            stopping: asked ten times a second whether to break off.

        Yields:
            The stretches played in the place of each game, in the order given, as soon as they can be had.

        Raises:
            Interrupted: `stopping` said so.
            WorkersDied: again and again, of the same piece.
        """
        dealt = 0
        played: dict[int, list[Stretch]] = {}

        def next_hand() -> _Task | None:
            nonlocal dealt
            if dealt == len(games):
                return None
            hand = range(dealt, dealt + max(1, (len(games) - dealt) // (2 * len(self._team))))
            dealt = hand.stop
            return hand, (play_on, [games[i] for i in hand], steps, len(games))

        next_out = 0
        for hand, places in self._deal(next_hand, stopping):
            played.update(zip(hand, places, strict=True))
            while next_out in played:
                yield played.pop(next_out)
                next_out += 1

    def _deal(
        self, next_task: Callable[[], "_Task | None"], stopping: Callable[[], bool]
    ) -> Iterator[tuple[Any, Any]]:
        """Keep all workers busy until there is no task left and all are done; yields (key, answer)."""
        playing: dict[_Worker, Any] = {}
        idle = list(self._team)
        try:
            while True:
                while idle and (task := next_task()):
                    key, message = task
                    worker = idle.pop()
                    playing[worker] = key
                    worker.give(message)
                if not playing:
                    return
                ready: Any = connection.wait(cast(Any, list(playing)), timeout=0.1)
                for worker in ready:
                    for answer in worker.answers():
                        idle.append(worker)
                        yield playing.pop(worker), _result(answer)
                if stopping():
                    raise Interrupted
        finally:
            for worker in playing:  # nobody waits any more for what they are doing
                worker.kill()

    def try_on(self, games: Sequence[Game]) -> None:
        """Let a worker take up games that come from a file.

        Raises:
            ValueError: the emulator cannot take them up.
            WorkersDied: of taking them up.
        """
        hands = iter([(0, (_try_on, games))])
        for _ in self._deal(lambda: next(hands, None), lambda: False):
            pass

    def everywhere(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What `function(agent, *args, emulator)` gives in each worker, all at the same time."""
        for worker in self._team:
            worker.give((function, *args))
        return [
            _result(next(answer for _ in itertools.count() for answer in worker.answers()))
            for worker in self._team
        ]


class _Worker:
    """One place in the team: a process, replaced by a new one when it dies."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self._name = name
        self._args = args
        self._process: Any = None
        self._pipe: Any = None

    def start(self) -> None:
        """Start the process; it is ready when it is."""
        try:
            self._process, self._pipe = spawn(_work, self._args, self._name)
        except OSError as error:
            self._process = None
            raise UserError(f"cannot start a worker ({error.strerror}): use fewer --workers") from error

    def kill(self) -> None:
        """End the process, whatever it is doing: it holds nothing that could be lost."""
        if self._process:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def fileno(self) -> int:
        """What to wait for until there are answers."""
        return self._pipe.fileno()

    def give(self, message: tuple[Any, ...]) -> None:
        """Set it to a task: a function and its arguments."""
        self._message, self._deaths = message, 0
        if not (self._process and self._process.is_alive()):  # no death of this task, if it died before
            self.kill()
            self.start()
        self._send()

    def answers(self) -> list[Any]:
        """What came of the task, waiting for it; nothing if it died and a new process has been set to it.

        Raises:
            WorkersDied: it died too often.
        """
        try:
            return [self._pipe.recv()]
        except (EOFError, OSError):
            self._replace()
            self._send()
            return []

    def _send(self) -> None:
        while True:
            try:
                self._pipe.send(self._message)
                return
            except OSError:  # it died while nobody was looking
                self._replace()

    def _replace(self) -> None:
        self._process.join(1)
        code = self._process.exitcode
        self.kill()
        self._deaths += 1
        if self._deaths == DEATHS:
            raise WorkersDied(
                f"{DEATHS} workers died of the same games, the last with exit code {code}: free memory or "
                "use fewer --workers; a training run is saved, go on with --resume (if they die again, "
                "delete its newest checkpoint)"
            )
        self.start()


def _result(answer: Any) -> Any:
    """What a task gave, or raises what it raised."""
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _views(memory: Any, layout: Layout) -> dict[str, np.ndarray]:
    """The weights that lie one after the other in the shared memory."""
    views, offset = {}, 0
    for name, shape, dtype in layout:
        views[name] = np.ndarray(shape, dtype, memory, offset)
        offset += views[name].nbytes
    return views


def spawn(target: Callable[..., None], args: tuple[Any, ...], name: str) -> tuple[Any, Any]:
    """Start a process that runs `target(pipe, *args)`; returns it and this end of the pipe.

    It will never hear of Ctrl-C or SIGTERM: these are for the process that learns.

    Raises:
        OSError: the system has no room for it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        here, there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=target, args=(there, *args), name=name, daemon=True)
        process.start()
        there.close()
        return process, here
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def shared_agent(description: dict[str, Any], memory: Any, layout: Layout) -> Agent:
    """The agent around weights that all processes share."""
    return Agent.from_description(description, _views(memory, layout))


def _try_on(agent: Agent, games: Sequence[Game], emulator: Emulator) -> None:
    for game in games:
        emulator.check(game)


def _work(pipe: Any, description: dict[str, Any], memory: Any, layout: Layout, seconds: float) -> None:
    """A worker's life: receive a task, do it, send back what came out, until the pipe closes."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the emulator complains about damaged states; what matters is sent back
        os.dup2(silence, stream)
    agent = shared_agent(description, memory, layout)
    emulator = Emulator(agent.game)
    while True:
        try:
            function, *args = pipe.recv()
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)  # ends even a loop inside the emulator
        try:
            answer = function(agent, *args, emulator)
        except Exception as error:  # raised again where it can be seen
            error.add_note(traceback.format_exc())
            answer = error
        signal.setitimer(signal.ITIMER_PROF, 0)
        try:
            pipe.send(answer)
        except OSError:
            return
