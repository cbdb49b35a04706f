"""Exercises about moving the weights: RMSProp and PPO's clipped objective."""

import copy

import numpy as np

from pongrad import classic
from pongrad.exercises.exercise import Array, Case, Exercise, Function, Mistake
from pongrad.learning.ppo import objective_gradient

Weights = dict[str, Array]
rmsprop: Function = classic.rmsprop


# --- 8. RMSProp -----------------------------------------------------------------------------------------


def _rmsprop_cases(rng: np.random.Generator) -> list[Case]:
    shapes = {"W1": (3, 4), "W2": (3,)}
    # Some gradients are so small that epsilon counts.
    gradient = {name: rng.normal(size=s) * rng.choice([1e-4, 1.0], s) for name, s in shapes.items()}
    mean_square = {name: rng.random(s) * gradient[name] ** 2 for name, s in shapes.items()}
    return [
        ({"W": np.zeros(2)}, {"W": np.array([0.5, -2.0])}, {"W": np.array([0.0, 4.0])}),
        ({name: rng.normal(size=s) for name, s in shapes.items()}, gradient, mean_square),
    ]


def _with(
    gradient: Weights, weights: Weights, mean_square: Weights, *, square: Array | float = 2, old: bool = False
) -> None:
    """RMSProp with another power of the gradient, or divided by the mean square from before the update."""
    for name, g in gradient.items():
        c = mean_square[name]
        before = c.copy()
        c[:] = 0.99 * c + 0.01 * g**square
        weights[name] += 1e-4 * g / (np.sqrt(before if old else c) + 1e-5)


