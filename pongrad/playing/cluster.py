"""Workers on the cores of a Ray cluster: an actor on each core does what a process does on this machine.

Weights are broadcast once an update and a node, and only the rows that have moved: Ray's object store holds
one copy a node, from which its actors bring their own weights up to date. A node or an actor that dies costs
its unfinished tasks, which other actors do again; nodes that join are used from then on.
"""

import contextlib
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pongrad.games import environment
from pongrad.ground.errors import UserError
from pongrad.ground.system import cores, limit_seconds, lower_priority
from pongrad.network.agent import Agent
from pongrad.playing.processes import SECONDS_A_TASK
from pongrad.playing.shared import SharedAgent
from pongrad.playing.team import WorkerDied

LOCAL = "local"
"""The address of a cluster that is started here and ends with this process."""

LOCAL_STORE = 512 * 2**20
"""Bytes of a local cluster's object store: it holds a few updates' rollouts and weights."""

KEPT = 8
"""Publications that an actor may be behind and still be sent moved rows only."""

SECONDS_BETWEEN_LOOKS = 2.0
"""At the cluster's nodes."""

SECONDS_TO_JOIN = 60.0
"""The first actor may take so long to start."""

SAME = ("pongrad", "numpy", "numba", "ale-py", "gymnasium")
"""Packages whose versions decide what is played."""

Moved = dict[str, tuple[Any, Any]]
"""Name -> rows (or ... for all) of the weights and their new values."""


class Player:
    """The actor: keeps two sets of weights and an environment, and does tasks."""

    def __init__(
        self, description: dict[str, Any], layout: Sequence[tuple[str, tuple[int, ...], str]]
    ) -> None:
        lower_priority(5)  # the learner, which may be on the same machine, goes first
        self._agents = [
            Agent.from_description(
                description, {name: np.zeros(shape, dtype) for name, shape, dtype in layout}
            )
            for _ in range(2)
        ]
        self._emulator: environment.Environment | None = None

    def versions(self) -> dict[str, str]:
        """Of the packages here; the first answer says that the actor is ready."""
        return versions()

    def play(self, weights: int, function: Callable[..., Any], args: tuple[Any, ...], *news: Moved) -> Any:
        """Do a task with the `weights`-th weights published, which are those it has and these news."""
        limit_seconds(SECONDS_A_TASK)
        agent = self._agents[weights % 2]
        try:
            for moved in news:
                for name, (rows, values) in moved.items():
                    agent.network.weights[name][rows] = values
            self._emulator = self._emulator or environment.make(agent.game)
            answer = function(agent, *args, self._emulator)
        except Exception as error:  # raised again where it can be seen
            error.add_note(traceback.format_exc())
            answer = error
        limit_seconds(0)
        return answer


