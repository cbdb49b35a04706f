"""Workers on the cores of a Ray cluster: an actor on each core does what a process does on this machine.

Weights are broadcast once an update and a node, and only the rows that have moved: Ray's object store holds
one copy a node, from which its actors bring their own weights up to date. A node or an actor that dies costs
its unfinished tasks, which other actors do again; nodes that join are used from then on.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from pongrad.ground.compiled import source_hash
from pongrad.ground.errors import UserError
from pongrad.ground.system import STOP_SIGNALS, cores, lower_priority, without_stop_signals
from pongrad.network.agent import Agent
from pongrad.playing.address import LOCAL
from pongrad.playing.processes import SECONDS_A_TASK
from pongrad.playing.shared import SharedAgent
from pongrad.playing.task_runner import TaskRunner
from pongrad.playing.team import WorkerDied, WorkersDied

LOCAL_STORE = 512 * 2**20
"""Bytes of a local cluster's object store: it holds a few updates' rollouts and weights."""

KEPT_PUBLICATIONS = 8
"""An actor whose weights are older is sent all of them, not only what has moved."""

SECONDS_BETWEEN_LOOKS = 2.0
"""At the cluster's cores, and at which actors have become ready."""

SECONDS_AFTER_A_FAILURE = 30.0
"""Where an actor could not start, the next one is tried so much later."""

SECONDS_WITHOUT_WORKERS = 60.0
"""So long we wait for an actor while there is none."""

COMPARED_PACKAGES = ("pongrad", "numpy", "numba", "ale-py", "gymnasium")
"""Their versions decide what is played."""

WeightUpdate = dict[str, tuple[Any, Any]]
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
        self._runner = TaskRunner(SECONDS_A_TASK)

    def about(self) -> tuple[str, dict[str, str]]:
        """The node it is on, and the versions there; the answer says that it is ready."""
        return ray.get_runtime_context().get_node_id(), versions()

    def play(
        self, weights: int, function: Callable[..., Any], args: tuple[Any, ...], *updates: WeightUpdate
    ) -> Any:
        """Do a task with the `weights`-th weights published: those it has, after these updates."""
        agent = self._agents[weights % 2]
        for update in updates:
            for name, (rows, values) in update.items():
                agent.network.weights[name][rows] = values
        return self._runner.run(agent, function, *args)


