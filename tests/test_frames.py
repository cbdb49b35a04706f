"""What a convolutional network is given, and playing side by side with one."""

import itertools
import pickle
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pongrad.games import environment
from pongrad.games.colours import grey
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.ground.errors import UserError
from pongrad.learning.learners import new_agent, new_learner
from pongrad.learning.recipes import Classic, Fast
from pongrad.network.agent import Agent
from pongrad.playing.evaluation import evaluate
from pongrad.playing.play import play, play_on
from pongrad.vision.frames import SIDE, STACK, Frames, FrameStack

GAME = "ALE/Pong-v5"
STEPS = 60


@pytest.fixture(scope="module")
def agent():
    return new_agent(Fast(network="conv", num_hidden_layer_neurons=16, biases=True))


def games(count, purpose=Purpose.TRAINING, name=GAME):
    return [Game(name, 4, purpose, number) for number in range(count)]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 260), st.integers(1, 260), st.integers(0, 2**32))
def test_a_pixel_is_the_mean_of_its_area_in_the_brighter_frame(height, width, seed):
    greys = np.random.default_rng(seed).integers(0, 256, (2, height, width)).astype(np.uint8)
    got = np.empty((SIDE, SIDE), np.uint8)
    FrameStack(height, width).frame(greys, got)
    # Each pixel cut into 84 x 84: then every area is a whole number of parts
    brighter = greys.max(axis=0).astype(np.float32)
    rows = np.repeat(brighter, SIDE, axis=0).reshape(SIDE, height, width).mean(axis=1)
    want = np.repeat(rows, SIDE, axis=1).reshape(SIDE, SIDE, width).mean(axis=2)
    np.testing.assert_allclose(got, want, atol=0.501)


@pytest.mark.parametrize("game", ["Pong", "SpaceInvaders", "Enduro"])
def test_greys_are_the_emulators_last_two_frames(game):
    """The emulator's own greys, frame by frame, without stickiness."""
    name = f"ALE/{game}-v5 noop_max=0 repeat_action_probability=0.0"
    frame_by_frame = gymnasium.make(
        f"ALE/{game}-v5", repeat_action_probability=0.0, frameskip=1, obs_type="grayscale"
    )
    rgb = gymnasium.make(f"ALE/{game}-v5", repeat_action_probability=0.0, frameskip=4)
    start = Game(name, 1, Purpose.TRAINING, 0)
    emulator = environment.make(name)
    emulator.show_greys()
    emulator.restore(start)
    first, _ = frame_by_frame.reset(seed=start.env_seed)
    rgb.reset(seed=start.env_seed)
    np.testing.assert_array_equal(emulator.greys, [first, first])
    rng = np.random.default_rng(0)
    for timing in itertools.islice(emulator.timings(start), 120):
        action = int(rng.integers(len(emulator.action_names)))
        emulator.act(action, timing)
        frames = [frame_by_frame.step(action)[0] for _ in range(4)]
        np.testing.assert_array_equal(emulator.greys, frames[-2:])
        colours, *_ = rgb.step(action)
        np.testing.assert_array_equal(grey(colours), frames[-1])


def test_a_game_of_single_frames_has_one_frame_twice():
    emulator = environment.make("PongNoFrameskip-v4")
    emulator.show_greys()
    start = Game("PongNoFrameskip-v4", 1, Purpose.TRAINING, 0)
    emulator.restore(start)
    for timing in itertools.islice(emulator.timings(start), 80):
        emulator.act(2, timing)
        np.testing.assert_array_equal(emulator.greys[0], emulator.greys[1])


def test_batches_of_frames():
    frames = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE)).astype(np.uint8)
    whole = Frames(frames, np.arange(STACK - 1, 20))

    def given_at(x, t):
        return x.frames[x.newest[t] - STACK + 1 : x.newest[t] + 1]

    parts = [whole.slice(0, 5), whole.slice(5, 6), whole.slice(6, 17)]
    assert [len(part.frames) for part in parts] == [8, 4, 14]
    for x in (Frames.join(parts), Frames.from_bytes(*whole.to_bytes())):
        assert len(x) == 17
        for t in range(17):
            np.testing.assert_array_equal(given_at(x, t), frames[t : t + STACK])
    np.testing.assert_array_equal(given_at(whole.take(np.array([9, 2])), 1), frames[2:6])
    assert len(whole.slice(3, 3)) == 0


# --- Playing --------------------------------------------------------------------------------------------


