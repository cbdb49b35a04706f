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
rewards_and_ends = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, -1, 2.5]), st.sampled_from([False, False, False, True])),
    min_size=1,
    max_size=60,
).map(lambda steps: (np.array([r for r, _ in steps], np.float64), np.array([end for _, end in steps])))


def by_definition(rewards, gamma, ends=None):
    """R_t = sum over k >= t of gamma^(k - t) r_k, up to and including the first end.

    Ends are where the article has them, at rewards that are not 0, unless they are given.
    """
    ends = np.array(rewards) != 0 if ends is None else ends
    result = []
    for t in range(len(rewards)):
        total = 0.0
        for k in range(t, len(rewards)):
            total += gamma ** (k - t) * rewards[k]
            if ends[k]:
                break
        result.append(total)
    return result


@given(rewards_and_ends, st.floats(0, 1))
def test_discount_is_its_definition(steps, gamma):
    rewards, ends = steps
    got = returns.discount(rewards, ends, gamma)
    np.testing.assert_allclose(got, by_definition(rewards, gamma, ends), rtol=1e-12, atol=1e-14)


@given(rewards_of_a_game)
def test_classic_discount_is_its_definition(rewards):
    assert classic.gamma == 0.99
    np.testing.assert_allclose(
        classic.discount(rewards), by_definition(rewards, 0.99), rtol=1e-12, atol=1e-14
    )


def test_a_point_says_nothing_about_the_one_before():
    # By hand, gamma 0.5: two points, lost and won, and steps after the last that belong to none
    rewards, want = np.array([0, 0, -1, 0, 1, 0]), [-0.25, -0.5, -1, 0.5, 1, 0]
    np.testing.assert_array_equal(returns.discount(rewards, rewards != 0, 0.5), want)


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
    rewards_and_ends,
    st.integers(0, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_generalised_advantages_are_their_definition(steps, seed, gamma, lambda_):
    """A_t = sum over k >= t of (gamma lambda)^(k - t) delta_k, up to and including the first end."""
    rewards, ends = steps
    values = np.random.default_rng(seed).standard_normal(len(rewards) + 1)
    got = returns.generalised_advantages(rewards, ends, values[:-1], values[-1], gamma, lambda_)
    for t in range(len(rewards)):
        total = 0.0
        for k in range(t, len(rewards)):
            next_value = 0 if ends[k] else values[k + 1]
            total += (gamma * lambda_) ** (k - t) * (rewards[k] + gamma * next_value - values[k])
            if ends[k]:
                break
        assert got[t] == pytest.approx(total, rel=1e-9, abs=1e-12)


@given(rewards_and_ends)
def test_with_lambda_1_and_no_values_advantages_are_returns(steps):
    rewards, ends = steps
    got = returns.generalised_advantages(rewards, ends, np.zeros(len(rewards)), 0.0, 0.99, 1.0)
    np.testing.assert_allclose(got, returns.discount(rewards, ends, 0.99), rtol=1e-9)


def test_return_scale_worked_by_hand():
    """Returns 6 and 8 have the mean square 50, of which a twentieth is taken in."""
    scale = returns.ReturnScale()
    scale.add(np.array([6.0, 8.0], np.float32))
    assert scale.mean_square == pytest.approx(1 + 49 / 20)
    assert scale.divisor == 1
    scale.mean_square[...] = 400
    assert scale.divisor == 2


@pytest.mark.parametrize(("size", "divisor"), [(300.0, 30.0), (10.0, 1.0), (0.2, 1.0)])
def test_large_returns_come_to_be_10(size, divisor):
    """Others stay what they are."""
    scale = returns.ReturnScale()
    for _ in range(300):
        scale.add(np.array([-size, size]) / scale.divisor)
        assert 1 <= scale.divisor < divisor + 1e-9
    assert scale.divisor == pytest.approx(divisor, rel=1e-3)
