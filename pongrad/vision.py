"""From screen to network input: crop, downsample, one colour channel, remove the background, difference.

What remains of a Pong screen is about 30 pixels of 6,400, so it is kept as the sorted list of the pixels
that are on. The meaning is that of `classic.preprocess`; this is the fast way to the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint16]
"""Ascending indices (row * columns + column) of the pixels that are on."""

Eyes = tuple[NDArray[np.uint64], NDArray[np.bool_], int, int, int]
Sight = tuple[NDArray[np.uint16], NDArray[np.int64]]
Record = tuple[NDArray[np.int64], Pixels, NDArray[np.int8], NDArray[np.uint8]]
"""What the kernels `look` and `decide` see with, remember and write; described there."""


@dataclass(frozen=True)
class Inputs:
    """A batch of sparse network inputs in compressed rows, one row a step.

    Attributes:
        offsets: int64 [steps + 1]; input t is `pixels[offsets[t]:offsets[t + 1]]`.
        pixels: uint16, the inputs that are not zero, ascending within a step.
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

    def dense(self, size: int) -> NDArray[np.float64]:
        """The same inputs as a float64 array [steps, size]."""
        out = np.zeros((len(self), size))
        out[np.repeat(np.arange(len(self)), np.diff(self.offsets)), self.pixels] = self.values
        return out


@dataclass(frozen=True)
class Vision:
    """How an agent looks at the screen; the defaults are Pong's.

    Attributes:
        top, bottom: the rows looked at, `top` included, `bottom` not.
        stride: keep every `stride`-th pixel of a row and of a column; 1, 2, 4 or 8.
        background_red: values of the red channel that count as background (RGB screens).
        background_palette: the same colours as the emulator's palette indices.
    """

    top: int = 35
    bottom: int = 195
    stride: int = 2
    background_red: tuple[int, ...] = (144, 109)
    background_palette: tuple[int, ...] = (34, 228)

    def __post_init__(self) -> None:
        """Raise ValueError if it would look outside the screen."""
        if not (0 <= self.top < self.bottom <= 210 and self.stride in (1, 2, 4, 8)):
            raise ValueError(f"{self} does not fit a screen")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the processed screen: (80, 80)."""
        return len(range(self.top, self.bottom, self.stride)), 160 // self.stride

    @property
    def size(self) -> int:
        """Pixels of the processed screen, which is how many inputs the network has."""
        rows, columns = self.shape
        return rows * columns

    def eyes(self, screen: NDArray[np.uint8]) -> Eyes:
        """This vision on the emulator's own screen, uint8 [210, 160] of palette indices.

        The kernels see what the array holds when they are called.
        """
        return screen.view(np.uint64), self._palette_is_on, self.top, self.bottom, self.stride

    def eyes_rgb(self, screen: NDArray[np.uint8]) -> Eyes:
        """This vision on a copy of Gymnasium's screen, uint8 [210, 160, 3]."""
        red = screen[:, :, 0].copy()
        return red.view(np.uint64), self._red_is_on, self.top, self.bottom, self.stride

    @cached_property
    def _palette_is_on(self) -> NDArray[np.bool_]:
        return ~np.isin(np.arange(256), self.background_palette)

    @cached_property
    def _red_is_on(self) -> NDArray[np.bool_]:
        return ~np.isin(np.arange(256), self.background_red)


def new_sight(vision: Vision) -> Sight:
    """Room for the pixels of two screens."""
    return np.zeros((2, vision.size), np.uint16), np.zeros(2, np.int64)


def new_record(steps: int, vision: Vision) -> Record:
    """Room for so many steps, even if every pixel changed on each of them."""
    most = steps * vision.size
    return (
        np.zeros(steps + 1, np.int64),
        np.empty(most, np.uint16),
        np.empty(most, np.int8),
        np.empty(steps, np.uint8),
    )
