"""Exercises about the network: its forward pass, the gradient by hand, and a check of that gradient."""

from collections.abc import Callable

import numpy as np

from pongrad import classic, classic_conv
from pongrad.exercises.exercise import Array, Case, Exercise, Function, Mistake
from pongrad.network import policy

Weights = dict[str, Array]
forward: Function = classic.forward
backward: Function = classic.backward


def _weights(rng: np.random.Generator, hidden: int, inputs: int) -> Weights:
    return {"W1": rng.standard_normal((hidden, inputs)), "W2": rng.standard_normal(hidden)}


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


# --- 3. The forward pass --------------------------------------------------------------------------------


def _forward_cases(rng: np.random.Generator) -> list[Case]:
    weights = {"W1": np.array([[1.0, 0.0], [0.0, -1.0]]), "W2": np.array([-2.0, 1.0])}
    return [
        (np.array([1.0, 2.0]), weights),
        (rng.integers(-1, 2, 7), _weights(rng, 4, 7)),
        (rng.integers(-1, 2, (5, 7)), _weights(rng, 4, 7)),
    ]


def _no_relu(x: Array, weights: Weights) -> tuple[Array, Array]:
    h = x @ weights["W1"].T
    return h, _sigmoid(h @ weights["W2"])


def _relu_not_returned(x: Array, weights: Weights) -> tuple[Array, Array]:
    return x @ weights["W1"].T, forward(x, weights)[1]


def _relu_of_logit(x: Array, weights: Weights) -> tuple[Array, Array]:
    h, _ = forward(x, weights)
    return h, _sigmoid(np.maximum(h @ weights["W2"], 0))


def _absolute(x: Array, weights: Weights) -> tuple[Array, Array]:
    h = np.abs(x @ weights["W1"].T)
    return h, _sigmoid(h @ weights["W2"])


def _minimum(x: Array, weights: Weights) -> tuple[Array, Array]:
    h = np.minimum(x @ weights["W1"].T, 0)
    return h, _sigmoid(h @ weights["W2"])


def _of_down(x: Array, weights: Weights) -> tuple[Array, Array]:
    h, p = forward(x, weights)
    return h, 1 - p


def _logit(x: Array, weights: Weights) -> tuple[Array, Array]:
    h, _ = forward(x, weights)
    return h, h @ weights["W2"]


FORWARD = Exercise(
    number=3,
    title="The forward pass",
    chapter=3,
    code='''
import numpy as np


def forward(x, weights):
    """From the network's input to the probability of UP.

    Args:
        x: one input [D], or those of T steps [T, D].
        weights: a dictionary of W1 [H, D], a row for each hidden neuron, and W2 [H].

    Returns:
        h: the hidden neurons after ReLU, [H] or [T, H].
        p: the probability of UP, one number or [T].

    Example:
        >>> weights = {"W1": np.array([[1.0, 0.0], [0.0, -1.0]]), "W2": np.array([-2.0, 1.0])}
        >>> h, p = forward(np.array([1.0, 2.0]), weights)
        >>> h.tolist(), float(p.round(3))
        ([1.0, 0.0], 0.119)
    """
    h = ...  # h = W1 x; x @ weights["W1"].T serves one input and many
    h = ...  # ReLU: 0 where h is negative
    logit = ...  # z = W2 h
    p = ...  # the sigmoid of z, 1 / (1 + exp(-z))
    return h, p
''',
    reference=forward,
    cases=_forward_cases,
    results=("h", "p"),
    mistakes=(
        Mistake("the ReLU is missing: h must be 0 where W1 x is negative", _no_relu),
        Mistake("p is right, but h is returned as it was before the ReLU", _relu_not_returned),
        Mistake("the logit goes through a ReLU, too: only the hidden neurons do", _relu_of_logit),
        Mistake("h is the absolute value of W1 x: a ReLU makes negative numbers 0", _absolute),
        Mistake("the ReLU is the wrong way round: it must keep what is above 0, np.maximum(h, 0)", _minimum),
        Mistake("p is the probability of DOWN: the sigmoid is 1 / (1 + exp(-z)), with a minus", _of_down),
        Mistake("p is the logit: the sigmoid is missing", _logit),
    ),
    formula="h = ReLU(W1 x), z = W2 h, p = sigmoid(z)",
    where="forward in pongrad/classic.py",
    tested_by="tests/test_network.py::test_reinforce_gradient_is_autograds",
)  # fmt: skip


# --- 4. The gradient of the log-probability -------------------------------------------------------------


def _log_probability_gradient(y: Array, p: Array) -> Array:
    return policy.log_gradient(np.where(y == 1, policy.UP, policy.UP + 1), p)


