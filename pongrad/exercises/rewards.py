"""Exercises about what an action was worth: returns, advantages, and what follows the last step."""

from itertools import pairwise

import numpy as np

from pongrad import classic
from pongrad.exercises.exercise import Array, Case, Exercise, Function, Mistake
from pongrad.learning.returns import generalised_advantages

discount: Function = classic.discount
standardise: Function = classic.standardise


# --- 5. Discounted returns ------------------------------------------------------------------------------


def _discount_cases(rng: np.random.Generator) -> list[Case]:
    return [
        (np.array([0, 0, 1, 0, -1]),),  # whole numbers
        (np.array([0.0, 0.0, -1.0, 1.0, 0.0]),),
        (rng.choice([0.0, 0.0, 0.0, 1.0, -1.0], 60),),
    ]


def _not_anew(rewards: Array) -> Array:
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + 0.99 * running
        returns[t] = running
    return returns


def _anew_too_soon(rewards: Array) -> Array:
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + 0.99 * running
        returns[t] = running
        if rewards[t] != 0:
            running = 0.0
    return returns


def _anew_for_points_won(rewards: Array) -> Array:
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + (0.0 if rewards[t] > 0 else 0.99 * running)
        returns[t] = running
    return returns


def _no_discount(rewards: Array) -> Array:
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] if rewards[t] != 0 else running
        returns[t] = running
    return returns


def _from_the_first(rewards: Array) -> Array:
    returns, running = np.zeros(len(rewards)), 0.0
    for t in range(len(rewards)):
        running = rewards[t] if rewards[t] != 0 else 0.99 * running
        returns[t] = running
    return returns


def _whole_numbers(rewards: Array) -> Array:
    return discount(rewards).astype(rewards.dtype)


DISCOUNT = Exercise(
    number=5,
    title="Discounted returns",
    chapter=5,
    code='''
import numpy as np

gamma = 0.99  # an action counts 0.99 times as much for every step further from the point's end


def discount(rewards):
    """What each action was worth: R_t = r_t + gamma R_{t+1}, starting anew where a point ends.

    Args:
        rewards: [T], 1 where a point was won, -1 where one was lost, else 0.

    Returns:
        [T], float64.

    Example:
        >>> discount(np.array([0, 0, 1, 0, -1])).round(4).tolist()
        [0.9801, 0.99, 1.0, -0.99, -1.0]
    """
    returns = np.zeros(len(rewards))
    running = 0.0  # R_{t+1}
    for t in reversed(range(len(rewards))):
        ...  # where rewards[t] is not 0 a point ends: what came after it must not count
        running = ...
        returns[t] = running
    return returns
''',
    reference=discount,
    cases=_discount_cases,
    mistakes=(
        Mistake("the return does not start anew where a point ends", _not_anew),
        Mistake("the point's own reward is lost for the steps before it: start anew before the reward is"
                " added, not after", _anew_too_soon),
        Mistake("the return starts anew only after a point won; a point lost is an end, too",
                _anew_for_points_won),
        Mistake("nothing is discounted: R_{t+1} must be multiplied by gamma", _no_discount),
        Mistake("the reward itself is discounted, too: R_t = r_t + gamma R_{t+1}",
                lambda rewards: 0.99 * discount(rewards)),
        Mistake("it goes from the first step to the last, so a point counts for what came after it; it must"
                " go backwards", _from_the_first),
        Mistake("the returns of whole rewards are cut to whole numbers: np.zeros_like(rewards) is an array of"
                " integers, np.zeros(len(rewards)) is not", _whole_numbers),
    ),
    formula="R_t = r_t + gamma R_{t+1}, starting anew where a point ends",
    where="discount in pongrad/classic.py",
    tested_by="tests/test_returns.py::test_classic_discount_is_its_definition",
)  # fmt: skip


# --- 6. Standardised returns ----------------------------------------------------------------------------


def _standardise_cases(rng: np.random.Generator) -> list[Case]:
    return [
        (np.array([1.0, 3.0, 3.0, 5.0]),),
        (np.array([0.5, 0.5, 0.5]),),
        (np.array([0.1, 0.1, np.nextafter(0.1, 1)]),),  # alike but for rounding
        (rng.normal(3, 0.5, 30),),
    ]


def _exactly_alike(returns: Array) -> Array:
    if returns.std() == 0:
        return np.zeros(len(returns))
    return (returns - returns.mean()) / returns.std()


