"""Exercises about what the network is given: preprocessing, what has moved, relative offsets."""

import numpy as np

from pongrad import classic
from pongrad.exercises.exercise import Array, Exercise, Function, Mistake

preprocess: Function = classic.preprocess
observe: Function = classic.observe


def _screen(rng: np.random.Generator) -> Array:
    """A screen with colours in each channel that are background in the first."""
    return rng.choice(np.array([144, 109, 236, 92, 0], np.uint8), (210, 160, 3))


# --- 1. Preprocessing -----------------------------------------------------------------------------------


def _green(screen: Array) -> Array:
    return preprocess(screen[:, :, [1]])


def _rows_only(screen: Array) -> Array:
    image = screen[35:195][::2][:, :, 0]
    return ((image != 144) & (image != 109)).astype(np.int8).ravel()


def _only_144(screen: Array) -> Array:
    return (screen[35:195:2, ::2, 0] != 144).astype(np.int8).ravel()


def _only_109(screen: Array) -> Array:
    return (screen[35:195:2, ::2, 0] != 109).astype(np.int8).ravel()


def _or(screen: Array) -> Array:
    image = screen[35:195:2, ::2, 0]
    return ((image != 144) | (image != 109)).astype(np.int8).ravel()


def _colours(screen: Array) -> Array:
    return screen[35:195:2, ::2, 0].astype(np.int16).ravel() * preprocess(screen)


PREPROCESS = Exercise(
    number=1,
    title="From the screen to 6,400 numbers",
    chapter=2,
    code='''
import numpy as np


def preprocess(screen):
    """From a screen to 6,400 numbers: 1 where something is, 0 where only background is.

    Args:
        screen: [210, 160, 3], red, green and blue of each pixel, from 0 to 255 (np.uint8). Do not change it.

    Returns:
        [6400], np.int8: the next exercise subtracts two of them, so negative numbers must be possible.

    Example:
        >>> screen = np.full((210, 160, 3), 144, np.uint8)
        >>> screen[35, 4] = 236
        >>> preprocess(screen).nonzero()[0].tolist()
        [2]
    """
    image = screen[35:195]  # 1. crop to the playing field, [160, 160, 3]
    image = ...  # 2. keep every second pixel in both directions, [80, 80, 3]
    image = ...  # 3. keep the first colour channel, [80, 80]
    image = ...  # 4. True where the colour is neither of the background's two, 144 and 109
    return ...  # 5. as np.int8, flattened to [6400]
''',
    reference=preprocess,
    cases=lambda rng: [(_screen(rng),), (_screen(rng),)],
    mistakes=(
        Mistake("it does not crop: the score's digits are still in it",
                lambda screen: (~np.isin(screen[::2, ::2, 0], (144, 109))).astype(np.int8).ravel()),
        Mistake("it keeps every second row but all columns; it needs [::2, ::2]", _rows_only),
        Mistake("it keeps all pixels; every second one, both ways, is [::2, ::2]",
                lambda screen: (~np.isin(screen[35:195, :, 0], (144, 109))).astype(np.int8).ravel()),
        Mistake("it keeps the second colour channel; the first is image[:, :, 0]", _green),
        Mistake("the background's second colour, 109, is still 1", _only_144),
        Mistake("the background's first colour, 144, is still 1", _only_109),
        Mistake("all pixels are 1, as every colour differs from 144 or from 109; it needs & instead of |",
                _or),
        Mistake("it is the wrong way round: background must be 0, all else 1",
                lambda screen: 1 - preprocess(screen)),
        Mistake("it keeps the colours; what is not background must be 1", _colours),
        Mistake("it is not flattened: it must be [6400]", lambda screen: preprocess(screen).reshape(80, 80)),
        Mistake("its type cannot be negative, and the difference of two screens must be; use np.int8",
                lambda screen: preprocess(screen).astype(np.uint8)),
    ),
    formula="cropped, every second pixel, one channel, background 0 and all else 1, flattened",
    where="preprocess in pongrad/classic.py",
    tested_by="tests/test_vision.py::test_hand_worked_screens",
)  # fmt: skip


# --- 2. What has moved ----------------------------------------------------------------------------------


def _first_is_screen(screen: Array, previous: Array | None) -> tuple[Array, Array]:
    now = preprocess(screen)
    return (now if previous is None else now - previous), now


def _reversed(screen: Array, previous: Array | None) -> tuple[Array, Array]:
    x, now = observe(screen, previous)
    return -x, now


def _absolute(screen: Array, previous: Array | None) -> tuple[Array, Array]:
    x, now = observe(screen, previous)
    return abs(x), now


def _not_subtracted(screen: Array, previous: Array | None) -> tuple[Array, Array]:
    now = preprocess(screen)
    return (np.zeros_like(now) if previous is None else now), now


def _difference_twice(screen: Array, previous: Array | None) -> tuple[Array, Array]:
    x, _ = observe(screen, previous)
    return x, x


