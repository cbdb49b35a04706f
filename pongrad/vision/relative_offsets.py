"""Relative offsets between the points of one screen, and between near points of two successive screens.

They are the PROS and PROT features of Liang et al. 2016, "State of the Art Control of Atari Games Using
Shallow Reinforcement Learning": what the network learns about a ball that is a little lower than a paddle
holds wherever both are. An input stands for the classes of two points' colours and for the rows and columns
that lie between them, on a scale that is fine where they are near and coarse where they are far. Each input
is given once, however many points lie so.
"""

import numpy as np
from numpy.typing import NDArray

from pongrad.games.colours import CLASSES
from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Indices, Int64s, Values
from pongrad.vision.pixels import Pixels

MOST_POINTS = 32
"""A screen's relative offsets are those of so many points at most."""

FEW_POINTS = 16
"""Of more corners than these near ones of one class are gathered to one point."""

GATHERED = 5
"""How far from a point, in rows and columns, corners of its class are gathered to it. Where that leaves too
many points it is twice as far, or four times, and so on."""

REACH_ROWS, REACH_COLUMNS = 20, 8
"""How far two points of successive screens may lie apart to be taken for one that has moved."""

_FARTHEST = 1024


def _scale() -> NDArray[np.int64]:
    """The place on the scale of each distance: exact below 16, then four places for every doubling."""
    distances = np.arange(_FARTHEST)
    octave = np.maximum(np.floor(np.log2(np.maximum(distances, 1))).astype(np.int64) - 4, -1)
    return np.where(distances < 16, distances, 16 + 4 * octave + (distances >> np.maximum(octave + 2, 0)) - 4)


SCALE = _scale()


@compiled()
def scale(distance: int) -> int:
    """A distance on the scale, with its sign."""
    return SCALE[distance] if distance >= 0 else -SCALE[-distance]


def sizes(rows: int, columns: int, classes: int) -> tuple[int, int]:
    """How many inputs there are for offsets in space and in time, on a screen of this shape."""
    offsets = (2 * int(SCALE[rows - 1]) + 1) * (2 * int(SCALE[columns - 1]) + 1)
    near = (2 * REACH_ROWS + 1) * (2 * REACH_COLUMNS + 1)
    return classes * (classes + 1) // 2 * offsets, classes * near


@compiled()
def select_points(now: Pixels, before: Pixels, columns: int, points: Int64s) -> tuple[int, bool]:
    """Write the points of a screen; return how many they are, and whether they were gathered from far.

    Args:
        now, before: uint16, ascending codes of the corners of this screen and of the one before.
        columns: of the screen.
        points: int64 [3, MOST_POINTS], receives the rows, columns and classes.
    """
    far = GATHERED if len(now) > FEW_POINTS else -1
    count = _gather(now, before, columns, far, points)
    while count > MOST_POINTS:
        far *= 2
        count = _gather(now, before, columns, far, points)
    return count, far > GATHERED


@compiled()
def _gather(now: Pixels, before: Pixels, columns: int, far: int, points: Int64s) -> int:
    """Write the points, moved ones first; return how many they are, or MOST_POINTS + 1 if too many.

    `far`: see `GATHERED`; -1: each corner is a point.
    """
    count = 0
    for moved in (True, False):
        j = 0
        for k in range(len(now)):
            code = np.int64(now[k])
            while j < len(before) and before[j] < code:
                j += 1
            if (j < len(before) and before[j] == code) == moved:
                continue
            pixel, kind = code // CLASSES, code % CLASSES
            row, column = pixel // columns, pixel % columns
            gathered = False
            if far >= 0:
                for i in range(count):
                    near = abs(points[0, i] - row) <= far and abs(points[1, i] - column) <= far
                    if near and points[2, i] == kind:
                        gathered = True
                        break
            if not gathered:
                if count == MOST_POINTS:
                    return MOST_POINTS + 1
                points[0, count], points[1, count], points[2, count] = row, column, kind
                count += 1
    return count


@compiled()
def relative_offsets(
    now: Pixels,
    before: Pixels,
    rows: int,
    columns: int,
    classes: int,
    first: int,
    points: Int64s,
    given: Int64s,
    indices: Indices,
    values: Values,
) -> tuple[int, bool]:
    """Write the relative offsets in space and in time.

    Args:
        now, before: uint16, ascending codes of the corners of this screen and of the one before.
        rows, columns: of the screen.
        classes: of colours.
        first: the number of the first such input; see `sizes`.
        points: int64 [3, MOST_POINTS], to write in.
        given: int64 [inputs], when each input was last given; index 0 counts the calls.
        indices: uint16, receives the inputs.
        values: int8, receives a 1 for each.

    Returns:
        How many inputs they are, and whether points were gathered from far.
    """
    given[0] += 1
    time = given[0]
    # Writing an input stands here twice: as a function, even an inlined one, it costs half as much again.
    found, crowded = select_points(now, before, columns, points)
    most_rows, most_columns = SCALE[rows - 1], SCALE[columns - 1]
    wide = 2 * most_columns + 1
    offsets = (2 * most_rows + 1) * wide
    count = 0
    for j in range(found):
        for i in range(j):
            a, b = i, j
            if points[2, a] > points[2, b] or (
                points[2, a] == points[2, b] and (points[0, a], points[1, a]) > (points[0, b], points[1, b])
            ):
                a, b = b, a
            kinds = points[2, b] * (points[2, b] + 1) // 2 + points[2, a]
            below, right = scale(points[0, b] - points[0, a]), scale(points[1, b] - points[1, a])
            index = first + kinds * offsets + (below + most_rows) * wide + right + most_columns
            if given[index] != time:
                given[index] = time
                indices[count] = index
                values[count] = 1
                count += 1
    first += classes * (classes + 1) // 2 * offsets
    wide = 2 * REACH_COLUMNS + 1
    offsets = (2 * REACH_ROWS + 1) * wide
    for j in range(found):
        row, column, kind = points[0, j], points[1, j], points[2, j]
        for i in range(len(before)):
            old = np.int64(before[i])
            below, right = row - old // CLASSES // columns, column - old // CLASSES % columns
            if below < -REACH_ROWS:
                break  # all others lie lower still
            if below <= REACH_ROWS and abs(right) <= REACH_COLUMNS and old % CLASSES == kind:
                index = first + kind * offsets + (below + REACH_ROWS) * wide + right + REACH_COLUMNS
                if given[index] != time:
                    given[index] = time
                    indices[count] = index
                    values[count] = 1
                    count += 1
    return count, crowded