def assert_same(a, b):
    """Of two rollouts all that is not a time."""
    for x, y in ((a.inputs, b.inputs), (a.next_observation, b.next_observation)):
        np.testing.assert_array_equal(x.frames[x.newest], y.frames[y.newest])
    for name in ("actions", "log_probabilities", "rewards", "lives_lost", "frames"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)


def test_pieces_are_the_same_game(agent):
    """Played alone, among others, and in pieces of any length."""
    emulator = environment.make(GAME)
    whole, ends = play(agent, games(3), STEPS, emulator)
    (alone,), (end,) = play(agent, games(3)[1:2], STEPS, emulator)
    assert_same(alone, whole[1])
    assert end == ends[1]
    pieces, now = [], games(3)
    for steps in (1, 20, STEPS - 21):
        rollouts, now = play(agent, now, steps, emulator)
        pieces.append(rollouts)
    assert now == ends
    for number, rollout in enumerate(whole):
        assert_same(type(rollout).join([piece[number] for piece in pieces]), rollout)


def test_the_network_is_given_the_last_four_frames_of_its_game(agent):
    """Also across the end of a game; and what it is given, with the actions, is what the logs say."""
    name = "ALE/Pong-v5 max_num_frames_per_episode=100"
    short = new_agent(Fast(game=name.split()[0], env_options=(name.split()[1],), network="conv"))
    (segments,) = play_on(short, games(1, name=name), STEPS, 1, 0.0, environment.make(name)).segments()
    assert len(segments) == 3 and sum(len(rollout) for rollout, _ in segments) == STEPS
    assert [game.number for _, game in segments] == [0, 1, 2]
    for rollout, _ in segments:
        x = rollout.inputs
        first = x.frames[x.newest[0] - STACK + 1 : x.newest[0] + 1]
        assert (first == first[0]).all()
        logits = short.network.forward(x)[:, :-1].astype(float)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        taken = log_p[np.arange(len(rollout)), rollout.actions]
        np.testing.assert_allclose(rollout.log_probabilities, taken, atol=1e-5)


@pytest.mark.parametrize("steps", [24, 25, 26])
def test_a_game_that_ends_with_the_last_step_moves_nothing_of_others(steps):
    name = "ALE/Pong-v5 max_num_frames_per_episode=100"
    short = new_agent(Fast(env_options=(name.split()[1],), network="conv", num_hidden_layer_neurons=8))
    both = play_on(short, games(2, name=name), steps, 2, 0.0, environment.make(name)).segments()
    (alone,) = play_on(short, games(2, name=name)[1:], steps, 2, 0.0, environment.make(name)).segments()
    assert len(both[1]) == len(alone) == 1 + (steps > 25)
    for (rollout, game), (want, want_game) in zip(both[1], alone, strict=True):
        assert_same(rollout, want)
        assert game == want_game


def test_more_games_than_rows_are_played_in_groups(agent):
    rollouts, ends = play(agent, games(10), 5, environment.make(GAME))
    (alone,), _ = play(agent, games(10)[9:], 5, environment.make(GAME))
    assert len(rollouts) == len(ends) == 10
    assert_same(rollouts[9], alone)


def test_agents_can_be_pickled(agent):
    again = pickle.loads(pickle.dumps(agent))
    x = Frames(np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE)).astype(np.uint8), np.array([3, 4]))
    assert again.network.forward(x).tobytes() == agent.network.forward(x).tobytes()


def test_a_screen_of_another_size_is_refused():
    with pytest.raises(UserError, match="looks at 100 x 160 pixels, and the game shows 210 x 160"):
        FrameStack(100, 160).frame(np.zeros((2, 210, 160), np.uint8), np.zeros((SIDE, SIDE), np.uint8))


def test_a_game_under_way_without_frames_is_refused(agent):
    (game,) = games(1)
    agent.vision.check_seen(game)
    for seen in (b"", b"1" * 9):
        with pytest.raises(ValueError, match="bytes of frames"):
            agent.vision.check_seen(game._replace(step=3, now=seen))


def test_evaluation_does_not_depend_on_the_workers(agent):
    short = "ALE/Pong-v5 max_num_frames_per_episode=400"
    agent = new_agent(Fast(env_options=(short.split()[1],), network="conv", num_hidden_layer_neurons=8))
    results = [evaluate(agent, 10, 1, workers) for workers in (1, 2, 3)]
    assert results[0] == results[1] == results[2] and results[0]["games"] == 10


