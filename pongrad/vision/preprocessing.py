"""From screen to network input: crop, downsample, one colour channel, remove the background, see motion.

What remains of a Pong screen is about 30 pixels of 6,400, so it is kept as the sorted list of the pixels
that are on. With the default settings the meaning is that of `classic.preprocess`; this is the fast way to
the same numbers. Recipe `fast` sees outlines, two screens at once, and how things lie to each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pongrad.ground import kernels

Pixels = NDArray[np.uint16]
"""Ascending indices (row * columns + column) of the pixels that are on."""

View = tuple[bool, int, bool, int, int]
Eyes = tuple[NDArray[np.uint64], NDArray[np.bool_], int, int, int, bool]
Sight = tuple[NDArray[np.uint16], NDArray[np.int64]]
Record = tuple[NDArray[np.int64], Pixels, NDArray[np.int8], NDArray[np.uint8], NDArray[np.float64]]
"""What the kernels `look` and `decide` see with, remember and write; described there."""


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

    def stretch(self, start: int, end: int) -> "Inputs":
        """Steps `start` to `end`, `end` not included; pixels and values are views."""
        first, last = self.offsets[start], self.offsets[end]
        return Inputs(self.offsets[start : end + 1] - first, self.pixels[first:last], self.values[first:last])

    def take(self, steps: NDArray[np.int64]) -> "Inputs":
        """These steps, in this order."""
        offsets = np.zeros(len(steps) + 1, np.int64)
        np.cumsum(np.diff(self.offsets)[steps], out=offsets[1:])
        pixels, values = np.empty(offsets[-1], np.uint16), np.empty(offsets[-1], np.int8)
        kernels.take(self.offsets, self.pixels, self.values, steps, offsets, pixels, values)
        return Inputs(offsets, pixels, values)


@dataclass(frozen=True)
class Vision:
    """How an agent looks at the screen; the defaults are Pong's.

    Attributes:
        top, bottom: the rows looked at, `top` included, `bottom` not.
        stride: keep every `stride`-th pixel of a row and of a column; 1, 2, 4 or 8.
        background_red: values of the red channel that count as background (RGB screens).
        background_palette: the same colours as the emulator's palette indices.
        outline: whether to keep only the ends of every vertical run of pixels that are on: of a paddle
            the top and the bottom. A third of the pixels, and nothing is lost that moves.
        pair: whether the network is given this screen and, beside it, the one before, instead of what
            changed between them.
        strip_width: columns of a strip; beside the pixels the network is then told how any two of this
            screen's lie to each other: in which strips they are, and how many rows apart. What it learns
            about a ball that is a little lower than a paddle holds wherever both are. 0: it is not told.
        offsets_in_time: whether it is also told the offsets of each point of this screen to every point of
            the screen before, which is how things move, wherever they are.
    """

    top: int = 35
    bottom: int = 195
    stride: int = 2
    background_red: tuple[int, ...] = (144, 109)
    background_palette: tuple[int, ...] = (34, 228)
    outline: bool = False
    pair: bool = False
    strip_width: int = 0
    offsets_in_time: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if it would look outside the screen, or at more than 16 bits can number."""
        fits = 0 <= self.top < self.bottom <= 210 and self.stride in (1, 2, 4, 8) and self.strip_width >= 0
        if not fits or self.size > 2**16:
            raise ValueError(f"{self} does not fit a screen")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the processed screen: (80, 80)."""
        return len(range(self.top, self.bottom, self.stride)), 160 // self.stride

    @property
    def pixels(self) -> int:
        """Pixels of the processed screen."""
        rows, columns = self.shape
        return rows * columns

    @property
    def channels(self) -> int:
        """Pixels of the network's input for each of a screen's: 1, or 2 if it is given two screens."""
        return 1 + self.pair

    @property
    def size(self) -> int:
        """How many inputs the network has: pixels, relative offsets in space, relative offsets in time."""
        rows, columns = self.shape
        strips = -(-columns // self.strip_width) if self.strip_width else 0
        pairs = strips * (strips + 1) // 2 + (strips**2 if self.offsets_in_time else 0)
        return self.channels * self.pixels + pairs * (2 * rows - 1)

    @property
    def view(self) -> View:
        """What the network is given of two screens, as the kernel `observe` takes it."""
        return self.pair, self.strip_width, self.offsets_in_time, *self.shape

    def eyes(self, screen: NDArray[np.uint8]) -> Eyes:
        """This vision on the emulator's own screen, uint8 [210, 160] of palette indices.

        The kernels see what the array holds when they are called.
        """
        return self._eyes(screen, self._palette_is_on)

    def eyes_rgb(self, screen: NDArray[np.uint8]) -> Eyes:
        """This vision on a copy of Gymnasium's screen, uint8 [210, 160, 3]."""
        return self._eyes(screen[:, :, 0].copy(), self._red_is_on)

    def _eyes(self, screen: NDArray[np.uint8], is_on: NDArray[np.bool_]) -> Eyes:
        return screen.view(np.uint64), is_on, self.top, self.bottom, self.stride, self.outline

    @cached_property
    def _palette_is_on(self) -> NDArray[np.bool_]:
        return ~np.isin(np.arange(256), self.background_palette)

    @cached_property
    def _red_is_on(self) -> NDArray[np.bool_]:
        return ~np.isin(np.arange(256), self.background_red)


def new_sight(vision: Vision) -> Sight:
    """Room for the pixels of two screens."""
    return np.zeros((2, vision.pixels), np.uint16), np.zeros(2, np.int64)


def new_record(steps: int, vision: Vision) -> Record:
    """Room for so many steps, even if every pixel changed on each of them."""
    points = kernels.MOST_POINTS
    pairs = points * (points - 1) // 2 + points**2
    most = steps * (vision.channels * vision.pixels + pairs)
    return (
        np.zeros(steps + 1, np.int64),
        np.empty(most, np.uint16),
        np.empty(most, np.int8),
        np.empty(steps, np.uint8),
        np.empty(steps),
    )