class RemoteWorker:
    """An actor, as seen from here.

    Attributes:
        about: the answer by which it says that it is ready.
        node: the id of its node, once it is.
    """

    def __init__(self, shared: SharedAgent, broadcast: "Broadcast") -> None:
        self._broadcast = broadcast
        options = {"num_cpus": 1, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(Player).options(**options).remote(shared.description, shared.layout)
        self.about = self._actor.about.remote()
        self.node = ""
        self._publications: list[int | None] = [None, None]  # that its two sets of weights are of
        self._answers: deque[Any] = deque()

    @property
    def idle(self) -> bool:
        """Whether it has no task."""
        return not self._answers

    @property
    def first(self) -> Any:
        """The reference to its first task's answer."""
        return self._answers[0]

    def give(self, weights: int, function: Callable[..., Any], *args: Any) -> None:
        """Set it to a task; it comes after those it has."""
        updates = self._broadcast.updates(self._publications[weights % 2], weights)
        self._publications[weights % 2] = weights
        self._answers.append(self._actor.play.remote(weights, function, args, *updates))

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
    """The weights in Ray's object store: what each publication has moved, and all where that is needed."""

    def __init__(self, shared: SharedAgent) -> None:
        self._shared = shared
        self._moved: dict[int, Any] = {}
        self._all: dict[int, Any] = {}

    def updates(self, before: int | None, number: int) -> list[Any]:
        """References to the updates that turn one publication's weights into another's.

        Args:
            before: number of the publication at hand; None: none is.
            number: that of the one wanted.
        """
        if before == number:
            return []
        for known in (self._moved, self._all):
            for old in [each for each in known if each <= number - KEPT_PUBLICATIONS]:
                del known[old]
        weights = self._shared.weights(number)
        moved = {name: self._shared.moved_rows(name, number) for name in weights}
        some = any(rows is not None for rows in moved.values())
        if some and number not in self._moved:
            self._moved[number] = ray.put(
                {
                    name: (..., array)
                    if (rows := moved[name]) is None
                    else (np.flatnonzero(rows), array[rows])
                    for name, array in weights.items()
                }
            )
        between = range(number if before is None else before + 1, number + 1)
        if before is not None and before < number and all(each in self._moved for each in between):
            return [self._moved[each] for each in between]
        if number not in self._all:
            self._all[number] = ray.put({name: (..., array) for name, array in weights.items()})
        return [self._all[number]]


class Cluster:
    """The team of all actors on a Ray cluster: one on each of its cores, as nodes come and go.

    Attributes:
        workers: those that are ready.
    """

    def __init__(self, shared: SharedAgent, address: str, count: int | None) -> None:
        """Connect, and have actors start.

        Args:
            shared: who is to play.
            address: HOST:PORT of the cluster, of which this machine is a node; local: start one here, which
                ends with this process.
            count: at most so many actors; None: one on each core.

        Raises:
            UserError: there is no such cluster.
        """
        self._shared = shared
        self._broadcast = Broadcast(shared)
        self._most = count
        self._started = not ray.is_initialized()
        self._starting: list[RemoteWorker] = []
        self.workers: list[RemoteWorker] = []
        self._unfit: list[RemoteWorker] = []  # they keep their cores, so that no other actor is put there
        self._failure = "no core is free"
        self._versions = versions()  # as they are now: the source on disk may change
        self._looked = self._next_start = 0.0
        self._last_worker = time.monotonic()  # when there was one
        if self._started:
            _connect(address, count or cores())

    def wait(self, busy: Sequence[RemoteWorker], seconds: float) -> list[RemoteWorker]:
        """Those of the busy workers that have answered or died, waiting for one so many seconds.

        Raises:
            WorkersDied: there has been no worker for a minute.
        """
        now = time.monotonic()
        if now - self._looked > (SECONDS_BETWEEN_LOOKS if self.workers else seconds):
            self._looked = now
            self._start_actors(now)
            self._welcome()
        if self.workers:
            self._last_worker = now
        elif now - self._last_worker > SECONDS_WITHOUT_WORKERS:
            raise WorkersDied(f"no worker of the cluster starts: {self._failure}")
        if not busy:
            time.sleep(seconds)
            return []
        by_answer = {worker.first: worker for worker in busy}
        ready, others = ray.wait(list(by_answer), timeout=seconds)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        return [by_answer[answer] for answer in ready]

    def replace(self, worker: RemoteWorker) -> None:
        """End this worker; its core, if it is still there, is used again at the next look.

        Idle workers of the same node go with it: if the node has died, they have, too.
        """
        for each in [each for each in self.workers if each.node == worker.node and each.idle] + [worker]:
            if each in self.workers:
                each.kill()
                self.workers.remove(each)

    def close(self) -> None:
        """End all actors, and the cluster if it has been started here."""
        for worker in (*self.workers, *self._starting, *self._unfit):
            worker.kill()
        if self._started:
            ray.shutdown()

    def _start_actors(self, now: float) -> None:
        """Have an actor start on every core: Ray puts it where one is free, or becomes free."""
        if now < self._next_start:
            return
        cores = int(ray.cluster_resources().get("CPU", 0))
        wanted = cores if self._most is None else min(cores, self._most + len(self._unfit))
        for _ in range(wanted - len(self.workers) - len(self._starting) - len(self._unfit)):
            self._starting.append(RemoteWorker(self._shared, self._broadcast))

    def _welcome(self) -> None:
        """Take the actors that have become ready into the team."""
        by_about = {worker.about: worker for worker in self._starting}
        if not by_about:
            return
        ready, _ = ray.wait(list(by_about), num_returns=len(by_about), timeout=0)
        for about in ready:
            worker = by_about[about]
            self._starting.remove(worker)
            try:
                worker.node, theirs = ray.get(about)
            except RayError as error:
                worker.kill()
                self._next_start = time.monotonic() + SECONDS_AFTER_A_FAILURE
                self._say(f"a worker of the cluster does not start ({_first_line(error)})")
                continue
            if differing := _differing(theirs, self._versions):
                self._unfit.append(worker)
                self._say(f"a node of the cluster has {differing}: it is not used")
            else:
                self.workers.append(worker)

    def _say(self, failure: str) -> None:
        """Say once what is wrong with a node: the run goes on without it."""
        if failure != self._failure:
            self._failure = failure
            print(f"pongrad: {failure}", file=sys.stderr, flush=True)


def versions() -> dict[str, str]:
    """Of the packages that decide what is played; of our own a hash of its source, too."""
    found = {name: version(name) for name in COMPARED_PACKAGES}
    return found | {"pongrad": f"{found['pongrad']} (source {source_hash()})"}


def _differing(theirs: dict[str, str], ours: dict[str, str]) -> str:
    return ", ".join(
        f"{name} {theirs[name]} and not {ours[name]}"
        for name in COMPARED_PACKAGES
        if theirs[name] != ours[name]
    )


def _connect(address: str, count: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers
    local: dict[str, Any] = {}
    if address == LOCAL:
        local = {"num_cpus": count, "object_store_memory": LOCAL_STORE, "include_dashboard": False}
    with _own_signal_handlers():
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
        except (ConnectionError, ValueError, RuntimeError, RayError) as error:
            raise UserError(
                f"cannot join the Ray cluster at {address} ({_first_line(error)}): start one with ray start "
                "--head, and ray start --address HOST:PORT on every other machine, this one too"
            ) from error


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """In the `with` block Ray may install its handlers; after it ours are back.

    What Ray starts there never hears that the terminal is closed: it has to live until the run is saved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with without_stop_signals(STOP_SIGNALS - {signal.SIGTERM}):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