def test_an_agent_in_a_file_acts_on_observations(agent, tmp_path):
    """In a plain Gymnasium loop; without flicker it is the game that `play` plays, for frames of one kind."""
    agent.save(tmp_path / "a.safetensors")
    again = Agent.load(tmp_path / "a.safetensors")
    assert {name: array.tobytes() for name, array in again.network.weights.items()} == {
        name: array.tobytes() for name, array in agent.network.weights.items()
    }
    assert again.vision == agent.vision and again.network.strides == (4, 2)
    agent.save(tmp_path / "small.safetensors", small=True)
    small = Agent.load(tmp_path / "small.safetensors").network.weights
    assert list(small) == list(agent.network.weights)
    np.testing.assert_allclose(small["W1"], agent.network.weights["W1"], atol=0.005)
    name = "PongNoFrameskip-v4"
    start = Game(name, 3, Purpose.EVALUATION, 0)
    single = new_agent(Fast(game=name, network="conv", num_hidden_layer_neurons=8))
    (rollout,), _ = play(single, [start], STEPS, environment.make(name))
    env = gymnasium.make(name)
    emulator = environment.make(name)
    emulator.restore(start)  # begins with frames of NOOP
    env.reset(seed=start.env_seed)
    for _ in range(emulator.frames()):
        observation, *_ = env.step(0)
    single.reset()
    single._stream = start.stream
    for action in rollout.actions:
        assert single.act(observation) == single.actions[action]
        observation, *_ = env.step(single.actions[action])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"strides": [4]}, "W2"),
        ({"strides": [4, 3]}, "W3"),
        ({"strides": [4, 2, 1, 1]}, "weights"),
        ({"strides": [4, 0]}, "strides"),
        ({"strides": [4, 10**30]}, "strides"),
        ({"strides": [4, 2, 1]}, "weights"),
        ({"vision": {"height": 210, "width": 160, "background": "aGVsbG8="}}, "damaged"),
        ({"strides": "42"}, "strides"),
        ({"strides": [84, 2]}, "do not fit"),
        ({"vision": {"height": 210, "width": 160, "background": ""}}, ""),
        ({"vision": {"height": 0, "width": 160, "background": "eJztwQEBAAAAgJD+r+4ICgAAGA=="}}, ""),
    ],
)
def test_parts_that_do_not_fit_are_refused(agent, change, why):
    weights = agent.network.weights
    with pytest.raises((ValueError, KeyError), match=why):
        Agent.from_description(agent.description() | change, weights).check()


@pytest.mark.parametrize("shape", [(1, 1), (1, 100_000), (2, 16)])
def test_a_bias_of_another_width_is_refused(agent, shape):
    for like in (agent, new_agent(Fast(num_hidden_layer_neurons=16, biases=True))):
        weights = like.network.weights | {"b1": np.zeros(shape, np.float32)}
        with pytest.raises(ValueError, match="b1"):
            Agent.from_description(like.description(), weights).check()


def test_defaults_depend_on_the_network_until_they_are_given():
    conv = replace(Fast(), network="conv")
    assert (conv.units, conv.rate) == (256, 5e-4) and (Fast().units, Fast().rate) == (200, 1.5e-3)
    given = replace(conv, num_hidden_layer_neurons=3, learning_rate=0.0)
    assert (given.units, given.rate) == (3, 0.0)
    assert given.hyperparameters["learning_rate"] == 0 and conv.hyperparameters["learning_rate"] == 5e-4


def test_recipe_classic_learns_with_convolutions(agent):
    config = Classic(network="conv", num_hidden_layer_neurons=8)
    classic = new_agent(config)
    (rollout,), _ = play(classic, games(1), STEPS, environment.make(GAME))
    assert classic.logits == 1 and set(rollout.actions) == {0, 1}
    before = classic.network.weights["W1"].copy()
    learner = new_learner(config, classic)
    learner.add(replace(rollout, rewards=np.eye(STEPS, dtype=np.float32)[-1]), terminated=True)
    learner.update(0, 0)
    assert (classic.network.weights["W1"] != before).any()


def test_other_environments_are_seen_in_grey():
    cart_pole = new_agent(Fast(game="CartPole-v1", network="conv", num_hidden_layer_neurons=8))
    (rollout,), (end,) = play(cart_pole, games(1, name="CartPole-v1"), 500, environment.make("CartPole-v1"))
    assert end.over and len(np.unique(rollout.inputs.frames)) > 10
