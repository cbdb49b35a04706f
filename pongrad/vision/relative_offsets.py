"""Relative offsets between the points of one screen, and between those of two successive screens.

They are the PROS and PROT features of Liang et al. 2016, "State of the Art Control of Atari Games Using
Shallow Reinforcement Learning".
"""

from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Int64s, Pixels, Values

MOST_POINTS = 64
"""A screen's relative offsets are those of so many points at most, the upper ones."""


@compiled()
def points(pixels: Pixels, columns: int, strip_width: int, rows: Int64s, strips: Int64s) -> int:
    """Write each point's row and strip of columns to `rows` and `strips`; return the number of points.

    Pixels of one row and one strip are one point. At most `MOST_POINTS` points are written, the upper ones.

    Args:
        pixels: uint16, ascending pixels that are on.
        columns: of the screen.
        strip_width: columns of a strip.
        rows, strips: int64 [MOST_POINTS], receive them.
    """
    count = 0
    for k in range(len(pixels)):
        row, strip = pixels[k] // columns, pixels[k] % columns // strip_width
        if count > 0 and row == rows[count - 1] and strip == strips[count - 1]:
            continue
        if count == MOST_POINTS:
            break
        rows[count], strips[count] = row, strip
        count += 1
    return count


@compiled()
def offsets_in_space(
    rows: Int64s, strips: Int64s, height: int, first: int, pixels: Pixels, values: Values
) -> int:
    """Write the relative offsets of every two points of one screen; return how many inputs they are.

    An input stands for two strips of columns and a difference of rows: one point lies in the left strip,
    another in the right one and so many rows below it (PROS features; Liang et al. 2016, "State of the Art
    Control of Atari Games Using Shallow Reinforcement Learning").

    Args:
        rows, strips: int64, of each point; see `points`.
        height: rows of the screen.
        first: the number of the first such input; there are 2 height - 1 for any two strips.
        pixels: uint16, receives the inputs.
        values: int8, receives a 1 for each.
    """
    count = 0
    for j in range(len(rows)):
        for i in range(j):
            left, right, below = strips[i], strips[j], rows[j] - rows[i]
            if left > right:
                left, right, below = right, left, -below
            both = right * (right + 1) // 2 + left
            pixels[count] = first + both * (2 * height - 1) + below + height - 1
            values[count] = 1
            count += 1
    return count


@compiled()
def offsets_in_time(
    rows: Int64s,
    strips: Int64s,
    old_rows: Int64s,
    old_strips: Int64s,
    height: int,
    strip_count: int,
    first: int,
    pixels: Pixels,
    values: Values,
) -> int:
    """Write the relative offsets of each point to every point of the screen before; return their number.

    An input stands for the point's strip, the older point's strip and the difference of their rows (PROT
    features of Liang et al. 2016). Of the same object they tell its velocity, wherever it is.

    Args:
        rows, strips, old_rows, old_strips: int64, of each point of this screen and of the one before.
        height, strip_count: rows and strips of a screen.
        first: the number of the first such input; there are strip_count^2 (2 height - 1).
        pixels: uint16, receives the inputs.
        values: int8, receives a 1 for each.
    """
    count = 0
    for j in range(len(rows)):
        for i in range(len(old_rows)):
            both = strips[j] * strip_count + old_strips[i]
            pixels[count] = first + both * (2 * height - 1) + rows[j] - old_rows[i] + height - 1
            values[count] = 1
            count += 1
    return count
