"""Worker processes, one a core, that play pieces of games.

A worker keeps nothing of a game: it gets a game's value and sends back the rollout and the value after.
The agent's weights lie in memory that all processes share, so nothing is copied when they change; they
change only while nobody plays.
"""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_byte
from multiprocessing import connection
from typing import Any

import numpy as np

from pongrad.agent import Agent
from pongrad.errors import UserError
from pongrad.games import Emulator, Game
from pongrad.play import Rollout, Stretch, play, play_on

PIECE = 500
"""Steps a worker plays before it hands the game back: about 0.1 s, long beside what restoring costs."""

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
CONTEXT = multiprocessing.get_context("spawn")


_Task = tuple[Any, tuple[Any, ...]]
"""A key to know the answer by, and what to send to a worker: a function and its arguments."""

Layout = list[tuple[str, tuple[int, ...], str]]
"""Names, shapes and dtypes of the weights in shared memory."""

Shared = tuple[dict[str, Any], Any, Layout]
"""An agent's description, and its weights in shared memory."""


class Interrupted(Exception):
    """Play was broken off on request; the unfinished rollouts are gone, everything else is as it was."""


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
        memory = CONTEXT.RawArray(c_byte, sum(array.nbytes for array in agent.network.weights.values()))
        self.agent = Agent.from_description(agent.description(), _views(memory, layout))
        for name, array in agent.network.weights.items():
            self.agent.network.weights[name][:] = array
        self.shared: Shared = agent.description(), memory, layout
        self._processes = []
        self._pipes: list[Any] = []
        # Processes started now will never hear of Ctrl-C or SIGTERM: these are for the one that learns.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            for i in range(count):
                here, there = CONTEXT.Pipe()
                process = CONTEXT.Process(
                    target=_work,
                    args=(there, *self.shared),
                    name=f"pongrad-worker-{i}",
                    daemon=True,
                )
                process.start()
                there.close()
                self._processes.append(process)
                self._pipes.append(here)
        except OSError as error:
            self.__exit__()
            raise UserError(
                f"cannot start {count} workers ({error.strerror}): use fewer --workers"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def __repr__(self) -> str:
        return f"Workers({len(self._processes)} processes, {self.agent})"

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()  # they hold nothing that could be lost
        for process in self._processes:
            process.join()

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
        """
        pieces: list[list[Rollout]] = [[] for _ in games]
        waiting = dict(enumerate(games))  # nobody is playing these
        done: dict[int, Game] = {}

        def next_piece() -> _Task | None:
            begun = [i for i in range(len(games)) if i not in done][: 2 * len(self._pipes)]
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
        """
        dealt = 0
        played: dict[int, list[Stretch]] = {}

        def next_hand() -> _Task | None:
            nonlocal dealt
            if dealt == len(games):
                return None
            hand = range(dealt, dealt + max(1, (len(games) - dealt) // (2 * len(self._pipes))))
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
        playing: dict[Any, Any] = {}
        idle = list(self._pipes)
        try:
            while True:
                while idle and (task := next_task()):
                    key, message = task
                    pipe = idle.pop()
                    self._send(pipe, message)
                    playing[pipe] = key
                if not playing:
                    return
                for pipe in connection.wait(list(playing), timeout=0.1):
                    key = playing.pop(pipe)
                    idle.append(pipe)
                    yield key, self._receive(pipe)
                if stopping():
                    raise Interrupted
        finally:
            for pipe in playing:  # a piece that nobody waits for must not answer the next question
                with contextlib.suppress(EOFError, OSError):
                    pipe.recv()

    def everywhere(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What `function(agent, *args, emulator)` gives in each worker, all at the same time."""
        for pipe in self._pipes:
            self._send(pipe, (function, *args))
        return [self._receive(pipe) for pipe in self._pipes]

    def _send(self, pipe: Any, message: Any) -> None:
        try:
            pipe.send(message)
        except OSError as error:
            raise UserError(self._obituary()) from error

    def _receive(self, pipe: Any) -> Any:
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise UserError(self._obituary()) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _obituary(self) -> str:
        for process in self._processes:
            process.join(0.1)
            if process.exitcode is not None:
                return (
                    f"{process.name} died (exit code {process.exitcode}): try fewer --workers; "
                    "a training run is saved, go on with --resume"
                )
        return "a worker stopped answering: try again; a training run is saved, go on with --resume"


def _views(memory: Any, layout: Layout) -> dict[str, np.ndarray]:
    """The weights that lie one after the other in the shared memory."""
    views, offset = {}, 0
    for name, shape, dtype in layout:
        views[name] = np.ndarray(shape, dtype, memory, offset)
        offset += views[name].nbytes
    return views


def shared_agent(description: dict[str, Any], memory: Any, layout: Layout) -> Agent:
    """The agent around weights that all processes share."""
    return Agent.from_description(description, _views(memory, layout))


def _work(pipe: Any, description: dict[str, Any], memory: Any, layout: Layout) -> None:
    """A worker's life: receive a task, do it, send back what came out, until the pipe closes."""
    agent = shared_agent(description, memory, layout)
    emulator = Emulator(agent.game)
    while True:
        try:
            function, *args = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = function(agent, *args, emulator)
        except Exception as error:  # raised again where it can be seen
            error.add_note(traceback.format_exc())
            answer = error
        try:
            pipe.send(answer)
        except OSError:
            return
