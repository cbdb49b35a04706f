"""An agent in memory that all processes share: its newest weights, and those before them.

The learner publishes weights; the workers read them there. Two sets take turns, so that one can be
played with while the other is replaced.
"""

import multiprocessing
from collections.abc import Mapping
from ctypes import c_byte, c_int64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.network.agent import Agent
from pongrad.network.batch_acting import ROWS
from pongrad.network.layers import Array

MovedRows = Mapping[str, NDArray[np.bool_]]
"""Name -> bool [rows], the rows of the weights that have moved; all of those that are not named may have."""

CONTEXT = multiprocessing.get_context("spawn")


class SharedAgent:
    """May be handed to a process that is being started, and is the same agent there.

    Only one process publishes.

    Attributes:
        description: the agent's, see `Agent.description`.
        layout: name, shape and dtype of its weights.
    """

    def __init__(self, agent: Agent) -> None:
        """Publish the agent's weights, which are copied, twice: as the newest and as those before."""
        self.description = agent.description()
        weights = agent.network.weights
        self.layout = [(name, array.shape, array.dtype.str) for name, array in weights.items()]
        self._size = sum(array.nbytes for array in weights.values())
        self._memory: Any = CONTEXT.RawArray(c_byte, 2 * self._size)
        self._version: Any = CONTEXT.RawValue(c_int64, 0)
        self._moved: dict[int, MovedRows] = {}  # by publication, of the last two
        for _ in range(2):
            self.publish(weights)

    def __getstate__(self) -> dict[str, Any]:
        """For a process that is being started: no more than a pipe holds, 64 KB.

        Else its starter would wait for ever if it is killed before it has read all of it.
        """
        return {**self.__dict__, "_moved": {}}

    def __repr__(self) -> str:
        return f"SharedAgent({self.agent(self.version)}, published {self.version} times)"

    @property
    def version(self) -> int:
        """How often weights have been published so far: the number of the newest."""
        return self._version.value

    @property
    def games_side_by_side(self) -> int | None:
        """How many games have to be played at a time, always the same ones; None: as many as one likes."""
        return ROWS if self.description["strides"] else None

    def publish(self, weights: Mapping[str, Array], moved: MovedRows | None = None) -> None:
        """Copy these weights over the older set; they are the newest now.

        Args:
            weights: name -> weights.
            moved: the rows in which they differ from those published before; None: any may.
        """
        number = self.version + 1
        self._moved[number] = moved or {}
        for name, array in self.weights(number).items():
            before, now = self.moved_rows(name, number - 1), self.moved_rows(name, number)
            if before is None or now is None:
                array[...] = weights[name]
            else:
                copy_rows(array, weights[name], before | now)
        self._version.value = number
        self._moved.pop(number - 2, None)

    def moved_rows(self, name: str, number: int) -> NDArray[np.bool_] | None:
        """The rows of these weights that the `number`-th publication, one of the last two, has moved.

        Returns:
            bool [rows]; None: any may have.
        """
        return self._moved.get(number, {}).get(name)

    def agent(self, number: int) -> Agent:
        """The agent of the `number`-th weights published: they stay until two more have been."""
        return Agent.from_description(self.description, self.weights(number))

    def weights(self, number: int) -> dict[str, Array]:
        """Those of this publication: they stay until two more have come."""
        views, offset = {}, number % 2 * self._size
        for name, shape, dtype in self.layout:
            views[name] = np.ndarray(shape, dtype, self._memory, offset)
            offset += views[name].nbytes
        return views


@compiled()
def copy_rows(to: Array, source: Array, rows: NDArray[np.bool_]) -> None:
    """Copy these rows: most of the first layer's stay as they are, and copying them all takes 4 ms."""
    for row in range(len(to)):
        if rows[row]:
            to[row] = source[row]
