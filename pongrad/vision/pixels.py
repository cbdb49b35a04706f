"""Which pixels of a screen are on, which of them are corners, and what changed between two screens.

A pixel that is on is written as one number, its code: CLASSES times its place (row * columns + column) plus
the class of its colour.
"""

import numpy as np
from numpy.typing import NDArray

from pongrad.games.colours import CLASSES
from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Indices, Values

Pixels = NDArray[np.uint16]
"""Ascending codes of the pixels that are on."""

OFF = 255
"""In place of a class: colours that are background wherever they are."""

MOST_CORNERS = 512
"""So many corners of a screen at most are looked at, the upper ones."""

PreprocessingArgs = tuple[
    NDArray[np.uint64], NDArray[np.uint64], np.uint64, NDArray[np.uint8], int, int, bool
]
"""A screen and how it is looked at, see `active_pixels`."""


@compiled()
def active_pixels(preprocessing_args: PreprocessingArgs, room: Pixels, out: Pixels) -> int:
    """Write the codes of the pixels that are on to `out`, ascending; return how many they are.

    Args:
        preprocessing_args: what to look at and how, see `preprocessing.Vision`:
            words: uint64 [height, width / 8], the screen, eight 8-bit colours a word (little-endian);
            background: uint64 [rows, width / 8], the colours that are off, only those of the mask;
            mask: the bytes of a word that are looked at;
            classes: uint8 [256], the class of each colour, or `OFF`;
            top, stride: rows top, top + stride, ..., as many as the background has, and every stride-th
                column;
            only_corners: whether to keep only corners, see `corners`.
        room: uint16 [at least the pixels of the processed screen], to write in; what it held is lost.
        out: uint16 [pixels of the processed screen].
    """
    words, background, mask, classes, top, stride, only_corners = preprocessing_args
    on = room if only_corners else out
    pixels_a_word = 8 // stride
    columns = words.shape[1]
    count = index = 0
    for i in range(len(background)):
        row = top + i * stride
        differs = np.uint64(0)  # most rows are background, and all words of a row are compared at once
        for column in range(columns):
            differs |= words[row, column] ^ background[i, column]
        if differs & mask == 0:
            index += columns * pixels_a_word
            continue
        for column in range(columns):
            word, off = words[row, column], background[i, column]
            if (word ^ off) & mask != 0:
                for k in range(pixels_a_word):
                    shift = np.uint64(8 * stride * k)
                    colour = (word >> shift) & np.uint64(0xFF)
                    if colour != (off >> shift) & np.uint64(0xFF) and classes[colour] != OFF:
                        on[count] = CLASSES * (index + k) + classes[colour]
                        count += 1
            index += pixels_a_word
    return corners(on[:count], columns * pixels_a_word, out) if only_corners else count


@compiled()
def corners(pixels: Pixels, columns: int, out: Pixels) -> int:
    """Write the ends of vertical runs of pixels of one class to `out`; return how many they are.

    Of ends that lie side by side only the left one is written: of a rectangle its two left corners.

    Args:
        pixels: uint16, ascending codes of the pixels that are on.
        columns: pixels a row of the screen.
        out: uint16, receives them, ascending, `MOST_CORNERS` at most.
    """
    count = above = below = 0
    a_row = CLASSES * columns
    last_end = np.int64(-CLASSES - 1)
    for k in range(len(pixels)):
        pixel = np.int64(pixels[k])
        while pixels[above] + a_row < pixel:
            above += 1
        while below < len(pixels) and pixels[below] < pixel + a_row:
            below += 1
        inside = pixels[above] + a_row == pixel and below < len(pixels) and pixels[below] == pixel + a_row
        if not inside:
            if pixel != last_end + CLASSES or pixel // CLASSES % columns == 0:
                if count == MOST_CORNERS:
                    break
                out[count] = pixels[k]
                count += 1
            last_end = pixel
    return count


@compiled()
def difference(before: Pixels, now: Pixels, indices: Indices, values: Values) -> int:
    """Write the sparse difference `now - before` of two pixel sets; return how many pixels it has.

    Args:
        before, now: uint16, ascending codes of the pixels that are on.
        indices: uint16, receives the numbers of the pixels that changed, ascending.
        values: int8, receives +1 where a pixel went on, -1 where it went off.
    """
    count = i = j = 0
    while i < len(before) or j < len(now):
        if j == len(now) or (i < len(before) and before[i] < now[j]):
            indices[count] = before[i] // CLASSES
            values[count] = -1
            count += 1
            i += 1
        elif i == len(before) or now[j] < before[i]:
            indices[count] = now[j] // CLASSES
            values[count] = 1
            count += 1
            j += 1
        else:  # on in both: no change
            i += 1
            j += 1
    return count


@compiled()
def side_by_side(before: Pixels, now: Pixels, size: int, indices: Indices, values: Values) -> int:
    """Write the numbers of both sets' pixels, `before` moved up by `size`; return how many they are."""
    both = len(now) + len(before)
    for k in range(len(now)):
        indices[k] = now[k] // CLASSES
    for k in range(len(before)):
        indices[len(now) + k] = before[k] // CLASSES + size
    values[:both] = 1
    return both