STANDARDISE = Exercise(
    number=6,
    title="Standardised returns",
    chapter=5,
    code='''
import numpy as np


def standardise(returns):
    """Mean 0 and standard deviation 1: about half of a game's actions are encouraged, half discouraged.

    Args:
        returns: [T]. Do not change them.

    Returns:
        [T]; all 0 where the returns are alike, that is where their deviation is below 1e-12.

    Example:
        >>> standardise(np.array([1.0, 3.0, 3.0, 5.0])).round(3).tolist()
        [-1.414, 0.0, 0.0, 1.414]
    """
    return ...
''',
    reference=standardise,
    cases=_standardise_cases,
    mistakes=(
        Mistake("returns that are alike are divided by a deviation of 0: give zeros then",
                lambda returns: (returns - returns.mean()) / returns.std()),
        Mistake("equal numbers may have a tiny deviation, by rounding: compare it with 1e-12, not with 0",
                _exactly_alike),
        Mistake("the mean is not 0: subtract it", lambda returns: standardise(returns)
                + (returns.mean() / returns.std() if returns.std() >= 1e-12 else 0)),
        Mistake("the deviation is not 1: divide by it", lambda returns: returns - returns.mean()),
        Mistake("it divides by the variance; the deviation is its square root",
                lambda returns: standardise(returns) / max(returns.std(), 1e-12)),
        Mistake("it divides by the deviation of a sample (ddof=1); returns.std() is meant",
                lambda returns: standardise(returns) * ((len(returns) - 1) / len(returns)) ** 0.5),
    ),
    formula="A_t = (R_t - mean) / deviation, 0 where all are alike",
    where="standardise in pongrad/classic.py",
    tested_by="tests/test_returns.py::test_standardised_returns_have_mean_0_and_deviation_1",
)  # fmt: skip


# --- 10. Generalised advantages -------------------------------------------------------------------------


def _advantages_cases(rng: np.random.Generator) -> list[Case]:
    steps = 30
    return [
        (np.array([0.0, 1.0, 0.0]), np.array([False, True, False]), np.array([0.5, 0.6, 0.2]), 0.4, 0.9, 0.8),
        (rng.normal(size=steps), rng.random(steps) < 0.2, rng.normal(size=steps), -0.7, 0.95, 0.9),
    ]


def _recursion(
    rewards: Array,
    ends: Array,
    values: Array,
    last_value: float,
    decays: tuple[float, float],
    kept: tuple[bool, bool] = (False, False),
) -> Array:
    """The advantages with other factors, or where the value or the advantage after an end is kept.

    Args:
        rewards, ends, values, last_value: as for the exercise.
        decays: what V_{t+1} and A_{t+1} are multiplied by.
        kept: whether V_{t+1} and A_{t+1} are kept after an end.
    """
    advantages, value, advantage = np.zeros(len(rewards)), last_value, 0.0
    for t in reversed(range(len(rewards))):
        if ends[t]:
            value, advantage = value * kept[0], advantage * kept[1]
        advantage = rewards[t] + decays[0] * value - values[t] + decays[1] * advantage
        value = values[t]
        advantages[t] = advantage
    return advantages


GENERALISED_ADVANTAGES = Exercise(
    number=10,
    title="Generalised advantages",
    chapter=11,
    code='''
import numpy as np


def generalised_advantages(rewards, ends, values, last_value, gamma, lambda_):
    """How much better each action turned out than expected.

        delta_t = r_t + gamma V_{t+1} - V_t,    A_t = delta_t + gamma lambda A_{t+1}

    Args:
        rewards: [T].
        ends: [T] of True and False; where it is True, V_{t+1} and A_{t+1} are 0.
        values: [T], V_t, the returns that were expected.
        last_value: a number, V after the last step.
        gamma, lambda_: numbers.

    Returns:
        A, [T].

    Example:
        >>> rewards, ends = np.array([0.0, 1.0, 0.0]), np.array([False, True, False])
        >>> values = np.array([0.5, 0.6, 0.2])
        >>> generalised_advantages(rewards, ends, values, 0.4, 0.9, 0.8).round(3).tolist()
        [0.328, 0.4, 0.16]
    """
    advantages = np.zeros(len(rewards))
    next_value, next_advantage = last_value, 0.0  # V_{t+1}, A_{t+1}
    for t in reversed(range(len(rewards))):
        ...  # nothing after an end counts
        delta = ...
        advantages[t] = ...
        next_value, next_advantage = values[t], advantages[t]
    return advantages
''',
    reference=generalised_advantages,
    cases=_advantages_cases,
    mistakes=(
        Mistake("it goes on past the ends: where ends[t] is True, V_{t+1} and A_{t+1} must be 0",
                lambda r, ends, v, last, gamma, lambda_: _recursion(
                    r, ends, v, last, (gamma, gamma * lambda_), (True, True))),
        Mistake("the value after an end still counts: V_{t+1} must be 0 there, too",
                lambda r, ends, v, last, gamma, lambda_: _recursion(
                    r, ends, v, last, (gamma, gamma * lambda_), (True, False))),
        Mistake("the advantage after an end still counts: A_{t+1} must be 0 there, too",
                lambda r, ends, v, last, gamma, lambda_: _recursion(
                    r, ends, v, last, (gamma, gamma * lambda_), (False, True))),
        Mistake("lambda is missing: A_t = delta_t + gamma lambda A_{t+1}",
                lambda r, ends, v, last, gamma, lambda_: _recursion(r, ends, v, last, (gamma, gamma))),
        Mistake("gamma is missing before A_{t+1}: A_t = delta_t + gamma lambda A_{t+1}",
                lambda r, ends, v, last, gamma, lambda_: _recursion(r, ends, v, last, (gamma, lambda_))),
        Mistake("gamma is missing before V_{t+1}: delta_t = r_t + gamma V_{t+1} - V_t",
                lambda r, ends, v, last, gamma, lambda_: _recursion(
                    r, ends, v, last, (1, gamma * lambda_))),
        Mistake("these are only the deltas: A_t = delta_t + gamma lambda A_{t+1}",
                lambda r, ends, v, last, gamma, lambda_: _recursion(r, ends, v, last, (gamma, 0))),
        Mistake("V_t is not subtracted: delta_t = r_t + gamma V_{t+1} - V_t",
                lambda r, ends, v, last, gamma, lambda_: _recursion(
                    r + v, ends, v, last, (gamma, gamma * lambda_))),
        Mistake("last_value is not used: it is V_{t+1} of the last step",
                lambda r, ends, v, last, gamma, lambda_: generalised_advantages(
                    r, ends, v, 0.0, gamma, lambda_)),
        Mistake("these are the returns: the advantages are without V_t",
                lambda r, ends, v, last, gamma, lambda_: v + generalised_advantages(
                    r, ends, v, last, gamma, lambda_)),
    ),
    formula="A_t = delta_t + gamma lambda A_{t+1} with delta_t = r_t + gamma V_{t+1} - V_t",
    where="generalised_advantages in pongrad/learning/returns.py",
    tested_by="tests/test_returns.py::test_generalised_advantages_are_their_definition",
)  # fmt: skip


