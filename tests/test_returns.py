"""Returns by their definition, added up the slow way, and their standardisation."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pongrad import classic
from pongrad.learning import returns

STANDARDISERS = pytest.mark.parametrize(
    "standardise", [returns.standardise, classic.standardise], ids=["engine", "classic"]
)
rewards_of_a_game = st.lists(st.sampled_from([0, 0, 0, 0, 1, -1]), min_size=1, max_size=60)


def by_definition(rewards, gamma):
    """R_t = sum over k >= t of gamma^(k - t) r_k, up to and including the first reward that is not 0."""
    result = []
    for t in range(len(rewards)):
        total = 0.0
        for k in range(t, len(rewards)):
            total += gamma ** (k - t) * rewards[k]
            if rewards[k] != 0:
                break  # the point is over
        result.append(total)
    return result


@given(rewards_of_a_game, st.floats(0, 1))
def test_discount_is_its_definition(rewards, gamma):
    got = returns.discount(np.array(rewards, np.float64), gamma)
    np.testing.assert_allclose(got, by_definition(rewards, gamma), rtol=1e-12, atol=1e-300)


@given(rewards_of_a_game)
def test_classic_discount_is_its_definition(rewards):
    assert classic.gamma == 0.99
    np.testing.assert_allclose(classic.discount(rewards), by_definition(rewards, 0.99), rtol=1e-12)


def test_a_point_says_nothing_about_the_one_before():
    # By hand, gamma 0.5: two points, lost and won, and steps after the last that belong to none
    rewards, want = [0, 0, -1, 0, 1, 0], [-0.25, -0.5, -1, 0.5, 1, 0]
    np.testing.assert_array_equal(returns.discount(np.array(rewards), 0.5), want)


@STANDARDISERS
@given(rewards=rewards_of_a_game)
def test_standardised_returns_have_mean_0_and_deviation_1(standardise, rewards):
    raw = np.array(by_definition(rewards, 0.99))
    before = raw.copy()
    got = standardise(raw)
    np.testing.assert_array_equal(raw, before)
    if len(set(raw)) == 1:
        np.testing.assert_array_equal(got, 0)
        return
    assert got.mean() == pytest.approx(0, abs=1e-9)
    assert got.std() == pytest.approx(1)
    np.testing.assert_allclose(got * raw.std() + raw.mean(), raw, atol=1e-9)  # shifted and scaled, no more


@STANDARDISERS
@given(value=st.floats(-1, 1), steps=st.integers(1, 500))
def test_equal_returns_prefer_nothing(standardise, value, steps):
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        got = standardise(np.full(steps, value))
    np.testing.assert_array_equal(got, np.zeros(steps))


# --- Generalised advantages -----------------------------------------------------------------------------


@given(
    rewards_of_a_game,
    st.integers(0, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_generalised_advantages_are_their_definition(rewards, seed, gamma, lambda_):
    """A_t = sum over k >= t of (gamma lambda)^(k - t) delta_k, up to and including the point's last step."""
    values = np.random.default_rng(seed).standard_normal(len(rewards) + 1)
    got = returns.generalised_advantages(np.array(rewards), values[:-1], values[-1], gamma, lambda_)
    for t in range(len(rewards)):
        total = 0.0
        for k in range(t, len(rewards)):
            next_value = 0 if rewards[k] else values[k + 1]
            total += (gamma * lambda_) ** (k - t) * (rewards[k] + gamma * next_value - values[k])
            if rewards[k]:
                break
        assert got[t] == pytest.approx(total, rel=1e-9, abs=1e-12)


@given(rewards_of_a_game)
def test_with_lambda_1_and_no_values_advantages_are_returns(rewards):
    nothing = np.zeros(len(rewards))
    got = returns.generalised_advantages(np.array(rewards), nothing, 0.0, 0.99, 1.0)
    np.testing.assert_allclose(got, returns.discount(np.array(rewards, float), 0.99), rtol=1e-9)
