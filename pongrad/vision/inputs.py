"""Sparse network inputs: only what is not zero, one row a step (compressed rows, CSR)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled

Pixels = NDArray[np.uint16]
"""Numbers of inputs. Of a screen: ascending codes of the pixels that are on, see `vision.pixels`."""

Values = NDArray[np.int8]
"""The inputs' values."""

Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """A batch of sparse network inputs in compressed rows, one row a step.

    Attributes:
        offsets: int64 [steps + 1]; input t is `pixels[offsets[t]:offsets[t + 1]]`.
        pixels: uint16, the inputs that are not zero; of one that is there twice the values add up.
        values: int8, as long as `pixels`: their values.
    """

    offsets: NDArray[np.int64]
    pixels: Pixels
    values: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Inputs({len(self)} steps, {len(self.pixels)} non-zero pixels)"

    @staticmethod
    def join(parts: Sequence["Inputs"]) -> "Inputs":
        """All steps of all parts, in order."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return Inputs(
            np.concatenate([[0], np.cumsum(lengths)]),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    def slice(self, start: int, end: int) -> "Inputs":
        """Steps `start` to `end`, `end` not included; pixels and values are views."""
        first, last = self.offsets[start], self.offsets[end]
        return Inputs(self.offsets[start : end + 1] - first, self.pixels[first:last], self.values[first:last])

    def to_bytes(self) -> tuple[bytes, ...]:
        """All of it, for `from_bytes`."""
        return self.offsets.tobytes(), self.pixels.tobytes(), self.values.tobytes()

    @staticmethod
    def from_bytes(offsets: bytes, pixels: bytes, values: bytes) -> "Inputs":
        """The batch that `to_bytes` has written; its arrays are read-only views."""
        return Inputs(
            np.frombuffer(offsets, np.int64), np.frombuffer(pixels, np.uint16), np.frombuffer(values, np.int8)
        )

    def take(self, steps: NDArray[np.int64]) -> "Inputs":
        """These steps, in this order."""
        offsets = np.zeros(len(steps) + 1, np.int64)
        np.cumsum(np.diff(self.offsets)[steps], out=offsets[1:])
        pixels, values = np.empty(offsets[-1], np.uint16), np.empty(offsets[-1], np.int8)
        _take(self.offsets, self.pixels, self.values, steps, offsets, pixels, values)
        return Inputs(offsets, pixels, values)


@compiled()
def _take(
    offsets: Int64s,
    pixels: Pixels,
    values: Values,
    steps: Int64s,
    taken_offsets: Int64s,
    taken_pixels: Pixels,
    taken_values: Values,
) -> None:
    """Copy the sparse inputs of these steps to `taken_pixels` and `taken_values`, one after the other."""
    for i in range(len(steps)):
        start, place = offsets[steps[i]], taken_offsets[i]
        for k in range(taken_offsets[i + 1] - place):
            taken_pixels[place + k] = pixels[start + k]
            taken_values[place + k] = values[start + k]
