"""Sparse network inputs: only what is not zero, one row a step (compressed rows, CSR)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled

Indices = NDArray[np.uint16]
"""Numbers of inputs."""

Values = NDArray[np.int8]
"""The inputs' values."""

Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """A batch of sparse network inputs in compressed rows, one row a step.

    Attributes:
        indptr: int64 [steps + 1]; input t is `indices[indptr[t]:indptr[t + 1]]`.
        indices: uint16, the inputs that are not zero; of one that is there twice the values add up.
        values: int8, as long as `indices`: their values.
    """

    indptr: NDArray[np.int64]
    indices: Indices
    values: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"Inputs({len(self)} steps, {len(self.indices)} non-zero inputs)"

    @staticmethod
    def join(parts: Sequence["Inputs"]) -> "Inputs":
        """All steps of all parts, in order."""
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        return Inputs(
            np.concatenate([[0], np.cumsum(lengths)]),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    def slice(self, start: int, end: int) -> "Inputs":
        """Steps `start` to `end`, `end` not included; indices and values are views."""
        first, last = self.indptr[start], self.indptr[end]
        return Inputs(self.indptr[start : end + 1] - first, self.indices[first:last], self.values[first:last])

    def to_bytes(self) -> tuple[bytes, ...]:
        """All of it, for `from_bytes`."""
        return self.indptr.tobytes(), self.indices.tobytes(), self.values.tobytes()

    @staticmethod
    def from_bytes(indptr: bytes, indices: bytes, values: bytes) -> "Inputs":
        """The batch that `to_bytes` has written; its arrays are read-only views."""
        return Inputs(
            np.frombuffer(indptr, np.int64), np.frombuffer(indices, np.uint16), np.frombuffer(values, np.int8)
        )

    def take(self, steps: NDArray[np.int64]) -> "Inputs":
        """These steps, in this order."""
        indptr = np.zeros(len(steps) + 1, np.int64)
        np.cumsum(np.diff(self.indptr)[steps], out=indptr[1:])
        indices, values = np.empty(indptr[-1], np.uint16), np.empty(indptr[-1], np.int8)
        _take(self.indptr, self.indices, self.values, steps, indptr, indices, values)
        return Inputs(indptr, indices, values)


@compiled()
def _take(
    indptr: Int64s,
    indices: Indices,
    values: Values,
    steps: Int64s,
    taken_indptr: Int64s,
    taken_indices: Indices,
    taken_values: Values,
) -> None:
    """Copy the sparse inputs of these steps to `taken_indices` and `taken_values`, one after the other."""
    for i in range(len(steps)):
        start, to = indptr[steps[i]], taken_indptr[i]
        for k in range(taken_indptr[i + 1] - to):
            taken_indices[to + k] = indices[start + k]
            taken_values[to + k] = values[start + k]
