"""From screen to network input: crop, downsample, one colour channel, remove the background, see motion.

What remains of a Pong screen is about 30 pixels of 6,400, so it is kept as the sorted list of the pixels
that are on. With the default settings the meaning is that of `classic.preprocess`; this is the fast way to
the same numbers. Recipe `fast` sees corners, two screens at once, and relative offsets in space and in time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Pixels, Values
from pongrad.vision.pixels import PreprocessingArgs, difference, side_by_side
from pongrad.vision.relative_offsets import offsets_in_space, offsets_in_time

InputArgs = tuple[bool, int, int, int, int, int]
"""What the network is given of two screens, see `observe`."""

FrameBuffer = tuple[NDArray[np.uint16], NDArray[np.int64]]
"""The pixels of two screens: uint16 [2, size], and how many, int64 [2].

Row `step % 2` holds the pixels that are on in the screen of this step, the other those of the step before.
"""


@dataclass(frozen=True)
class Vision:
    """How an agent looks at the screen; the defaults are Pong's.

    Attributes:
        top, bottom: the rows looked at, `top` included, `bottom` not.
        stride: keep every `stride`-th pixel of a row and of a column; 1, 2, 4 or 8.
        background_red: values of the red channel that count as background (RGB screens).
        background_palette: the same colours as the emulator's palette indices.
        corners: whether to keep only the ends of vertical runs of pixels, and of ends side by side only the
            left one: of a paddle its two left corners. A fifth of the pixels, and nothing is lost that moves.
        pair: whether the network is given this screen and, beside it, the one before, instead of what
            changed between them.
        strip_width: columns of a strip. Beside the pixels the network is given relative offsets in space: for
            every two pixels of this screen in which strips they are, and how many rows apart. What it learns
            about a ball that is a little lower than a paddle holds wherever both are. 0: none.
        reach: rows and columns. The network is given relative offsets in time: for every pixel of this screen
            and every one of the screen before within this reach how many rows and columns apart they are,
            once by itself and once for the strip where the pixel is. What it learns about a velocity holds
            wherever the object is, and may differ from strip to strip. (0, 0): none.
    """

    top: int = 35
    bottom: int = 195
    stride: int = 2
    background_red: tuple[int, ...] = (144, 109)
    background_palette: tuple[int, ...] = (34, 228)
    corners: bool = False
    pair: bool = False
    strip_width: int = 0
    reach: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Raise ValueError if it would look outside the screen, or at more than 16 bits can number."""
        fits = 0 <= self.top < self.bottom <= 210 and self.stride in (1, 2, 4, 8)
        fits = fits and 0 <= self.strip_width <= 160 // self.stride
        fits = fits and len(self.reach) == 2 and min(self.reach) >= 0
        fits = fits and (self.strip_width > 0 or not any(self.reach))
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
        in_space = strips * (strips + 1) // 2 * (2 * rows - 1)
        offsets = (2 * self.reach[0] + 1) * (2 * self.reach[1] + 1)
        in_time = (1 + strips) * offsets if any(self.reach) else 0
        return self.channels * self.pixels + in_space + in_time

    @property
    def input_args(self) -> InputArgs:
        """What the network is given of two screens, as `observe` takes it."""
        return self.pair, self.strip_width, *self.reach, *self.shape

    def preprocessing_args(self, screen: NDArray[np.uint8]) -> PreprocessingArgs:
        """This vision on the emulator's own screen, uint8 [210, 160] of palette indices.

        What the array holds counts when the pixels are looked for.
        """
        return self._preprocessing_args(screen, self._palette_is_on)

    def preprocessing_args_rgb(self, screen: NDArray[np.uint8]) -> PreprocessingArgs:
        """This vision on a copy of Gymnasium's screen, uint8 [210, 160, 3]."""
        return self._preprocessing_args(screen[:, :, 0].copy(), self._red_is_on)

    def _preprocessing_args(self, screen: NDArray[np.uint8], is_on: NDArray[np.bool_]) -> PreprocessingArgs:
        return screen.view(np.uint64), is_on, self.top, self.bottom, self.stride, self.corners

    @cached_property
    def _palette_is_on(self) -> NDArray[np.bool_]:
        return ~np.isin(np.arange(256), self.background_palette)

    @cached_property
    def _red_is_on(self) -> NDArray[np.bool_]:
        return ~np.isin(np.arange(256), self.background_red)


def new_frame_buffer(vision: Vision) -> FrameBuffer:
    """Room for the pixels of two screens."""
    return np.zeros((2, vision.pixels), np.uint16), np.zeros(2, np.int64)


@compiled()
def observe(
    input_args: InputArgs, frame_buffer: FrameBuffer, step: int, pixels: Pixels, values: Values
) -> int:
    """Write the network's sparse input at a game's step; return how many inputs are not zero.

    Args:
        input_args: what the network is given of two screens, see `Vision.input_args`:
            pair: whether it is both side by side, or their difference;
            strip_width: columns of a strip, see `offsets_in_space`, or 0;
            reach_rows, reach_columns: see `offsets_in_time`, or both 0;
            rows, columns: of a screen.
        frame_buffer: the pixels of the screen of this step and of the one before.
        step: counts the game's steps.
        pixels: uint16, receives them.
        values: int8, receives their values.
    """
    pair, strip_width, reach_rows, reach_columns, rows, columns = input_args
    seen, counts = frame_buffer
    now = seen[step % 2, : counts[step % 2]]
    before = seen[1 - step % 2, : counts[1 - step % 2]]
    count = 0  # a game's first step has no screen before
    if pair:
        count = side_by_side(before if step > 0 else before[:0], now, rows * columns, pixels, values)
    elif step > 0:
        count = difference(before, now, pixels, values)
    first = (1 + pair) * rows * columns
    if strip_width > 0:
        count += offsets_in_space(now, rows, columns, strip_width, first, pixels[count:], values[count:])
        strips = (columns - 1) // strip_width + 1
        first += strips * (strips + 1) // 2 * (2 * rows - 1)
    if reach_rows + reach_columns > 0 and step > 0:
        count += offsets_in_time(
            now,
            before,
            columns,
            strip_width,
            reach_rows,
            reach_columns,
            first,
            pixels[count:],
            values[count:],
        )
    return count
