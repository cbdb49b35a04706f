"""An agent in memory that all processes share: its newest weights, and those before them.

The learner publishes weights; the workers read them there. Two sets take turns, so that one can be
played with while the other is replaced.
"""

import multiprocessing
from collections.abc import Mapping
from ctypes import c_byte, c_int64
from typing import Any

import numpy as np

from pongrad.network.agent import Agent
from pongrad.network.batch_acting import ROWS
from pongrad.network.layers import Array

CONTEXT = multiprocessing.get_context("spawn")


class SharedAgent:
    """May be handed to a process that is being started, and is the same agent there.

    Only one process publishes.
    """

    def __init__(self, agent: Agent) -> None:
        """Publish the agent's weights, which are copied, twice: as the newest and as those before."""
        self._description = agent.description()
        weights = agent.network.weights
        self._layout = [(name, array.shape, array.dtype.str) for name, array in weights.items()]
        self._size = sum(array.nbytes for array in weights.values())
        self._memory: Any = CONTEXT.RawArray(c_byte, 2 * self._size)
        self._version: Any = CONTEXT.RawValue(c_int64, 0)
        for _ in range(2):
            self.publish(weights)

    def __repr__(self) -> str:
        return f"SharedAgent({self.agent(self.version)}, published {self.version} times)"

    @property
    def version(self) -> int:
        """How often weights have been published so far: the number of the newest."""
        return self._version.value

    @property
    def games_side_by_side(self) -> int | None:
        """How many games have to be played at a time, always the same ones; None: as many as one likes."""
        return ROWS if self._description["strides"] else None

    def publish(self, weights: Mapping[str, Array]) -> None:
        """Copy these weights over the older set; they are the newest now."""
        number = self.version + 1
        for name, array in self.agent(number).network.weights.items():
            array[...] = weights[name]
        self._version.value = number

    def agent(self, number: int) -> Agent:
        """The agent of the `number`-th weights published: they stay until two more have been."""
        views, offset = {}, number % 2 * self._size
        for name, shape, dtype in self._layout:
            views[name] = np.ndarray(shape, dtype, self._memory, offset)
            offset += views[name].nbytes
        return Agent.from_description(self._description, views)
