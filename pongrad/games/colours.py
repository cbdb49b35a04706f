"""Which pixels of a picture are looked at, and numbers for colours that have no numbers of their own."""

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled

CLASSES = 4
"""Classes of colours that an agent can tell apart."""

STRIDES = (1, 2, 4, 8)

MOST_PIXELS = 15_000
"""Of a screen that is looked at, so that 16 bits can number all inputs."""


def stride_for(height: int, width: int) -> int:
    """Every so many-th pixel of a row and of a column is looked at, on a screen of this size."""
    return next(s for s in STRIDES if len(range(0, height, s)) * (padded(width) // s) <= MOST_PIXELS)


def padded(width: int) -> int:
    """The width of a screen in whole words of eight pixels."""
    return -(-width // 8) * 8


def packed(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Red, green and blue of each pixel of a picture [..., 3] as one number."""
    return picture @ np.array([0x10000, 0x100, 1])


def reduced_colours(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A number for the colour of each pixel: three bits of red, three of green and two of blue.

    Args:
        picture: uint8 [height, width, 3], or [height, width] in grey.
    """
    if picture.ndim == 2:
        picture = np.repeat(picture[..., np.newaxis], 3, axis=2)
    numbers = np.empty(picture.shape[:2], np.uint8)
    _reduce_colours(picture, numbers)
    return numbers


@compiled()
def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The brightness of each pixel, uint8 [height, width], as the emulator has it (ITU-R BT.601).

    Args:
        picture: uint8 [height, width, 3].
    """
    height, width, _ = picture.shape
    out = np.empty((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            red, green, blue = picture[row, column]
            out[row, column] = np.uint8(0.2989 * red + 0.5870 * green + 0.1140 * blue + 0.5)
    return out


@compiled()
def _reduce_colours(picture: NDArray[np.uint8], numbers: NDArray[np.uint8]) -> None:
    """The loop of `reduced_colours`."""
    for row in range(numbers.shape[0]):
        for column in range(numbers.shape[1]):
            red, green, blue = picture[row, column]
            numbers[row, column] = (red & 0xE0) | (green & 0xE0) >> 3 | blue >> 6
