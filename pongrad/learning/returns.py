"""From rewards to what each action was worth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled

Float64s = NDArray[np.float64]

UPDATES = 20
"""The size of returns is a running mean over about so many updates."""

LARGE = 10.0
"""Larger returns are brought down to this size. Those of Atari games are smaller; dividing them, too, cost
points in Asterix (see `benchmarks/NOTES.md`)."""


def discount(rewards: NDArray[np.floating], ends: NDArray[np.bool_], gamma: float) -> Float64s:
    """Discounted returns R_t = r_t + gamma R_{t+1}, starting anew after every end.

    Nothing after an end counts for the actions before it: in Pong a point ends with a reward.

    Computed in the precision of `rewards` (float64 for whole numbers).

    Args:
        rewards: [steps].
        ends: [steps], whether the return ends with the step.
        gamma: discount a step.
    """
    returns = np.zeros(len(rewards))
    precision = np.result_type(rewards, np.float32)
    _discount(rewards.astype(precision), ends, precision.type(gamma), returns)
    return returns


def standardise(returns: NDArray[np.floating]) -> Float64s:
    """(returns - mean) / standard deviation; zeros where all returns are equal (nothing to learn)."""
    returns = returns.astype(float)
    centred = returns - returns.mean()
    deviation = returns.std()
    # Equal numbers may differ from their mean by a rounding error, and their deviation then is one too.
    if deviation <= 1e-12 * np.abs(returns).max():
        return np.zeros_like(returns)
    return centred / deviation


def generalised_advantages(
    rewards: NDArray[np.floating],
    ends: NDArray[np.bool_],
    values: NDArray[np.floating],
    last_value: float,
    gamma: float,
    lambda_: float,
) -> Float64s:
    """How much better each action turned out than expected: generalised advantage estimation.

        delta_t = r_t + gamma V_{t+1} - V_t,    A_t = delta_t + gamma lambda A_{t+1}

    (Schulman et al. 2016, eq. 16.) After an end, V_{t+1} and A_{t+1} are 0.

    Args:
        rewards: [steps].
        ends: [steps], whether the return ends with the step.
        values: [steps], V_t.
        last_value: V after the last step.
        gamma: discount a step.
        lambda_: 0 trusts the values, 1 only what happened.
    """
    advantages = np.zeros(len(rewards))
    _generalised_advantages(
        rewards.astype(float), ends, values.astype(float), float(last_value), gamma, lambda_, advantages
    )
    return advantages


class ReturnScale:
    """By what rewards are divided where returns are large: their running root mean square over `LARGE`.

    Where every step is rewarded, as in CartPole, a hundred rewards add up. So do the errors of values, and
    they drown the policy's gradient in the weights that both share. Engstrom et al. 2020, "Implementation
    Matters in Deep Policy Gradients", divide rewards by the running standard deviation of sums of rewards.

    Attributes:
        mean_square: float64 [], of the returns before they are divided; a checkpoint keeps it.
    """

    def __init__(self) -> None:
        """Start at 1."""
        self.mean_square = np.ones(())

    @property
    def divisor(self) -> float:
        """What to divide rewards by, at least 1."""
        return max(1.0, float(np.sqrt(self.mean_square)) / LARGE)

    def add(self, returns: NDArray[np.floating]) -> None:
        """Take in an update's returns of rewards that have been divided; the divisor changes after it."""
        newest = np.mean(np.square(returns, dtype=float)) * self.divisor**2
        self.mean_square += (newest - self.mean_square) / UPDATES


@compiled()
def _discount(
    rewards: NDArray[np.floating[Any]], ends: NDArray[np.bool_], gamma: np.floating[Any], returns: Float64s
) -> None:
    """The loop of `discount`; `gamma` in the precision of `rewards`."""
    running = gamma - gamma  # 0 in that precision
    for t in range(len(rewards) - 1, -1, -1):
        running = rewards[t] if ends[t] else rewards[t] + gamma * running
        returns[t] = running


@compiled()
def _generalised_advantages(
    rewards: Float64s,
    ends: NDArray[np.bool_],
    values: Float64s,
    last_value: float,
    gamma: float,
    lambda_: float,
    advantages: Float64s,
) -> None:
    """The loop of `generalised_advantages`."""
    following, running = last_value, 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if ends[t]:  # nothing after it counts
            following = running = 0.0
        running = rewards[t] + gamma * following - values[t] + gamma * lambda_ * running
        advantages[t] = running
        following = values[t]