# --- 15. Terminated or truncated ------------------------------------------------------------------------


def _bootstrap(
    rewards: Array, next_values: Array, terminated: Array, truncated: Array, gamma: float
) -> Array:
    """The advantage of each step by itself with a value of 0, where `learning.ppo` puts 0 for terminated."""
    following = np.where(terminated, 0.0, next_values)
    ends, values = np.zeros(1, bool), np.zeros(1)
    steps = pairwise(range(len(rewards) + 1))
    return np.array(
        [generalised_advantages(rewards[a:b], ends, values, following[a], gamma, 0.0)[0] for a, b in steps]
    )


def _bootstrap_cases(rng: np.random.Generator) -> list[Case]:
    return [
        (np.array([1.0, 1.0, 1.0]), np.array([5.0, 5.0, 5.0]),
         np.array([False, True, False]), np.array([False, False, True]), 0.9),
        (rng.normal(size=20), rng.normal(size=20), rng.random(20) < 0.3, rng.random(20) < 0.3, 0.99),
    ]  # fmt: skip


BOOTSTRAP = Exercise(
    number=15,
    title="Terminated or truncated",
    chapter=14,
    code='''
import numpy as np


def bootstrap(rewards, next_values, terminated, truncated, gamma):
    """What each step was worth: its reward and, discounted, the value of what follows.

    Where a game has terminated, by its own rules, nothing follows. Where it was truncated, by a limit
    of time, it would have gone on: the value stands for what would have followed.

    Args:
        rewards: [T].
        next_values: [T], the value of the observation after each step, also after a last one.
        terminated, truncated: [T] of True and False, as Gymnasium's step gives them. Where both are True
            the game has terminated.
        gamma: a number.

    Returns:
        [T].

    Example:
        >>> no, yes = False, True
        >>> terminated, truncated = np.array([no, yes, no]), np.array([no, no, yes])
        >>> bootstrap(np.ones(3), np.full(3, 5.0), terminated, truncated, 0.9).tolist()
        [5.5, 1.0, 5.5]
    """
    return ...
''',
    reference=_bootstrap,
    cases=_bootstrap_cases,
    mistakes=(
        Mistake("a game that was truncated is taken for one that has terminated: its value still counts",
                lambda r, v, terminated, truncated, gamma: r + gamma * v * ~(terminated | truncated)),
        Mistake("something follows after a game has terminated: nothing does",
                lambda r, v, terminated, truncated, gamma: r + gamma * v),
        Mistake("terminated and truncated are exchanged: nothing follows where a game has terminated",
                lambda r, v, terminated, truncated, gamma: r + gamma * v * ~truncated),
        Mistake("a game that has both terminated and been truncated has terminated: nothing follows",
                lambda r, v, terminated, truncated, gamma: r + gamma * v * (~terminated | truncated)),
        Mistake("only truncated steps have something that follows; steps in the middle of a game have, too",
                lambda r, v, terminated, truncated, gamma: r + gamma * v * (truncated & ~terminated)),
        Mistake("the value is not discounted: multiply it by gamma",
                lambda r, v, terminated, truncated, gamma: r + v * ~terminated),
        Mistake("the reward of a last step is lost",
                lambda r, v, terminated, truncated, gamma: (r + gamma * v) * ~terminated),
    ),
    formula="r_t + gamma V_{t+1}, and only r_t where the game has terminated",
    where="PPO._batch in pongrad/learning/ppo.py",
    tested_by="tests/test_ppo.py::test_a_game_that_was_cut_off_is_not_given_as_ended",
)  # fmt: skip
