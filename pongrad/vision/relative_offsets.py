"""Relative offsets between the pixels of one screen, and between near pixels of two successive screens.

They are the PROS and PROT features of Liang et al. 2016, "State of the Art Control of Atari Games Using
Shallow Reinforcement Learning".
"""

import numpy as np

from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Pixels, Values

MOST_POINTS = 64
"""A screen's relative offsets are those of so many points at most, the upper ones."""


@compiled()
def offsets_in_space(
    now: Pixels, rows: int, columns: int, strip_width: int, first: int, pixels: Pixels, values: Values
) -> int:
    """Write the relative offsets of every two pixels of one screen; return how many inputs they are.

    An input stands for two strips of columns and a number of rows: one pixel lies in the left strip, another
    in the right one and so many rows below it (PROS features of Liang et al. 2016). Pixels of one row and one
    strip are one point, and of more than `MOST_POINTS` points only the upper ones count.

    Args:
        now: uint16, ascending pixels that are on.
        rows, columns: of the screen.
        strip_width: columns of a strip.
        first: the number of the first such input; there are 2 rows - 1 for any two strips.
        pixels: uint16, receives the inputs.
        values: int8, receives a 1 for each.
    """
    places = np.empty((2, MOST_POINTS), np.int64)
    row, strip = places[0], places[1]
    points = count = 0
    for k in range(len(now)):
        here, there = now[k] // columns, now[k] % columns // strip_width
        if points > 0 and here == row[points - 1] and there == strip[points - 1]:
            continue
        if points == MOST_POINTS:
            break
        row[points], strip[points] = here, there
        for i in range(points):
            left, right, below = strip[i], strip[points], row[points] - row[i]
            if left > right:
                left, right, below = right, left, -below
            both = right * (right + 1) // 2 + left
            pixels[count] = first + both * (2 * rows - 1) + below + rows - 1
            values[count] = 1
            count += 1
        points += 1
    return count


@compiled()
def offsets_in_time(
    now: Pixels,
    before: Pixels,
    columns: int,
    strip_width: int,
    reach_rows: int,
    reach_columns: int,
    first: int,
    pixels: Pixels,
    values: Values,
) -> int:
    """Write the relative offsets of pixels to near pixels of the screen before; return how many they are.

    An input stands for a number of rows and of columns: a pixel lies so far below and to the right of one
    that was on before (PROT features of Liang et al. 2016, for near pixels only). Of one object it is the
    velocity, and it is the same input wherever the object is. A second input stands for the same and the
    strip of columns where the pixel is. Only the upper `MOST_POINTS` pixels count.

    Args:
        now, before: uint16, ascending pixels that are on in this screen and in the one before.
        columns: of the screen.
        strip_width: columns of a strip.
        reach_rows, reach_columns: how far two pixels may lie apart.
        first: the number of the first such input; there are (2 reach_rows + 1) (2 reach_columns + 1), and as
            many for each strip.
        pixels: uint16, receives the inputs.
        values: int8, receives a 1 for each.
    """
    offsets = (2 * reach_rows + 1) * (2 * reach_columns + 1)
    count = 0
    for j in range(min(len(now), MOST_POINTS)):
        row, column = np.int64(now[j]) // columns, np.int64(now[j]) % columns
        for i in range(min(len(before), MOST_POINTS)):
            below = row - np.int64(before[i]) // columns
            right = column - np.int64(before[i]) % columns
            if abs(below) <= reach_rows and abs(right) <= reach_columns:
                place = (below + reach_rows) * (2 * reach_columns + 1) + right + reach_columns
                pixels[count] = first + place
                pixels[count + 1] = first + (1 + column // strip_width) * offsets + place
                values[count : count + 2] = 1
                count += 2
    return count