LOG_PROBABILITY_GRADIENT = Exercise(
    number=4,
    title="The gradient of the log-probability",
    chapter=4,
    code='''
import numpy as np


def log_probability_gradient(y, p):
    """How the log-probability of the action taken rises with the logit z: d log pi(y) / dz.

        log pi(y) = y log p + (1 - y) log(1 - p),    p = sigmoid(z),    dp / dz = p (1 - p)

    Work it out on paper, for y = 1 and for y = 0; what remains is short.

    Args:
        y: the actions taken, [T], 1 for UP and 0 for DOWN.
        p: the probabilities of UP, [T].

    Returns:
        [T].

    Example:
        >>> log_probability_gradient(np.array([1, 0]), np.array([0.75, 0.75])).tolist()
        [0.25, -0.75]
    """
    return ...
''',
    reference=_log_probability_gradient,
    cases=lambda rng: [
        (np.array([1, 0]), np.array([0.75, 0.75])),
        (rng.integers(0, 2, 20), rng.uniform(0.05, 0.95, 20)),
    ],
    mistakes=(
        Mistake("the sign is wrong: this is the gradient of a loss; we climb, so the action taken must become"
                " likelier", lambda y, p: p - y),
        Mistake("it is right for UP; where DOWN was taken the gradient is -p", lambda y, p: 1 - p),
        Mistake("it is right for DOWN; where UP was taken the gradient is 1 - p", lambda y, p: -p),
        Mistake("it is the gradient with respect to p; multiply it by dp / dz = p (1 - p)",
                lambda y, p: y / p - (1 - y) / (1 - p)),
        Mistake("it is the gradient of the probability; divide it by pi(y) for that of its logarithm",
                lambda y, p: (2 * y - 1) * p * (1 - p)),
        Mistake("it is the log-probability, not its gradient",
                lambda y, p: np.log(np.where(y == 1, p, 1 - p))),
    ),
    formula="d log pi(y) / dz = y - p",
    where="gradient_of_game in pongrad/classic.py",
    tested_by="tests/test_network.py::test_log_gradient_is_the_slope_of_the_log_probability",
)  # fmt: skip


# --- 7. Backpropagation ---------------------------------------------------------------------------------


def _backward_cases(rng: np.random.Generator) -> list[Case]:
    weights = {"W1": np.array([[1.0, 0.0], [0.0, -1.0]]), "W2": np.array([-2.0, 1.0])}
    cases: list[Case] = [(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]), np.array([0.5]), weights)]
    weights = _weights(rng, 5, 3)
    x = rng.integers(-1, 2, (6, 3))
    return [*cases, (x, forward(x, weights)[0], rng.standard_normal(6), weights)]


def _masked(x: Array, d_logit: Array, h: Array, weights: Weights, off: Array) -> Weights:
    """The gradient with another mask."""
    dh = np.outer(d_logit, weights["W2"])
    dh[off] = 0
    return {"W1": dh.T @ x, "W2": d_logit @ h}