OBSERVE = Exercise(
    number=2,
    title="What has moved",
    chapter=2,
    code='''
import numpy as np

from pongrad.classic import preprocess


def observe(screen, previous):
    """From a screen to the network's input: what has moved since the screen before.

    Args:
        screen: [210, 160, 3], as Gymnasium gives it.
        previous: [6400], the screen before after preprocess; None on the first step of a game.

    Returns:
        x: [6400], this screen minus the one before; all 0 on the first step.
        now: [6400], this screen after preprocess; the next step is given it as `previous`.

    Example:
        >>> screen = np.full((210, 160, 3), 144, np.uint8)
        >>> x, previous = observe(screen, None)
        >>> screen[35, 4] = 236
        >>> x, previous = observe(screen, previous)
        >>> x[:4].tolist()
        [0, 0, 1, 0]
    """
    now = preprocess(screen)
    x = ...
    return x, now
''',
    reference=observe,
    cases=lambda rng: [(_screen(rng), None), (_screen(rng), preprocess(_screen(rng)))],
    results=("x", "now"),
    mistakes=(
        Mistake("on the first step x is the whole screen; nothing has moved yet, so it must be 0",
                _first_is_screen),
        Mistake("x is the screen before minus this one; it must be this one minus the one before", _reversed),
        Mistake("x has lost its sign: a pixel that something has left must be -1", _absolute),
        Mistake("x is this screen; subtract the one before", _not_subtracted),
        Mistake("it returns x twice: the next step needs this screen, not what has moved", _difference_twice),
    ),
    formula="x = this screen minus the one before, 0 on the first step",
    where="observe in pongrad/classic.py",
    tested_by="tests/test_vision.py::test_the_first_input_is_zero_and_the_others_are_what_changed",
)  # fmt: skip


# --- 12. Relative offsets -------------------------------------------------------------------------------

Points = list[tuple[int, int]]
Offsets = set[tuple[int, int]]


def _relative_offsets(now: Points, before: Points) -> Offsets:
    """As the compiled loops of vision/relative_offsets.py, for points of one class."""
    offsets = {(row - old_row, column - old_column) for row, column in now for old_row, old_column in before}
    return {(down, right) for down, right in offsets if abs(down) <= 20 and abs(right) <= 8}


def _no_reach(now: Points, before: Points) -> Offsets:
    return {(row - old_row, column - old_column) for row, column in now for old_row, old_column in before}


def _one_sided(now: Points, before: Points) -> Offsets:
    return {(down, right) for down, right in _no_reach(now, before) if down <= 20 and right <= 8}


def _below_reach(now: Points, before: Points) -> Offsets:
    return {(down, right) for down, right in _no_reach(now, before) if abs(down) < 20 and abs(right) < 8}


def _in_pairs(now: Points, before: Points) -> Offsets:
    return {offset for a, b in zip(now, before, strict=False) for offset in _relative_offsets([a], [b])}


def _random_points(rng: np.random.Generator) -> Points:
    return [(int(row), int(column)) for row, column in rng.integers(0, (50, 25), (7, 2))]


RELATIVE_OFFSETS = Exercise(
    number=12,
    title="Relative offsets in time",
    chapter=12,
    code='''
reach_rows, reach_columns = 20, 8  # points further apart are not taken for one that has moved


def relative_offsets(now, before):
    """Relative offsets in time: from the points of the screen before to the points of this one.

    Args:
        now, before: lists of points (row, column). Rows are counted downwards, columns to the right.

    Returns:
        A set of offsets (rows, columns): the point now minus the point before, for every pair of one
        point of each list that lie at most reach_rows and reach_columns apart, in either direction. A
        set holds each offset once, however many pairs have it.

    Example:
        >>> sorted(relative_offsets([(10, 10), (11, 10)], [(12, 6), (13, 6), (50, 70)]))
        [(-3, 4), (-2, 4), (-1, 4)]
    """
    offsets = set()
    for row, column in now:
        for old_row, old_column in before:
            ...
    return offsets
''',
    reference=_relative_offsets,
    cases=lambda rng: [
        ([(10, 10), (11, 10)], [(12, 6), (13, 6), (50, 70)]),
        ([(30, 12), (5, 3)], [(10, 20), (50, 4), (31, 3)]),  # at the reach, and one column beyond
        ([(3, 4)], []),
        (_random_points(rng), _random_points(rng)),
    ],
    mistakes=(
        Mistake("the offsets point backwards: they must be the point now minus the point before",
                lambda now, before: _relative_offsets(before, now)),
        Mistake("points too far apart are paired, too: leave out what lies beyond the reach", _no_reach),
        Mistake("the reach is kept only downwards and to the right: compare abs(...) with it", _one_sided),
        Mistake("an offset of exactly the reach is left out: the test is <=, not <", _below_reach),
        Mistake("rows and columns are exchanged: an offset is (rows, columns)",
                lambda now, before: {(right, down) for down, right in _relative_offsets(now, before)}),
        Mistake("the offsets have lost their sign: (-2, 4) and (2, 4) are different movements",
                lambda now, before: {(abs(a), abs(b)) for a, b in _relative_offsets(now, before)}),
        Mistake("it pairs the first point with the first, the second with the second; it must pair all with"
                " all", _in_pairs),
    ),
    formula="each distinct (row - old row, column - old column) within the reach, once",
    where="relative_offsets in pongrad/vision/relative_offsets.py",
    tested_by="tests/test_vision.py::test_relative_offsets_are_those_of_all_points_each_once",
)  # fmt: skip
