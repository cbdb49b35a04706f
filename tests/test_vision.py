"""What the network sees: hand-worked screens, for the article's steps and for the engine's short cut.

Also the two small things beside it in `policy_step`: the random stream and the choice of an action.
"""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pongrad import classic
from pongrad.games.randomness import uniform
from pongrad.network.acting import new_rollout_buffer, policy_step
from pongrad.network.policy import choose_action
from pongrad.vision.inputs import Inputs
from pongrad.vision.pixels import active_pixels, difference
from pongrad.vision.preprocessing import Vision, new_frame_buffer
from pongrad.vision.relative_offsets import MOST_POINTS, offsets_in_space, offsets_in_time

# Pong's colours as (palette index, RGB), from the emulator's own palette
FIELD = 34, (144, 72, 17)
FIRST_FIELD = 228, (109, 118, 43)  # the background of a game's very first screen
BALL = 14, (236, 236, 236)
PADDLE = 200, (92, 186, 92)


def screens(background, *dots):
    """The same picture as the emulator's palette screen and as Gymnasium's RGB screen."""
    palette = np.full((210, 160), background[0], np.uint8)
    rgb = np.empty((210, 160, 3), np.uint8)
    rgb[:] = background[1]
    for row, column, (index, colour) in dots:
        palette[row, column] = index
        rgb[row, column] = colour
    return palette, rgb


def active(preprocessing_args, size=6400):
    out = np.full(size, 9, np.uint16)
    return out[: active_pixels(preprocessing_args, np.empty_like(out), out)].tolist()


# Row 35 + 2i and column 2j become pixel 80 i + j; odd rows counted from 35 and odd columns are left out.
HAND_WORKED = {
    "empty": (FIELD, [], []),
    "empty first screen": (FIRST_FIELD, [], []),
    "top left": (FIELD, [(35, 0, BALL)], [0]),
    "second pixel of the first row": (FIELD, [(35, 2, BALL)], [1]),
    "end of the first row": (FIELD, [(35, 158, BALL)], [79]),
    "start of the second row": (FIELD, [(37, 0, PADDLE)], [80]),
    "bottom right": (FIELD, [(193, 158, BALL)], [6399]),
    "above and below the field": (
        FIELD,
        [(34, 0, BALL), (33, 2, BALL), (195, 0, BALL), (209, 158, BALL)],
        [],
    ),
    "rows that are left out": (FIELD, [(36, 0, BALL), (194, 158, BALL)], []),
    "columns that are left out": (FIELD, [(35, 1, BALL), (35, 159, BALL)], []),
    "both backgrounds at once": (FIELD, [(35, 0, FIRST_FIELD), (35, 4, BALL)], [2]),
    "on the first background": (FIRST_FIELD, [(35, 0, FIELD), (101, 42, PADDLE)], [80 * 33 + 21]),
    "a ball of 2 by 4": (
        FIELD,
        [(row, column, BALL) for row in range(100, 104) for column in (80, 81)],
        [80 * 33 + 40, 80 * 34 + 40],  # rows 101 and 103, column 80
    ),
    "two colours": (FIELD, [(35, 6, PADDLE), (35, 8, BALL), (39, 0, PADDLE)], [3, 4, 160]),
}


@pytest.mark.parametrize("background, dots, want", HAND_WORKED.values(), ids=HAND_WORKED)
def test_hand_worked_screens(background, dots, want):
    palette, rgb = screens(background, *dots)
    processed = classic.preprocess(rgb)
    assert processed.shape == (6400,)
    assert set(np.unique(processed)) <= {0, 1}
    assert processed.nonzero()[0].tolist() == want
    assert active(Vision().preprocessing_args(palette)) == want
    assert active(Vision().preprocessing_args_rgb(rgb)) == want


@pytest.mark.parametrize(
    "preprocess", [classic.preprocess, Vision().preprocessing_args_rgb], ids=["classic", "engine"]
)
def test_the_emulators_own_screen_is_left_alone(preprocess):
    _, screen = screens(FIELD, (35, 0, BALL), (36, 1, PADDLE), (100, 100, FIRST_FIELD))
    before = screen.copy()
    result = preprocess(screen)
    np.testing.assert_array_equal(screen, before)
    screen[:] = 0  # ... and what came out is no window on it that changes with the next screen
    assert not np.shares_memory(screen, result[0] if isinstance(result, tuple) else result)


