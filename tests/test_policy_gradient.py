"""The policy gradient theorem, checked on a game small enough to add up every way it can go.

The chapters "What a point teaches" and "Batches and RMSProp" of the lesson state what is checked here.
"""

import itertools

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from pongrad import classic

STEPS = 3
PIXELS, NEURONS = 6, 5
ACTIONS = list(itertools.product((0, 1), repeat=STEPS))  # all 8 games


@pytest.fixture
def weights():
    rng = np.random.default_rng(2)
    return {"W1": rng.standard_normal((NEURONS, PIXELS)), "W2": rng.standard_normal(NEURONS)}


def game(actions):
    """Inputs [STEPS, PIXELS] and rewards [STEPS]: what is seen and earned depends on the actions so far."""
    rng = np.random.default_rng(7)
    screens, earned = rng.standard_normal((STEPS, 8, PIXELS)), rng.standard_normal((STEPS, 8))
    numbers = [int("".join(map(str, actions[:t])) or "0", 2) for t in range(STEPS + 1)]
    x = np.array([screens[t, numbers[t]] for t in range(STEPS)])
    return x, np.array([earned[t, numbers[t + 1]] for t in range(STEPS)])


def expected_reward(w1, w2):
    """J: the sum, over all games, of a game's probability times all that it earns."""
    total = 0.0
    for actions in ACTIONS:
        x, rewards = game(actions)
        p = 1 / (1 + anp.exp(-(anp.maximum(x @ w1.T, 0) @ w2)))
        total = total + anp.prod(anp.where(np.array(actions) == 1, p, 1 - p)) * rewards.sum()
    return total


def mean_gradient(weights, worth):
    """The mean, over all games, of sum_t worth_t d log pi(y_t | x_t) / d weights; `worth` of the rewards."""
    total = {name: np.zeros_like(w) for name, w in weights.items()}
    for actions in ACTIONS:
        x, rewards = game(actions)
        y = np.array(actions)
        h, p = classic.forward(x, weights)
        probability = np.prod(np.where(y == 1, p, 1 - p))
        for name, gradient in classic.backward(x, h, (y - p) * worth(rewards), weights).items():
            total[name] += probability * gradient
    return total


def to_come(rewards):
    """The rewards from each step on."""
    return np.cumsum(rewards[::-1])[::-1]


@pytest.mark.parametrize(
    "worth",
    [lambda rewards: np.full(STEPS, rewards.sum()), to_come, lambda rewards: to_come(rewards) - 10],
    ids=["all rewards", "rewards from the step on", "the same less a baseline"],
)
def test_mean_of_reward_times_log_gradient_is_the_slope_of_the_mean_reward(weights, worth):
    want = autograd.grad(lambda w: expected_reward(*w))(list(weights.values()))
    got = mean_gradient(weights, worth)
    for name, wanted in zip(weights, want, strict=True):
        assert np.abs(wanted).max() > 0.01
        np.testing.assert_allclose(got[name], wanted, rtol=1e-9, atol=1e-12)


def test_a_baseline_changes_the_mean_gradient_by_nothing():
    p = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(p * (1 - p) + (1 - p) * (0 - p), 0, atol=1e-15)


def test_the_noise_of_a_sum_of_games_grows_as_the_root_of_their_number():
    p, games, rng = 0.3, 10, np.random.default_rng(4)
    y = rng.random((20_000, games)) < p
    gradients = (y - p) * np.where(y, 1.0, -1.0)
    one, ten = gradients[:, 0], gradients.sum(axis=1)
    assert ten.mean() == pytest.approx(games * one.mean(), rel=0.02)
    assert ten.std() == pytest.approx(np.sqrt(games) * one.std(), rel=0.02)
