"""What `Workers` needs of those who play for it, here (`processes`) or on other machines (`cluster`)."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pongrad.ground.errors import UserError


class WorkerDied(Exception):
    """A worker died before it answered; says how."""


class WorkersDied(UserError):
    """Workers died again and again of the same task, or there are none left.

    The unfinished rollouts are gone; everything else is as it was.
    """


class Worker(Protocol):
    """One process, here or elsewhere, that does the tasks it is given in their order."""

    def give(self, weights: int, function: Callable[..., Any], *args: Any) -> None:
        """Set it to a task: `function(agent, *args, emulator)` with the agent of these weights."""

    def answer(self) -> Any:
        """What came of its first task, or the exception that it raised; raises WorkerDied."""


class Team(Protocol):
    """Workers that all play one `SharedAgent`."""

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers there are now: on other machines some may come and go."""

    def wait(self, busy: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Those of the busy workers that have answered or died, waiting for one so many seconds."""

    def replace(self, worker: Any) -> None:
        """End this worker, dead or at work. Another takes its place when there are tasks for it."""

    def close(self) -> None:
        """End them all."""