areas = st.tuples(st.integers(0, 209), st.integers(0, 159), st.integers(1, 60), st.integers(1, 60))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(areas, st.sampled_from([0, 14, 34, 56, 200, 228, 255])), max_size=12),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 100),
    st.integers(1, 110),
)
def test_active_pixels_are_all_that_are_on(paint, stride, top, rows):
    screen = np.full((210, 160), 34, np.uint8)
    for (row, column, height, width), colour in paint:
        screen[row : row + height, column : column + width] = colour
    vision = Vision(top=top, bottom=top + rows, stride=stride)
    kept = screen[top : top + rows : stride, ::stride]
    assert vision.shape == kept.shape
    want = ((kept != 34) & (kept != 228)).ravel().nonzero()[0].tolist()
    assert active(vision.preprocessing_args(screen), vision.size) == want


@settings(max_examples=60, deadline=None)
@given(st.lists(areas, max_size=12), st.sampled_from([1, 2, 4]))
def test_corners_are_the_left_ones_of_the_ends_of_vertical_runs(paint, stride):
    screen = np.full((210, 160), 34, np.uint8)
    for row, column, height, width in paint:
        screen[row : row + height, column : column + width] = 14
    vision = Vision(stride=stride, corners=True)
    on = np.pad(screen[35:195:stride, ::stride] == 14, ((1, 1), (0, 0)))  # what is off the screen is off
    ends = on[1:-1] & ~(on[:-2] & on[2:])
    want = ends & ~np.pad(ends, ((0, 0), (1, 0)))[:, :-1]
    assert active(vision.preprocessing_args(screen), vision.pixels) == want.ravel().nonzero()[0].tolist()


def test_a_pair_shows_both_screens_side_by_side():
    vision = Vision(pair=True, corners=True)
    assert vision.size == 2 * 6400
    dots = [[(35, 0, BALL), (35, 2, PADDLE)], [(35, 2, BALL), (37, 0, BALL)], []]
    want = [[0], [1, 80, 6400], [6401, 6480]]
    rollout_buffer, frame_buffer = new_rollout_buffer(3, vision), new_frame_buffer(vision)
    policy_args = (np.ones((12800, 2)), np.ones((2, 2))), 1, np.uint64(1), False
    for t, some in enumerate(dots):
        policy_step(
            vision.preprocessing_args(screens(FIELD, *some)[0]),
            vision.input_args,
            True,
            frame_buffer,
            policy_args,
            t,
            rollout_buffer,
            t,
        )
    offsets, pixels, values, *_ = rollout_buffer
    for t, wanted in enumerate(want):
        assert pixels[offsets[t] : offsets[t + 1]].tolist() == wanted
    assert (values[: offsets[3]] == 1).all()


