"""Which pixels of a screen are on, which of them are corners, and what changed between two screens."""

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Pixels, Values

PreprocessingArgs = tuple[NDArray[np.uint64], NDArray[np.bool_], int, int, int, bool]
"""A screen and how it is looked at, see `active_pixels`."""


@compiled()
def active_pixels(preprocessing_args: PreprocessingArgs, room: Pixels, out: Pixels) -> int:
    """Write the pixels that are on to `out`, ascending; return how many they are.

    Args:
        preprocessing_args: what to look at and how, see `preprocessing.Vision`:
            words: uint64 [height, width / 8], the screen, eight 8-bit colours a word (little-endian);
            is_on: bool [256], True for the colours that are not background;
            top, bottom, stride: rows top, top + stride, ... below bottom, and every stride-th column;
            only_corners: whether to keep only corners, see `corners`.
        room: uint16 [at least the pixels of the processed screen], to write in; what it held is lost.
        out: uint16 [pixels of the processed screen].
    """
    words, is_on, top, bottom, stride, only_corners = preprocessing_args
    on = room if only_corners else out
    pixels_a_word = 8 // stride
    columns = words.shape[1]
    count = 0
    index = 0
    blank = np.uint64(0)  # the last word that had no pixel on, once there is one: nearly all repeat it
    known = False
    for row in range(top, bottom, stride):
        differs = np.uint64(0)  # most rows have only such words, and all of a row are compared at once
        for column in range(columns):
            differs |= words[row, column] ^ blank
        if known and differs == 0:
            index += columns * pixels_a_word
            continue
        for column in range(columns):
            word = words[row, column]
            if word != blank or not known:
                before = count
                for k in range(pixels_a_word):
                    if is_on[(word >> np.uint64(8 * stride * k)) & np.uint64(0xFF)]:
                        on[count] = index + k
                        count += 1
                if count == before:
                    blank, known = word, True
            index += pixels_a_word
    return corners(on[:count], columns * pixels_a_word, out) if only_corners else count


@compiled()
def corners(pixels: Pixels, columns: int, out: Pixels) -> int:
    """Write the ends of vertical runs of pixels to `out`; return how many they are.

    Of ends that lie side by side only the left one is written: of a rectangle its two left corners.

    Args:
        pixels: uint16, ascending pixels that are on.
        columns: pixels a row of the screen.
        out: uint16, receives them, ascending.
    """
    count = above = below = 0
    last_end = np.int64(-2)
    for k in range(len(pixels)):
        pixel = np.int64(pixels[k])
        while pixels[above] + columns < pixel:
            above += 1
        while below < len(pixels) and pixels[below] < pixel + columns:
            below += 1
        inside = pixels[above] + columns == pixel and below < len(pixels) and pixels[below] == pixel + columns
        if not inside:
            if pixel != last_end + 1 or pixel % columns == 0:
                out[count] = pixels[k]
                count += 1
            last_end = pixel
    return count


@compiled()
def difference(before: Pixels, now: Pixels, pixels: Pixels, values: Values) -> int:
    """Write the sparse difference `now - before` of two pixel sets; return how many pixels it has.

    Args:
        before, now: uint16, ascending pixels that are on.
        pixels: uint16, receives the pixels that changed, ascending.
        values: int8, receives +1 where a pixel went on, -1 where it went off.
    """
    count = i = j = 0
    while i < len(before) or j < len(now):
        if j == len(now) or (i < len(before) and before[i] < now[j]):
            pixels[count] = before[i]
            values[count] = -1
            count += 1
            i += 1
        elif i == len(before) or now[j] < before[i]:
            pixels[count] = now[j]
            values[count] = 1
            count += 1
            j += 1
        else:  # on in both: no change
            i += 1
            j += 1
    return count


@compiled()
def side_by_side(before: Pixels, now: Pixels, size: int, pixels: Pixels, values: Values) -> int:
    """Write both pixel sets, those of `before` moved up by `size`; return how many pixels they are."""
    both = len(now) + len(before)
    pixels[: len(now)] = now
    for k in range(len(before)):
        pixels[len(now) + k] = before[k] + size
    values[:both] = 1
    return both
