"""The optimisers by hand and by their definitions.

RMSProp with the article's constants: learning rate 1e-4, decay rate 0.99, epsilon 1e-5.
"""

import numpy as np
import pytest

from pongrad import classic
from pongrad.learning.optimisers import LazyRMSProp, RMSProp

# Three weights of 1, two steps, worked out with paper and pencil.
#
# gradient 1e-4, small enough for epsilon to matter:
#   c = 0.01 * 1e-8 = 1e-10, sqrt(c) = 1e-5:              step 1e-8 / (1e-5 + 1e-5)       = 5e-4
#   c = 0.99e-10 + 1e-10 = 1.99e-10, root 1.4106736e-5:   step 1e-8 / 2.4106736e-5        = 4.148218e-4
#   (epsilon inside the root would make the first step 1e-8 / sqrt(1e-10 + 1e-5) = 3.2e-6)
# gradients 1, then -2:
#   c = 0.01, root 0.1:                                   step 1e-4 / 0.10001             = 9.999000e-4
#   c = 0.0099 + 0.04 = 0.0499, root 0.22338308:          step -2e-4 / 0.22339308         = -8.952829e-4
# gradient 0: never moves
GRADIENTS = [[1e-4, 1.0, 0.0], [1e-4, -2.0, 0.0]]
MEAN_SQUARES = [[1e-10, 0.01, 0.0], [1.99e-10, 0.0499, 0.0]]
STEPS = [[5e-4, 9.999e-4, 0.0], [4.148218e-4, -8.952829e-4, 0.0]]


def engine_step(weights, gradient, mean_square):
    optimiser = RMSProp({"W": weights}, learning_rate=1e-4, decay_rate=0.99)
    optimiser.state["W"] = mean_square
    optimiser.step({"W": gradient})


def classic_step(weights, gradient, mean_square):
    classic.rmsprop({"W": weights}, {"W": gradient}, {"W": mean_square})


@pytest.mark.parametrize("step", [engine_step, classic_step], ids=["engine", "classic"])
def test_two_steps_worked_by_hand(step):
    weights, mean_square = np.ones(3), np.zeros(3)
    want = np.ones(3)
    for gradient, mean_square_wanted, move in zip(GRADIENTS, MEAN_SQUARES, STEPS, strict=True):
        step(weights, np.array(gradient), mean_square)
        want += move
        np.testing.assert_allclose(mean_square, mean_square_wanted, rtol=1e-12)
        np.testing.assert_allclose(weights, want, rtol=0, atol=1e-10)


def optimiser_and_gradients(seed=3):
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    gradients = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
        for _ in range(6)
    ]
    return RMSProp(weights, 1e-2, 0.9), gradients


SHAPES = {"W1": (5, 4), "W2": (4, 1)}


def test_stopping_and_going_on_changes_nothing():
    never_stopped, gradients = optimiser_and_gradients()
    first, _ = optimiser_and_gradients()
    for gradient in gradients:
        never_stopped.step(gradient)
    for gradient in gradients[:3]:
        first.step(gradient)
    second = RMSProp({name: w.copy() for name, w in first.weights.items()}, 1e-2, 0.9)
    second.state = {name: c.copy() for name, c in first.state.items()}
    for gradient in gradients[3:]:
        second.step(gradient)
    for name in SHAPES:
        assert second.weights[name].tobytes() == never_stopped.weights[name].tobytes()
        assert second.state[name].tobytes() == never_stopped.state[name].tobytes()


# --- RMSProp that is lazy --------------------------------------------------------------------------------


def adam_by_definition(weights, gradients, learning_rate, beta2, epsilon):
    """Kingma and Ba 2015, algorithm 1, with beta1 = 0, upwards, in float64."""
    w, v = weights.astype(float), 0.0
    for t, g in enumerate(gradients, start=1):
        g = g.astype(float)
        v = beta2 * v + (1 - beta2) * g**2
        w = w + learning_rate * g / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return w


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-12)])
def test_where_every_row_is_active_it_is_adam_without_momentum(dtype, rtol):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((6, 5)).astype(dtype)
    gradients = [rng.standard_normal((6, 5)).astype(dtype) * 10.0 ** -(t % 5) for t in range(12)]
    weights = start.copy()
    optimiser = LazyRMSProp({"W": weights}, 1e-2, 0.95, 1e-4)
    for g in gradients:
        optimiser.step({"W": g.astype(dtype)}, {"W": np.ones(6, np.bool_)})
    assert weights.dtype == dtype
    want = adam_by_definition(start, gradients, 1e-2, 0.95, 1e-4)
    np.testing.assert_allclose(weights, want, rtol=rtol)


def test_one_lazy_step_worked_by_hand():
    # c = 0.001 g^2, corrected for its bias g^2: the step is rate g / (|g| + epsilon)
    weights = np.ones((2, 1))
    LazyRMSProp({"W": weights}, 0.1, epsilon=1e-5).step(
        {"W": np.array([[4.0], [-1e-5]])}, {"W": np.ones(2, np.bool_)}
    )
    np.testing.assert_allclose(weights, [[1 + 0.1 * 4 / 4.00001], [1 - 0.05]], rtol=1e-12)


def test_rows_that_are_not_active_stay_as_they_are():
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((4, 3))
    optimiser = LazyRMSProp({"W": weights}, 1e-2)
    steps = [np.array(rows) for rows in ([0, 1], [1, 3], [0], [1, 2])]
    gradients = [rng.standard_normal((4, 3)) for _ in steps]
    for rows, g in zip(steps, gradients, strict=True):
        before = weights.copy(), optimiser.state["W"].copy()
        active_rows = np.zeros(4, np.bool_)
        active_rows[rows] = True
        optimiser.step({"W": g}, {"W": active_rows})
        for now, then in zip((weights, optimiser.state["W"]), before, strict=True):
            np.testing.assert_array_equal(now[~active_rows], then[~active_rows])
            assert (now[active_rows] != then[active_rows]).all()
    # row 1 was active at steps 1, 2 and 4; its mean square knows only those, the bias knows all steps
    c = 0.0
    for t in (0, 1, 3):
        c = 0.999 * c + 0.001 * gradients[t][1] ** 2
    np.testing.assert_allclose(optimiser.state["W"][1], c)
    assert optimiser.state["t"] == 4


def test_lazy_steps_go_on_from_their_state():
    rng = np.random.default_rng(2)
    start = rng.standard_normal((4, 3)).astype(np.float32)
    gradients = [rng.standard_normal((4, 3)).astype(np.float32) for _ in range(6)]
    active_rows = [rng.random(4) < 0.6 for _ in gradients]
    whole, first = (LazyRMSProp({"W": start.copy()}, 1e-2) for _ in range(2))
    for g, rows in zip(gradients, active_rows, strict=True):
        whole.step({"W": g}, {"W": rows})
    for g, rows in zip(gradients[:3], active_rows[:3], strict=True):
        first.step({"W": g}, {"W": rows})
    second = LazyRMSProp({"W": first.weights["W"].copy()}, 1e-2)
    second.state = {name: array.copy() for name, array in first.state.items()}
    for g, rows in zip(gradients[3:], active_rows[3:], strict=True):
        second.step({"W": g}, {"W": rows})
    assert second.weights["W"].tobytes() == whole.weights["W"].tobytes()