def test_the_network_is_given_relative_offsets():
    """By hand: a ball in strip 2, and a paddle in strip 8 whose ends are 3 rows above it and 5 below.

    Then the ball moves 4 columns to the right, into strip 3, and 2 rows up, and the paddle a row down.
    """
    vision = Vision(pair=True, corners=True, strip_width=8, reach=(20, 8))
    assert vision.shape == (80, 80) and vision.size == 2 * 6400 + 55 * 159 + 11 * 41 * 17
    rollout_buffer, frame_buffer = new_rollout_buffer(2, vision), new_frame_buffer(vision)
    policy_args = (np.ones((vision.size, 2)), np.ones((2, 2))), 1, np.uint64(1), False
    for step, (row, column, top) in enumerate([(40, 20, 37), (38, 24, 38)]):
        ball = (35 + 2 * row, 2 * column, BALL)
        paddle = [(35 + 2 * row, left, PADDLE) for row in range(top, top + 9) for left in (140, 142)]
        args = vision.preprocessing_args(screens(FIELD, ball, *paddle)[0]), vision.input_args
        policy_step(*args, True, frame_buffer, policy_args, step, rollout_buffer, step)
    offsets, inputs, values, *_ = rollout_buffer
    assert (values[: offsets[2]] == 1).all()

    def space(left, right, below):
        return 12800 + (right * (right + 1) // 2 + left) * 159 + 79 + below

    def time(strip, below, right):
        offset = 12800 + 55 * 159 + (below + 20) * 17 + right + 8
        return offset, offset + (1 + strip) * 41 * 17

    first, second = inputs[: offsets[1]], inputs[offsets[1] : offsets[2]]
    assert sorted(first[3:]) == sorted([space(2, 8, -3), space(2, 8, 5), space(8, 8, 8)])
    assert sorted(second[6:]) == sorted(
        [
            *[space(3, 8, 0), space(3, 8, 8), space(8, 8, 8)],
            *time(3, -2, 4),  # the ball; the paddle is too far away
            *[*time(8, 38 - 37, 0), *time(8, 38 - 45, 0), *time(8, 46 - 37, 0), *time(8, 46 - 45, 0)],
        ]
    )


ROWS, COLUMNS, FIRST = 20, 30, 1000
pixels_on = st.sets(st.integers(0, ROWS * COLUMNS - 1), max_size=100).map(sorted)


def written(offsets_in, *args):
    """The inputs that are written, with how often."""
    pixels, values = np.zeros(2 * MOST_POINTS**2, np.uint16), np.zeros(2 * MOST_POINTS**2, np.int8)
    count = offsets_in(*args, FIRST, pixels, values)
    assert (values[:count] == 1).all()
    return Counter(pixels[:count].tolist())


@settings(max_examples=60, deadline=None)
@given(pixels_on, st.integers(1, COLUMNS))
def test_offsets_in_space_are_those_of_every_two_points(now, width):
    points = list(dict.fromkeys((pixel // COLUMNS, pixel % COLUMNS // width) for pixel in now))
    want = Counter()
    for one, other in itertools.combinations(points[:MOST_POINTS], 2):
        (left_row, left), (right_row, right) = sorted((one, other), key=lambda point: point[1])
        want[FIRST + (right * (right + 1) // 2 + left) * 39 + right_row - left_row + 19] += 1
    assert written(offsets_in_space, np.array(now, np.uint16), ROWS, COLUMNS, width) == want
    strips = -(-COLUMNS // width)
    assert all(FIRST <= pixel < FIRST + strips * (strips + 1) // 2 * 39 for pixel in want)


@settings(max_examples=60, deadline=None)
@given(pixels_on, pixels_on, st.integers(1, COLUMNS), st.integers(0, 20), st.integers(0, 30))
def test_offsets_in_time_are_those_of_every_near_pixel_before(now, before, width, reach_rows, reach_columns):
    want, offsets = Counter(), (2 * reach_rows + 1) * (2 * reach_columns + 1)
    for pixel, old in itertools.product(now[:MOST_POINTS], before[:MOST_POINTS]):
        below, right = pixel // COLUMNS - old // COLUMNS, pixel % COLUMNS - old % COLUMNS
        if abs(below) <= reach_rows and abs(right) <= reach_columns:
            number = FIRST + (below + reach_rows) * (2 * reach_columns + 1) + right + reach_columns
            want[number] += 1
            want[number + (1 + pixel % COLUMNS // width) * offsets] += 1
    both = np.array(now, np.uint16), np.array(before, np.uint16)
    assert written(offsets_in_time, *both, COLUMNS, width, reach_rows, reach_columns) == want
    assert all(FIRST <= pixel < FIRST + (1 + -(-COLUMNS // width)) * offsets for pixel in want)


def test_the_first_input_is_zero_and_the_others_are_what_changed():
    vision = Vision()
    dots = [[(35, 0, BALL), (35, 2, PADDLE)], [(35, 2, BALL), (37, 0, BALL)], [(35, 2, PADDLE)]]
    want = [([], []), ([0, 80], [-1, 1]), ([80], [-1])]
    pairs = [screens(FIELD, *some) for some in dots]

    previous = None
    for (_, rgb), (pixels, values) in zip(pairs, want, strict=True):
        x, previous = classic.observe(rgb, previous)
        assert x.nonzero()[0].tolist() == pixels
        assert x[pixels].tolist() == values

    rollout_buffer, frame_buffer = new_rollout_buffer(3, vision), new_frame_buffer(vision)
    policy_args = (np.ones((6400, 2)), np.ones((2, 1))), 1, np.uint64(1), False
    for t, (palette, _) in enumerate(pairs):
        policy_step(
            vision.preprocessing_args(palette),
            vision.input_args,
            True,
            frame_buffer,
            policy_args,
            t,
            rollout_buffer,
            t,
        )
    offsets, pixels, values, *_ = rollout_buffer
    for t, (some_pixels, some_values) in enumerate(want):
        assert pixels[offsets[t] : offsets[t + 1]].tolist() == some_pixels
        assert values[offsets[t] : offsets[t + 1]].tolist() == some_values


pixel_sets = st.sets(st.integers(0, 6399) | st.integers(0, 20), max_size=40).map(sorted)


@settings(deadline=None)
@given(pixel_sets, pixel_sets)
def test_difference_is_the_dense_difference(before, now):
    dense = np.zeros((2, 6400))
    dense[0, before], dense[1, now] = 1, 1
    want = dense[1] - dense[0]
    pixels, values = np.empty(80, np.uint16), np.empty(80, np.int8)
    count = difference(np.array(before, np.uint16), np.array(now, np.uint16), pixels, values)
    assert pixels[:count].tolist() == want.nonzero()[0].tolist()
    np.testing.assert_array_equal(values[:count], want[pixels[:count]])


def test_inputs_join_and_are_taken(random_inputs, dense):
    (a, dense_a), (b, dense_b) = random_inputs(4, 50, seed=1), random_inputs(3, 50, seed=2)
    none = Inputs(np.zeros(1, np.int64), a.pixels[:0], a.values[:0])
    joined = Inputs.join([a, none, b])
    assert len(joined) == 7
    both = np.concatenate([dense_a, dense_b])
    np.testing.assert_array_equal(dense(joined, 50), both)
    steps = np.array([6, 0, 3, 3])
    taken = joined.take(steps)
    np.testing.assert_array_equal(dense(taken, 50), both[steps])
    for some in (joined, taken):
        assert [x.dtype for x in (some.offsets, some.pixels, some.values)] == [np.int64, np.uint16, np.int8]


# --- The random stream and the choice -------------------------------------------------------------------


def test_the_stream_is_splitmix64():
    # The first five outputs of the reference implementation for seed 1234567
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    got = [uniform(np.uint64(1234567), np.uint64(step)) for step in range(5)]
    assert got == [(z >> 11) * 2.0**-53 for z in published]


def test_draws_are_uniform_for_any_key():
    for key in (0, 1, 2**64 - 1):  # the last one overflows 64 bits at once
        draws = [uniform(np.uint64(key), np.uint64(step)) for step in range(20_000)]
        assert min(draws) >= 0 and max(draws) < 1
        counts, _ = np.histogram(draws, 20, (0, 1))
        assert np.sum((counts - 1000) ** 2 / 1000) < 55  # chi-squared, 19 degrees: 1 in 50,000


def choose(logits, draw, greedy, dtype=np.float64):
    return choose_action(np.array(logits, dtype), draw, greedy)


@pytest.mark.parametrize("logits", [[-2.0], [0.5], [0.5, 0.5], [1.0, -1.0, 0.0, 2.0, -3.0, 1.0]], ids=str)
def test_actions_are_drawn_with_their_probabilities(logits):
    """One logit z is softmax over z and 0; the logarithm of the probability comes with the action."""
    odds = np.exp(logits if len(logits) > 1 else [*logits, 0])
    p, n = odds / odds.sum(), 20_000
    drawn = [choose(logits, uniform(np.uint64(9), np.uint64(step)), False) for step in range(n)]
    counts = Counter(action for action, _ in drawn)
    for action, probability in enumerate(p):
        assert abs(counts[action] - n * probability) < 4 * np.sqrt(n * probability * (1 - probability))
    for action, log_probability in set(drawn):
        assert log_probability == pytest.approx(np.log(p[action]), rel=1e-12)


def test_choose_compares_the_draw_with_p():
    for draw in (0.0, 0.4999, 0.5, 0.7):
        assert choose([0.0], draw, False)[0] == (0 if draw < 0.5 else 1)
        assert choose([3.0, 3.0, 3.0, 3.0], draw, False)[0] == int(4 * draw)
    for draw in (0.0, 0.999):  # greedy: the draw does not matter
        assert choose([0.01], draw, True)[0] == 0
        assert choose([-0.01], draw, True)[0] == 1
        assert choose([0.0, 1.0, 0.5, 1.0], draw, True)[0] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_do_not_overflow(dtype):
    for draw in np.array([0, 0.5, 1 - 2.0**-53]):
        assert choose([1e30], draw, False, dtype) == (0, 0.0)
        assert choose([-1e30], draw, False, dtype) == (1, 0.0)
        assert choose([-1e30, 0.0, 1e30], draw, False, dtype) == (2, 0.0)
