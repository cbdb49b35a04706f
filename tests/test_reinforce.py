"""The engine learns what the lesson teaches: `classic.py` and recipe `classic` agree on real games."""

import numpy as np
import pytest

from pongrad import classic
from pongrad.games.randomness import uniform
from pongrad.learning.reinforce import Reinforce
from pongrad.network import policy
from pongrad.network.network import Network

PRECISION = {"float32": 1e-5, "float64": 1e-10}


def as_classic(arrays):
    """The engine's W1 [pixels, units] and W2 [units, 1] in the shapes of `classic.py`, copied."""
    return {"W1": arrays["W1"].T.copy(), "W2": arrays["W2"][:, 0].copy()}


def assert_close(got, want, precision):
    for name, wanted in want.items():
        assert np.linalg.norm(wanted) > 0
        assert np.linalg.norm(got[name] - wanted) <= precision * np.linalg.norm(wanted), name


@pytest.fixture(params=PRECISION)
def both(request, real_games):
    """An engine's learner and classic's weights, the same, in this precision."""
    weights = {name: w.astype(request.param) for name, w in real_games.agent.network.weights.items()}
    rates = classic.gamma, classic.learning_rate, classic.decay_rate
    learner = Reinforce(Network(weights), ("RIGHT", "LEFT"), *rates)
    return learner, as_classic(weights), PRECISION[request.param]


def classic_gradient(rollout, weights, dense):
    x = dense(rollout.inputs, 6400).astype(weights["W1"].dtype)
    h, p = classic.forward(x, weights)
    y = rollout.actions == policy.UP
    return classic.gradient_of_game(x, h, p, y, rollout.rewards.astype(float), weights)


def test_gradient_of_a_real_game(both, real_games, dense):
    learner, weights, precision = both
    learner.add(real_games.rollouts[0])
    want = classic_gradient(real_games.rollouts[0], weights, dense)
    assert_close(as_classic(learner.network.gradients), want, precision)


def test_weights_after_ten_updates(both, real_games, dense):
    learner, weights, precision = both
    start = {name: w.copy() for name, w in weights.items()}
    mean_square = {name: np.zeros_like(w) for name, w in weights.items()}
    for update in range(10):
        batch = [real_games.rollouts[update % 3], real_games.rollouts[(update + 1) % 3]]
        for rollout in batch:
            learner.add(rollout)
        learner.update()
        gradients = [classic_gradient(rollout, weights, dense) for rollout in batch]
        classic.rmsprop(weights, {name: sum(g[name] for g in gradients) for name in weights}, mean_square)
    got = as_classic(learner.network.weights)
    assert_close(got, weights, precision)
    for name, first in start.items():  # and what was learned, not only the large weights it started from
        moved = weights[name] - first
        assert np.linalg.norm(got[name] - weights[name]) <= 100 * precision * np.linalg.norm(moved)


def test_classic_plays_the_engines_game_in_gymnasium(env, real_games, dense):
    start, rollout, weights = real_games.starts[1], real_games.rollouts[1], real_games.agent.network.weights

    class Stream:
        """The game's own random numbers, in the order in which `classic.play_game` draws."""

        step = 0

        def random(self):
            self.step += 1
            return uniform(start.stream, np.uint64(self.step - 1))

    x, _, p, y, rewards = classic.play_game(env, as_classic(weights), Stream(), start.env_seed)
    assert not x[0].any()
    np.testing.assert_array_equal(x, dense(rollout.inputs, 6400))
    np.testing.assert_array_equal(y, rollout.actions == policy.UP)
    np.testing.assert_array_equal(rewards, rollout.rewards)
    logits = real_games.agent.network.forward(rollout.inputs)[:, 0]
    np.testing.assert_allclose(p, policy.probability_up(logits), atol=1e-5)


def test_an_update_empties_the_batch_and_tells_its_norm(both, real_games, dense):
    learner, weights, _ = both
    learner.add(real_games.rollouts[0])
    gradient = classic_gradient(real_games.rollouts[0], weights, dense)
    losses = learner.update()
    assert losses["gradient_norm"] == pytest.approx(
        sum((g**2).sum() for g in gradient.values()) ** 0.5, rel=1e-4
    )
    assert 0 < losses["entropy"] <= np.log(2)
    up = policy.probability_up(real_games.agent.network.forward(real_games.rollouts[0].inputs)[:, 0]).mean()
    assert losses["probability/RIGHT"] == pytest.approx(up, rel=1e-4)
    assert losses["probability/LEFT"] == pytest.approx(1 - up, rel=1e-4)
    assert not any(g.any() for g in learner.network.gradients.values())
