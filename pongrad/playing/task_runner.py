"""What a worker does with a task, in a process here or in an actor on another machine."""

import traceback
from collections.abc import Callable
from typing import Any

from pongrad.games import environment
from pongrad.ground.system import limit_seconds
from pongrad.network.agent import Agent


class TaskRunner:
    """Does tasks one after the other, all with the same environment."""

    def __init__(self, seconds: float) -> None:
        """Start without an environment: the first task makes it.

        Args:
            seconds: of a processor; a task that takes more ends this process.
        """
        self._seconds = seconds
        self._emulator: environment.Environment | None = None

    def run(self, agent: Agent, function: Callable[..., Any], *args: Any) -> Any:
        """What `function(agent, *args, emulator)` gives, or the exception that it raises."""
        limit_seconds(self._seconds)  # ends even a loop inside the emulator
        try:
            self._emulator = self._emulator or environment.make(agent.game)
            answer = function(agent, *args, self._emulator)
        except Exception as error:  # raised again where it can be seen
            error.add_note(traceback.format_exc())
            answer = error
        limit_seconds(0)
        return answer