class RemoteWorker:
    """An actor, as seen from here.

    Attributes:
        node: the id of its node.
        joined: the answer by which it says that it is ready.
        held: the numbers of its two sets of weights; None: none yet.
    """

    def __init__(self, node: str, shared: SharedAgent, news: "Broadcast") -> None:
        self.node = node
        self._news = news
        self._actor = (
            ray.remote(Player)
            .options(
                num_cpus=1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(shared.description, shared.layout)
        )
        self.joined = self._actor.versions.remote()
        self.held: list[int | None] = [None, None]
        self._answers: deque[Any] = deque()

    @property
    def first(self) -> Any:
        """The reference to its first task's answer."""
        return self._answers[0]

    def give(self, weights: int, function: Callable[..., Any], *args: Any) -> None:
        """Set it to a task; it comes after those it has."""
        news = self._news.since(self.held[weights % 2], weights)
        self.held[weights % 2] = weights
        self._answers.append(self._actor.play.remote(weights, function, args, *news))

    def answer(self) -> Any:
        """What came of its first task; raises WorkerDied."""
        try:
            return ray.get(self._answers.popleft())
        except RayError as error:
            raise WorkerDied(_first_line(error)) from None

    def kill(self) -> None:
        """End the actor, whatever it is doing."""
        with contextlib.suppress(RayError):
            ray.kill(self._actor)


class Broadcast:
    """The weights in Ray's object store: of each publication what has moved, and all where that is needed."""

    def __init__(self, shared: SharedAgent) -> None:
        self._shared = shared
        self._moved: dict[int, Any] = {}
        self._all: dict[int, Any] = {}

    def since(self, held: int | None, number: int) -> list[Any]:
        """References to what brings a set of weights up to date.

        Args:
            held: the number of the publication that it is; None: none.
            number: that of the one it is to be, one of the newest two.
        """
        if held == number:
            return []
        for known in (self._moved, self._all):
            for old in [each for each in known if each <= number - KEPT]:
                del known[old]
        if number not in self._moved:
            self._moved[number] = ray.put(self._changes(number, self._shared.moved_rows))
        if held is not None and held < number and all(i in self._moved for i in range(held + 1, number)):
            return [self._moved[i] for i in range(held + 1, number + 1)]
        if number not in self._all:
            self._all[number] = ray.put(self._changes(number, lambda name, number: None))
        return [self._all[number]]

    def _changes(self, number: int, moved_rows: Callable[[str, int], Any]) -> Moved:
        weights = self._shared.weights(number)
        rows = {name: moved_rows(name, number) for name in weights}
        return {
            name: (..., array) if rows[name] is None else (np.flatnonzero(rows[name]), array[rows[name]])
            for name, array in weights.items()
        }


class Cluster:
    """The team of all actors on a Ray cluster: one on each of its cores, as nodes come and go."""

    def __init__(self, shared: SharedAgent, address: str, count: int | None) -> None:
        """Connect, and wait for the first actor.

        Args:
            shared: who is to play.
            address: HOST:PORT of the cluster, of which this machine is a node; local: start one here, which
                ends with this process.
            count: at most so many actors; None: one on each core.

        Raises:
            UserError: there is no such cluster, no core of it is free, or its nodes have other versions.
        """
        self._shared = shared
        self._news = Broadcast(shared)
        self._most = count
        self._started = not ray.is_initialized()
        self._joining: list[RemoteWorker] = []
        self._team: list[RemoteWorker] = []
        self._looked = -1e9
        if self._started:
            _connect(address, count or cores())
        try:
            self._wait_for_the_first()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> list[RemoteWorker]:
        """Those that are ready."""
        return self._team

    def wait(self, busy: Sequence[RemoteWorker], seconds: float) -> list[RemoteWorker]:
        """Those of the busy workers that have answered or died, waiting for one so many seconds."""
        if time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
            self._look()
        if not busy:
            time.sleep(seconds)
            return []
        by_answer = {worker.first: worker for worker in busy}
        ready, others = ray.wait(list(by_answer), timeout=seconds)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        return [by_answer[answer] for answer in ready]

    def replace(self, worker: RemoteWorker) -> None:
        """End this worker; its core, if it is still there, is used again at the next look."""
        worker.kill()
        self._team.remove(worker)

    def close(self) -> None:
        """End all actors, and the cluster if it has been started here."""
        for worker in (*self._team, *self._joining):
            worker.kill()
        if self._started:
            ray.shutdown()

    def _look(self) -> None:
        """Start an actor on every core that has none, and see which have become ready."""
        self._looked = time.monotonic()
        actors = [*self._team, *self._joining]
        for node in ray.nodes():
            free = int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0
            free -= sum(worker.node == node["NodeID"] for worker in actors)
            for _ in range(free):
                if self._most is None or len(actors) < self._most:
                    actors.append(RemoteWorker(node["NodeID"], self._shared, self._news))
                    self._joining.append(actors[-1])
        for worker in list(self._joining):
            try:
                other = ray.get(worker.joined, timeout=0)
            except GetTimeoutError:
                continue
            except RayError as error:
                self._joining.remove(worker)
                self._failed = _first_line(error)
                continue
            self._joining.remove(worker)
            _check_versions(other)
            self._team.append(worker)

    def _wait_for_the_first(self) -> None:
        self._failed = "no core is free"
        end = time.monotonic() + SECONDS_TO_JOIN
        while not self._team:
            if time.monotonic() > end:
                raise UserError(f"no worker of the cluster starts: {self._failed}")
            self._look()
            time.sleep(0.1)


def versions() -> dict[str, str]:
    """Of the packages that decide what is played."""
    return {name: version(name) for name in SAME}


def _check_versions(other: dict[str, str]) -> None:
    here = versions()
    differing = [f"{name} {other[name]} and here {here[name]}" for name in SAME if other[name] != here[name]]
    if differing:
        raise UserError(f"a node of the cluster has {', '.join(differing)}: install the same there")


def _connect(address: str, count: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers
    local: dict[str, Any] = {}
    if address == LOCAL:
        local = {"num_cpus": count, "object_store_memory": LOCAL_STORE, "include_dashboard": False}
    with _own_signal_handlers():
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"cannot join the Ray cluster at {address} ({_first_line(error)}): start one with ray start "
                "--head, and ray start --address HOST:PORT on every other machine, this one too"
            ) from error


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """In the `with` block Ray may install its handlers; after it ours are back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