def _no_mask(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return _masked(x, d_logit, h, weights, h < 0)


def _mask_of_dh(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return _masked(x, d_logit, h, weights, np.outer(d_logit, weights["W2"]) <= 0)


def _wrong_mask(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return _masked(x, d_logit, h, weights, h > 0)


def _no_d_logit(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return {**backward(x, h, np.ones(len(x)), weights), "W2": d_logit @ h}


def _no_w2(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return {**backward(x, h, d_logit, {**weights, "W2": np.ones(len(weights["W2"]))}), "W2": d_logit @ h}


def _mean(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return {name: g / len(x) for name, g in backward(x, h, d_logit, weights).items()}


def _minus(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return {name: -g for name, g in backward(x, h, d_logit, weights).items()}


def _transposed(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    return {name: g.T for name, g in backward(x, h, d_logit, weights).items()}


BACKWARD = Exercise(
    number=7,
    title="Backpropagation",
    chapter=6,
    code='''
import numpy as np


def backward(x, h, d_logit, weights):
    """From the gradient at the logit to the gradient of every weight, summed over the T steps of a game.

    Args:
        x: the inputs, [T, D].
        h: the hidden neurons after ReLU, [T, H].
        d_logit: dz, the gradient at the logit, [T].
        weights: a dictionary of W1 [H, D] and W2 [H].

    Returns:
        A dictionary of the gradients, with the same keys and shapes as the weights.

    Example:
        >>> weights = {"W1": np.array([[1.0, 0.0], [0.0, -1.0]]), "W2": np.array([-2.0, 1.0])}
        >>> x, h = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]])
        >>> gradient = backward(x, h, np.array([0.5]), weights)
        >>> gradient["W1"].tolist(), gradient["W2"].tolist()
        ([[-1.0, -2.0], [0.0, 0.0]], [0.5, 0.0])
    """
    dW2 = ...  # [H], sum_t dz_t h_t
    dh = ...  # [T, H], dh_t = dz_t W2
    ...  # ReLU: dh is 0 where the neuron was off
    dW1 = ...  # [H, D], sum_t dh_t x_t^T
    return {"W1": dW1, "W2": dW2}
''',
    reference=backward,
    cases=_backward_cases,
    results=("gradient",),
    mistakes=(
        Mistake("the ReLU is missing: dh must be 0 where the neuron was off, that is where h is 0 (the test"
                " is h <= 0)", _no_mask),
        Mistake("the ReLU looks at dh; h tells whether a neuron was on", _mask_of_dh),
        Mistake("the ReLU is the wrong way round: dh must be 0 where the neuron was off", _wrong_mask),
        Mistake("dh lacks dz: dh_t = dz_t W2", _no_d_logit),
        Mistake("dh lacks W2: dh_t = dz_t W2", _no_w2),
        Mistake("the gradients are means over the steps; they must be sums", _mean),
        Mistake("the sign is wrong: we climb, there is no minus", _minus),
        Mistake("dW1 is transposed: its shape must be that of W1, [H, D]", _transposed),
    ),
    formula="dW2 = sum_t dz_t h_t, dh_t = dz_t W2 where h_t > 0, dW1 = sum_t dh_t x_t^T",
    where="backward in pongrad/classic.py",
    tested_by="tests/test_network.py::test_reinforce_gradient_is_autograds",
)  # fmt: skip


# --- 9. A gradient by finite differences ----------------------------------------------------------------

Objective = Callable[[Array], float]
_STEP = classic_conv.finite_step


def _numerical_gradient(objective: Objective, w: Array) -> Array:
    return np.array([classic_conv.slope(lambda: objective(w), w, i) for i in range(len(w))])


def _moved(w: Array, i: int, by: float) -> Array:
    return w + by * np.eye(len(w))[i]


def _forward_difference(objective: Objective, w: Array) -> Array:
    return np.array([(objective(_moved(w, i, _STEP)) - objective(w)) / _STEP for i in range(len(w))])


def _backward_difference(objective: Objective, w: Array) -> Array:
    return np.array([(objective(w) - objective(_moved(w, i, -_STEP))) / _STEP for i in range(len(w))])


def _all_at_once(objective: Objective, w: Array) -> Array:
    return np.full(len(w), (objective(w + _STEP) - objective(w - _STEP)) / (2 * _STEP))


def _not_put_back(objective: Objective, w: Array) -> Array:
    gradient = np.zeros(len(w))
    for i in range(len(w)):
        w[i] += _STEP
        above = objective(w)
        w[i] -= 2 * _STEP
        gradient[i] = (above - objective(w)) / (2 * _STEP)
    return gradient


NUMERICAL_GRADIENT = Exercise(
    number=9,
    title="A gradient by finite differences",
    chapter=9,
    code='''
import numpy as np

step = 1e-5  # how far a weight is moved


def numerical_gradient(objective, w):
    """The gradient by central differences: slow, but it knows no formula, so it finds mistakes in one.

    Args:
        objective: a function; objective(w) is a number.
        w: the weights, [n], float64. When the function returns they must be what they were.

    Returns:
        [n]; number i is (objective with w[i] moved up - objective with w[i] moved down) / (2 step).

    Example:
        >>> numerical_gradient(lambda w: w[0] ** 2 * w[1], np.array([3.0, 2.0])).round(6).tolist()
        [12.0, 9.0]
    """
    gradient = np.zeros(len(w))
    for i in range(len(w)):
        ...  # move only w[i] up, then down, and put it back
        gradient[i] = ...
    return gradient
''',
    reference=_numerical_gradient,
    cases=lambda rng: [
        (lambda w: w[0] ** 2 * w[1], np.array([3.0, 2.0])),
        (lambda w: np.prod(w) + np.sum(w**2), np.array([1.0, -2.0, 1.5])),
        (lambda w: np.log(_sigmoid(np.sum(w**3))), rng.uniform(0.5, 1.0, 4)),
    ],
    mistakes=(
        Mistake("the difference is that of w moved up and w as it is; it must be of w moved up and w moved"
                " down, which is far more exact", _forward_difference),
        Mistake("the difference is that of w as it is and w moved down; it must be of w moved up and w moved"
                " down, which is far more exact", _backward_difference),
        Mistake("it divides by step; between up and down lie two steps",
                lambda objective, w: 2 * _numerical_gradient(objective, w)),
        Mistake("it does not divide by how far w[i] was moved, 2 step",
                lambda objective, w: 2 * _STEP * _numerical_gradient(objective, w)),
        Mistake("the sign is wrong: it must be up minus down",
                lambda objective, w: -_numerical_gradient(objective, w)),
        Mistake("w[i] is not put back before the next weight is moved", _not_put_back),
        Mistake("all weights are moved at once; only w[i] must be", _all_at_once),
    ),
    formula="dJ / dw_i = (J with w_i + step - J with w_i - step) / (2 step)",
    where="slope in pongrad/classic_conv.py",
    tested_by="tests/test_classic_conv.py::test_check_finds_a_wrong_gradient",
)  # fmt: skip
