"""RMSProp by hand, with the article's constants: learning rate 1e-4, decay rate 0.99, epsilon 1e-5."""

import numpy as np
import pytest

from pongrad import classic
from pongrad.optimisers import RMSProp

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
    optimiser.load({"W": mean_square})
    optimiser.step({"W": gradient})
    mean_square[:] = optimiser.state["W"]


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
    second.load({name: c.copy() for name, c in first.state.items()})
    for gradient in gradients[3:]:
        second.step(gradient)
    for name in SHAPES:
        assert second.weights[name].tobytes() == never_stopped.weights[name].tobytes()
        assert second.state[name].tobytes() == never_stopped.state[name].tobytes()


def test_loading_copies_and_an_empty_state_changes_nothing():
    optimiser, gradients = optimiser_and_gradients()
    optimiser.step(gradients[0])
    state = {name: c.copy() for name, c in optimiser.state.items()}
    optimiser.load(state)
    optimiser.load({})
    optimiser.step(gradients[1])
    assert not np.array_equal(state["W1"], optimiser.state["W1"])


def test_the_state_of_other_weights_is_refused():
    optimiser, _ = optimiser_and_gradients()
    with pytest.raises(ValueError, match=r"W1 is \(4, 5\), want \(5, 4\)"):
        optimiser.load({"W1": np.zeros((4, 5), np.float32)})
    with pytest.raises(KeyError):
        optimiser.load({"W9": np.zeros((5, 4), np.float32)})