def _down(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    before = copy.deepcopy(weights)
    rmsprop(weights, gradient, mean_square)
    for name, w in weights.items():
        w[:] = 2 * before[name] - w


def _not_squared(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    _with(gradient, weights, mean_square, square=1)


def _old_mean(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    _with(gradient, weights, mean_square, old=True)


def _divided(weights: Weights, gradient: Weights, mean_square: Weights, divide: Function) -> None:
    """RMSProp that moves the weights by learning_rate * divide(g, c)."""
    for name, g in gradient.items():
        c = mean_square[name]
        c[:] = 0.99 * c + 0.01 * g**2
        weights[name] += 1e-4 * divide(g, c)


def _no_root(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    _divided(weights, gradient, mean_square, lambda g, c: g / (c + 1e-5))


def _epsilon_inside(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    _divided(weights, gradient, mean_square, lambda g, c: g / np.sqrt(c + 1e-5))


def _no_epsilon(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    _divided(weights, gradient, mean_square, lambda g, c: g / np.sqrt(c))


def _plain_ascent(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    _divided(weights, gradient, mean_square, lambda g, c: g)


def _decay_exchanged(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    for name, g in gradient.items():
        c = mean_square[name]
        c[:] = 0.01 * c + 0.99 * g**2
        weights[name] += 1e-4 * g / (np.sqrt(c) + 1e-5)


def _no_weight_of_new(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    for name, g in gradient.items():
        c = mean_square[name]
        c[:] = 0.99 * c + g**2
        weights[name] += 1e-4 * g / (np.sqrt(c) + 1e-5)


def _mean_forgotten(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    rmsprop(weights, gradient, copy.deepcopy(mean_square))


def _weights_forgotten(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    rmsprop(copy.deepcopy(weights), gradient, mean_square)


def _nothing(weights: Weights, gradient: Weights, mean_square: Weights) -> None:
    pass


RMSPROP = Exercise(
    number=8,
    title="RMSProp",
    chapter=7,
    code='''
import numpy as np

decay_rate = 0.99  # how slowly earlier gradients are forgotten
learning_rate = 1e-4  # how far an update moves the weights
epsilon = 1e-5  # keeps it from dividing by 0


def rmsprop(weights, gradient, mean_square):
    """Move the weights up the gradient, each measured by how large its gradient usually is.

        c = decay c + (1 - decay) g^2,    W = W + learning_rate g / (sqrt(c) + epsilon)

    Args:
        weights, gradient: dictionaries of arrays, with the same keys and shapes.
        mean_square: likewise, c of every weight.

    Returns:
        Nothing: it changes the arrays in `weights` and in `mean_square` in place, first c, then W.

    Example:
        >>> weights, mean_square = {"W": np.zeros(2)}, {"W": np.array([0.0, 4.0])}
        >>> rmsprop(weights, {"W": np.array([0.5, -2.0])}, mean_square)
        >>> mean_square["W"].round(4).tolist(), weights["W"].round(6).tolist()
        ([0.0025, 4.0], [0.001, -0.0001])
    """
    for name, g in gradient.items():
        c = mean_square[name]
        c[:] = ...
        weights[name] += ...
''',
    reference=rmsprop,
    cases=_rmsprop_cases,
    results=("weights", "mean_square"),
    changes=True,
    mistakes=(
        Mistake("the weights move down the gradient; we climb, so they must move up: +=", _down),
        Mistake("the gradient is not squared in c", _not_squared),
        Mistake("the weights are moved with c as it was before: change c first", _old_mean),
        Mistake("the root is missing: divide by sqrt(c) + epsilon", _no_root),
        Mistake("epsilon stands inside the root: it must be sqrt(c) + epsilon", _epsilon_inside),
        Mistake("epsilon is missing: divide by sqrt(c) + epsilon", _no_epsilon),
        Mistake("the gradient is not divided by sqrt(c) + epsilon", _plain_ascent),
        Mistake("decay and 1 - decay are exchanged: c must change slowly", _decay_exchanged),
        Mistake("g^2 must be multiplied by 1 - decay", _no_weight_of_new),
        Mistake("mean_square has not changed: write c[:] = ..., for c = ... makes a new array",
                _mean_forgotten),
        Mistake("the weights have not changed: move them in place, with weights[name] += ...",
                _weights_forgotten),
        Mistake("nothing has changed: both weights and mean_square must be changed in place", _nothing),
    ),
    formula="c = decay c + (1 - decay) g^2, W = W + learning_rate g / (sqrt(c) + epsilon)",
    where="rmsprop in pongrad/classic.py",
    tested_by="tests/test_optimisers.py::test_two_steps_worked_by_hand",
)  # fmt: skip


# --- 11. PPO's clipped objective ------------------------------------------------------------------------


def _clipped_objective_gradient(log_p: Array, old_log_p: Array, advantages: Array, clip: float) -> Array:
    """By the gradient of PPO's objective at the logits of two actions, of which the first was taken.

    There it is the mean's, and d log p / d logit = 1 - p comes in; both are divided out.
    """
    steps = len(log_p)
    out = np.stack([log_p, np.log1p(-np.exp(log_p)), np.zeros(steps)], axis=1)
    actions = np.zeros(steps, np.uint8)
    d_out, *_ = objective_gradient(out, actions, old_log_p, advantages, np.zeros(steps), clip, 0.0, 0.0, 0.0)
    return d_out[:, 0] * steps / (1 - np.exp(log_p))


def _clipped_cases(rng: np.random.Generator) -> list[Case]:
    old = np.full(4, np.log(0.5))
    ratios, advantages = np.array([1.1, 1.3, 0.7, 1.3]), np.array([1.0, 1.0, 1.0, -1.0])
    return [
        (old + np.log(ratios), old, advantages, 0.2),
        (np.log(rng.uniform(0.2, 0.8, 40)), np.log(rng.uniform(0.2, 0.8, 40)), rng.normal(size=40), 0.1),
    ]


def _gains(log_p: Array, old: Array, advantages: Array, clip: float) -> tuple[Array, Array, Array]:
    """The ratio, and the gain as it is and clipped."""
    ratio = np.exp(log_p - old)
    return ratio, ratio * advantages, np.clip(ratio, 1 - clip, 1 + clip) * advantages


def _outside(log_p: Array, old: Array, advantages: Array, clip: float) -> Array:
    ratio, gain, _ = _gains(log_p, old, advantages, clip)
    return np.where(abs(ratio - 1) <= clip, gain, 0)


def _largest(log_p: Array, old: Array, advantages: Array, clip: float) -> Array:
    _, gain, clipped = _gains(log_p, old, advantages, clip)
    return np.where(gain >= clipped, gain, 0)


def _of_ratio(log_p: Array, old: Array, advantages: Array, clip: float) -> Array:
    _, gain, clipped = _gains(log_p, old, advantages, clip)
    return np.where(gain <= clipped, advantages, 0)


def _mean(log_p: Array, old: Array, advantages: Array, clip: float) -> Array:
    return _clipped_objective_gradient(log_p, old, advantages, clip) / len(log_p)


CLIPPED_OBJECTIVE_GRADIENT = Exercise(
    number=11,
    title="PPO's clipped objective",
    chapter=11,
    code='''
import numpy as np


def clipped_objective_gradient(log_p, old_log_p, advantages, clip):
    """The gradient of PPO's objective of each step with respect to log pi(a_t).

        objective_t = min(ratio_t A_t, clip(ratio_t, 1 - clip, 1 + clip) A_t)
        ratio_t = pi(a_t) / pi_old(a_t) = exp(log pi(a_t) - log pi_old(a_t))

    Where ratio_t A_t is the smaller, its gradient counts, and d ratio / d log pi = ratio. Where the
    clipped one is the smaller, it does not move with the policy: the gradient is 0. (Where nothing is
    clipped both are equal, and the gradient counts.)

    Args:
        log_p: log pi(a_t), the log-probability of the action taken, [T].
        old_log_p: the same by the policy that played, [T].
        advantages: A_t, [T].
        clip: a number, such as 0.2.

    Returns:
        d objective_t / d log pi(a_t), [T]. For each step by itself: no mean over the steps.

    Example:
        >>> old_log_p = np.full(4, np.log(0.5))
        >>> log_p = old_log_p + np.log([1.1, 1.3, 0.7, 1.3])
        >>> advantages = np.array([1, 1, 1, -1])
        >>> clipped_objective_gradient(log_p, old_log_p, advantages, 0.2).round(6).tolist()
        [1.1, 0.0, 0.7, -1.3]
    """
    ratio = ...
    gain = ratio * advantages
    clipped_gain = ...
    return ...
''',
    reference=_clipped_objective_gradient,
    cases=_clipped_cases,
    mistakes=(
        Mistake("nothing is clipped: the gradient must be 0 where the clipped gain is the smaller",
                lambda *case: _gains(*case)[1]),
        Mistake("the gradient is 0 wherever the ratio is outside the range; it must be 0 only where the"
                " clipped gain is the smaller, else a bad step could not be taken back", _outside),
        Mistake("it takes the larger of both gains: the objective is the smaller, min", _largest),
        Mistake("it is the objective, not its gradient: where the clipped gain is the smaller that is 0",
                lambda *case: np.minimum(*_gains(*case)[1:])),
        Mistake("it is the gradient with respect to the ratio; multiply it by d ratio / d log pi = ratio",
                _of_ratio),
        Mistake("the ratio is upside down: it is exp(log_p - old_log_p)",
                lambda log_p, old, advantages, clip: _clipped_objective_gradient(
                    old, log_p, advantages, clip)),
        Mistake("it is divided by the number of steps; here each step stands by itself", _mean),
    ),
    formula="ratio A where it is not above clip(ratio, 1 - clip, 1 + clip) A, else 0",
    where="objective_gradient in pongrad/learning/ppo.py",
    tested_by="tests/test_ppo.py::test_clipping_stops_only_what_has_gone_far_enough",
)  # fmt: skip
