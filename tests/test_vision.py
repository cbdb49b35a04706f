"""What the network sees: hand-worked screens, for the article's steps and for the engine's short cut.

Also the two small things beside it in `policy_step`: the random stream and the choice of an action.
"""

import itertools
from collections import Counter

import gymnasium
import numpy as np
import pytest
from conftest import FAST_VISION, PONG
from hypothesis import given, settings
from hypothesis import strategies as st

from pongrad import classic
from pongrad.games.colours import CLASSES
from pongrad.games.randomness import uniform
from pongrad.network.acting import new_rollout_buffer, policy_step
from pongrad.network.exploration import NOT_HELD
from pongrad.network.network import Network
from pongrad.network.policy import choose_action
from pongrad.vision.inputs import Inputs
from pongrad.vision.pixels import OFF, active_pixels, difference
from pongrad.vision.preprocessing import Vision, new_screen_buffer
from pongrad.vision.relative_offsets import (
    FEW_POINTS,
    GATHERED,
    MOST_POINTS,
    REACH_COLUMNS,
    REACH_ROWS,
    SCALE,
    relative_offsets,
    select_points,
    sizes,
)
from pongrad.vision.survey import survey

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
    """The places of the pixels that are on."""
    return [code // CLASSES for code in codes(preprocessing_args, size)]


def codes(preprocessing_args, size):
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


paintings = st.lists(st.tuples(areas, st.sampled_from([0, 14, 34, 56, 200, 228, 254])), max_size=12)


def painted(paint, width=160):
    screen = np.full((210, width), 34, np.uint8)
    for (row, column, height, wide), colour in paint:
        screen[row : row + height, column : column + wide] = colour
    return screen


def looking(stride=2, top=35, rows=100, background=(), width=160, offsets=False):
    """A vision with a painted background, where colour 14 is of class 1, 56 of class 2 and 228 is off."""
    kept = painted(background, width)[top : top + rows : stride, ::stride]
    classes = np.zeros(256, np.uint8)
    classes[[14, 56, 228]] = 1, 2, OFF
    return Vision(
        210, width, top, top + rows, stride, kept.tobytes(), classes.tobytes(), ((0, 0),), offsets=offsets
    )


@settings(max_examples=60, deadline=None)
@given(paintings, paintings, st.sampled_from([2, 4, 8]), st.integers(0, 100), st.integers(1, 110))
def test_active_pixels_are_all_that_differ_from_the_background(paint, background, stride, top, rows):
    screen, vision = painted(paint), looking(stride, top, rows, background)
    kept = screen[top : top + rows : stride, ::stride]
    assert vision.shape == kept.shape
    off = np.frombuffer(vision.background, np.uint8).reshape(kept.shape)
    on = ((kept != off) & (kept != 228)).ravel().nonzero()[0]
    classes = {14: 1, 56: 2}
    want = [CLASSES * int(place) + classes.get(int(kept.ravel()[place]), 0) for place in on]
    assert codes(vision.preprocessing_args(screen), vision.pixels) == want


@settings(max_examples=60, deadline=None)
@given(paintings, st.sampled_from([2, 4]))
def test_corners_are_the_left_ones_of_the_ends_of_vertical_runs_of_a_class(paint, stride):
    screen, vision = painted(paint), looking(stride, offsets=True)
    kept = screen[35:135:stride, ::stride]
    classes = np.select([kept == 14, kept == 56, (kept == 34) | (kept == 228)], [1, 2, 9], 0)
    classes = np.pad(classes, ((1, 1), (0, 0)), constant_values=9)  # what is off the screen is off
    ends = (classes[1:-1] != classes[:-2]) | (classes[1:-1] != classes[2:])
    ends &= classes[1:-1] != 9
    beside = ends[:, :-1] & ends[:, 1:] & (classes[1:-1, :-1] == classes[1:-1, 1:])
    want = ends & ~np.pad(beside, ((0, 0), (1, 0)))
    places = want.ravel().nonzero()[0]
    want_codes = [CLASSES * int(place) + int(classes[1:-1].ravel()[place]) for place in places]
    assert codes(vision.preprocessing_args(screen), vision.pixels) == want_codes


def given_inputs(vision, screens_shown):
    """The inputs that the network is given of screens in turn, as sets; none may be given twice."""
    rollout_buffer, screen_buffer = new_rollout_buffer(len(screens_shown), vision), new_screen_buffer(vision)
    network = Network({"W1": np.ones((vision.size, 2)), "W2": np.ones((2, 2))})
    policy_args = *network.acting_args, 1, np.uint64(1), False, NOT_HELD
    for step, screen in enumerate(screens_shown):
        args = vision.preprocessing_args(screen), vision.input_args
        policy_step(*args, True, screen_buffer, policy_args, step, rollout_buffer, step)
    offsets, inputs, values, *_ = rollout_buffer
    assert (values[: offsets[len(screens_shown)]] == 1).all()
    parts = [inputs[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())]
    assert all(len(set(part)) == len(part) for part in parts)
    return [set(part) for part in parts]


def test_the_network_is_given_corners_of_two_screens_and_relative_offsets():
    """By hand: a ball of one pixel, and a paddle of another class whose ends are 3 rows above it and 5 below.

    Then the ball moves 4 columns to the right and 2 rows up, and the paddle a row down.
    """
    vision = looking(rows=160, offsets=True)
    assert vision.shape == (80, 80) and vision.class_count == 3
    shown, places = [], []
    for row, column, top in [(40, 20, 37), (38, 24, 38)]:
        screen = np.full((210, 160), 34, np.uint8)
        screen[35 + 2 * row, 2 * column] = 14
        screen[35 + 2 * top : 35 + 2 * top + 17, 140:144] = 200
        shown.append(screen)
        places.append({80 * row + column, 80 * top + 70, 80 * (top + 8) + 70})
    first, second = given_inputs(vision, shown)
    far_rows, far_columns = int(SCALE[79]), int(SCALE[79])
    wide = 2 * far_columns + 1
    pairs = (2 * far_rows + 1) * wide

    def space(classes, below, right):  # exact below 16 rows; 50 and 46 columns are coarse
        return 12800 + classes * pairs + (below + far_rows) * wide + right + far_columns

    def time(kind, below, right):
        return 12800 + 6 * pairs + kind * 697 + (below + 20) * 17 + right + 8

    paddle, paddle_and_ball = 0, 1  # classes 0 and 0, 0 and 1
    columns = -int(SCALE[50])
    assert first == places[0] | {
        space(paddle_and_ball, 3, columns), space(paddle_and_ball, -5, columns), space(paddle, 8, 0)
    }  # fmt: skip
    columns = -int(SCALE[46])
    assert second == places[1] | {place + 6400 for place in places[0]} | {
        space(paddle_and_ball, 0, columns), space(paddle_and_ball, -8, columns), space(paddle, 8, 0),
        time(1, -2, 4), time(0, 1, 0), time(0, 1 - 8, 0), time(0, 9, 0),
    }  # fmt: skip


ROWS, COLUMNS, FIRST = 40, 30, 100
pixels_on = st.sets(st.integers(0, CLASSES * ROWS * COLUMNS - 1), max_size=60).map(sorted)


def test_the_scale_is_exact_when_near_and_has_four_places_for_every_doubling():
    assert SCALE[:16].tolist() == list(range(16))
    for start, step in ((16, 4), (32, 8), (64, 16), (128, 32)):
        assert [int(SCALE[start + i * step]) for i in range(4)] == [int(SCALE[start]) + i for i in range(4)]
        assert (np.diff(SCALE[start : start + step]) == 0).all()
    assert (np.diff(SCALE) <= 1).all() and SCALE[16] == 16


def points_of(now, before):
    points = np.zeros((3, MOST_POINTS), np.int64)
    count, crowded = select_points(np.array(now, np.uint16), np.array(before, np.uint16), COLUMNS, points)
    return [tuple(point) for point in points[:, :count].T.tolist()], crowded


def place_of(code):
    return code // CLASSES // COLUMNS, code // CLASSES % COLUMNS, code % CLASSES


@settings(max_examples=60, deadline=None)
@given(pixels_on, pixels_on)
def test_points_are_corners_gathered_where_there_are_many_and_the_moved_ones_first(now, before):
    points, crowded = points_of(now, before)
    in_order = [code for code in now if code not in before] + [code for code in now if code in before]
    if len(now) <= FEW_POINTS:
        assert points == [place_of(code) for code in in_order]
        return

    def gathered_from(far):
        kept = []
        for row, column, kind in map(place_of, in_order):
            if not any(kind == k and abs(row - r) <= far and abs(column - c) <= far for r, c, k in kept):
                kept.append((row, column, kind))
        return kept

    wants = [gathered_from(GATHERED * 2**doubled) for doubled in range(8)]
    assert points == next(want for want in wants if len(want) <= MOST_POINTS)
    assert crowded == (len(wants[0]) > MOST_POINTS)


@settings(max_examples=60, deadline=None)
@given(pixels_on, pixels_on)
def test_relative_offsets_are_those_of_all_points_each_once(now, before):
    in_space, in_time = sizes(ROWS, COLUMNS, CLASSES)
    pixels, values = np.zeros(20_000, np.uint16), np.zeros(20_000, np.int8)
    given_before = np.zeros(FIRST + in_space + in_time, np.int64)
    room = np.zeros((3, MOST_POINTS), np.int64)
    arrays = np.array(now, np.uint16), np.array(before, np.uint16)
    for _ in range(2):  # what was given before does not matter
        count, crowded = relative_offsets(
            *arrays, ROWS, COLUMNS, CLASSES, FIRST, room, given_before, pixels, values
        )
    got = pixels[:count].tolist()
    assert len(set(got)) == count and (values[:count] == 1).all()

    (points, gathered_from_far), want = points_of(now, before), set()
    assert crowded == gathered_from_far
    wide = 2 * int(SCALE[COLUMNS - 1]) + 1
    tall = 2 * int(SCALE[ROWS - 1]) + 1
    for one, other in itertools.combinations(points, 2):
        (row, column, kind), (row2, column2, kind2) = sorted((one, other), key=lambda p: (p[2], p[0], p[1]))
        below, right = (int(np.sign(d)) * int(SCALE[abs(d)]) for d in (row2 - row, column2 - column))
        kinds = kind2 * (kind2 + 1) // 2 + kind
        want.add(FIRST + (kinds * tall + below + tall // 2) * wide + right + wide // 2)
    for (row, column, kind), old in itertools.product(points, map(place_of, before)):
        below, right = row - old[0], column - old[1]
        if kind == old[2] and abs(below) <= REACH_ROWS and abs(right) <= REACH_COLUMNS:
            place = (below + REACH_ROWS) * (2 * REACH_COLUMNS + 1) + right + REACH_COLUMNS
            want.add(FIRST + in_space + kind * 41 * 17 + place)
    assert set(got) == want
    assert all(FIRST <= place < len(given_before) for place in want)


# --- The vision of a game, found out by random play -------------------------------------------------------


def test_pongs_vision_is_found_out():
    """Its field without the score; ball and paddles are three classes; what never moves is not seen."""
    vision = FAST_VISION
    assert (vision.top, vision.bottom, vision.stride, vision.class_count) == (22, 210, 2, 3)
    classes = {vision.classes[number] for number, _ in (BALL, PADDLE, (56, None))}
    assert classes == {0, 1, 2}
    assert vision.classes[FIRST_FIELD[0]] == OFF
    assert set(np.frombuffer(vision.background, np.uint8)) >= {FIELD[0]}
    assert dict((number, rgb) for rgb, number in vision.palette)[FIELD[0]] == 0x904811
    assert survey.__wrapped__(PONG, 1) == survey(PONG, 1)


@pytest.mark.parametrize(
    ("game", "top"),
    [("Breakout", 16), ("Boxing", 24), ("Seaquest", 30), ("Freeway", 0), ("BasicMath", 0), ("Qbert", 0)],
)
def test_score_lives_and_clock_are_left_out(game, top):
    """But no lane of cars, no score that is not set apart, and nothing low that has to be read."""
    assert survey(f"ALE/{game}-v5", 3).vision.top == top


@pytest.mark.parametrize("game", ["ALE/Breakout-v5", "ALE/Boxing-v5", "CartPole-v1"])
def test_a_vision_sees_an_observation_as_it_sees_the_environments_own_screen(game):
    found = survey(game, 3).vision
    assert Vision.from_description(found.description()) == found
    env = gymnasium.make(game, render_mode="rgb_array")
    if game == "CartPole-v1":
        env = gymnasium.wrappers.AddRenderObservation(env, render_only=True)
    observation, _ = env.reset(seed=4)
    env.action_space.seed(4)
    screen = found.new_screen()
    for _ in range(60):
        screen[:, : found.width] = found.colour_numbers(observation)
        seen = codes(found.preprocessing_args_rgb(observation), found.pixels)
        assert seen == codes(found.preprocessing_args(screen), found.pixels)
        if game != "CartPole-v1":
            own = env.unwrapped.ale.getScreen()
            assert codes(found.preprocessing_args(own), found.pixels) == seen
        observation, _, over, _, _ = env.step(env.action_space.sample())
        if over:
            break
    assert seen


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

    rollout_buffer, screen_buffer = new_rollout_buffer(3, vision), new_screen_buffer(vision)
    network = Network({"W1": np.ones((6400, 2)), "W2": np.ones((2, 1))})
    policy_args = *network.acting_args, 1, np.uint64(1), False, NOT_HELD
    for t, (palette, _) in enumerate(pairs):
        policy_step(
            vision.preprocessing_args(palette),
            vision.input_args,
            True,
            screen_buffer,
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
    coded = (CLASSES * np.array(some, np.uint16) for some in (before, now))
    count = difference(*coded, pixels, values)
    assert pixels[:count].tolist() == want.nonzero()[0].tolist()
    np.testing.assert_array_equal(values[:count], want[pixels[:count]])


def test_inputs_join_and_are_taken(random_inputs, dense):
    (a, dense_a), (b, dense_b) = random_inputs(4, 50, seed=1), random_inputs(3, 50, seed=2)
    none = Inputs(np.zeros(1, np.int64), a.indices[:0], a.values[:0])
    joined = Inputs.join([a, none, b])
    assert len(joined) == 7
    both = np.concatenate([dense_a, dense_b])
    np.testing.assert_array_equal(dense(joined, 50), both)
    steps = np.array([6, 0, 3, 3])
    taken = joined.take(steps)
    np.testing.assert_array_equal(dense(taken, 50), both[steps])
    for some in (joined, taken):
        assert [x.dtype for x in (some.indptr, some.indices, some.values)] == [np.int64, np.uint16, np.int8]


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


def choose(logits, draw, greedy, dtype=np.float64, held=NOT_HELD):
    return choose_action(np.array(logits, dtype), draw, greedy, held)


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
