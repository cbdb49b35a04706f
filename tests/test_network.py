"""The hand-written gradients are the derivatives: checked by `autograd` and by finite differences.

All in float64, where a wrong formula cannot hide behind rounding.
"""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from pongrad import classic
from pongrad.learning.reinforce import Reinforce
from pongrad.learning.returns import discount, standardise
from pongrad.network import policy
from pongrad.network.layers import Linear, ReLU, SparseLinear
from pongrad.network.network import Network, first_outputs
from pongrad.playing.rollout import Rollout

SIZES = [(30, 7, 1), (30, 7, 5, 1)]  # the article's depth, and one layer more
STEPS = 12


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def assert_close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


# --- Each layer by itself: the gradient of sum(d * layer(x)) for random d -------------------------------


def test_sparse_linear_is_the_dense_product_and_its_gradient(rng, random_inputs):
    x, dense = random_inputs(STEPS, 30)
    weights, d = rng.standard_normal((30, 7)), rng.standard_normal((STEPS, 7))
    layer = SparseLinear(weights)
    assert_close(layer.forward(x), dense @ weights)
    layer.backward(d)
    assert_close(layer.parameters[0].gradient, autograd.grad(lambda w: anp.sum(d * (dense @ w)))(weights))


def test_linear_is_the_dense_product_and_its_gradients(rng):
    x, weights, d = (
        rng.standard_normal((STEPS, 7)),
        rng.standard_normal((7, 5)),
        rng.standard_normal((STEPS, 5)),
    )
    layer = Linear(weights)
    assert_close(layer.forward(x), x @ weights)
    d_x = layer.backward(d)
    want_x, want_weights = autograd.grad(lambda xw: anp.sum(d * (xw[0] @ xw[1])))((x, weights))
    assert_close(d_x, want_x)
    assert_close(layer.parameters[0].gradient, want_weights)


def test_relu_gradient(rng):
    x, d = rng.standard_normal((STEPS, 7)), rng.standard_normal((STEPS, 7))
    layer = ReLU()
    assert_close(layer.forward(x.copy()), np.maximum(x, 0))
    assert_close(layer.backward(d), autograd.grad(lambda x: anp.sum(d * anp.maximum(x, 0)))(x))


def test_gradients_add_up_until_they_are_zeroed(rng, random_inputs):
    network = Network.random((30, 7, 1), rng, "float64")
    x, _ = random_inputs(STEPS, 30)

    def backward():
        network.forward(x)
        network.backward(np.ones((STEPS, 1)))
        return {name: gradient.copy() for name, gradient in network.gradients.items()}

    once, twice = backward(), backward()
    network.zero_gradients()
    again = backward()
    for name, gradient in once.items():
        assert gradient.any()
        assert_close(twice[name], 2 * gradient)
        assert_close(again[name], gradient)


# --- The whole objective --------------------------------------------------------------------------------


@pytest.fixture(params=SIZES, ids=str)
def lesson(request, rng, random_inputs):
    """A learner that has just seen one small game, the game's dense inputs and its advantages."""
    network = Network.random(request.param, rng, "float64")
    x, dense = random_inputs(STEPS, 30)
    rewards = np.zeros(STEPS, np.float32)
    rewards[[3, 8, STEPS - 1]] = 1, -1, 1
    game = Rollout(
        x,
        x,
        rng.integers(0, 2, STEPS).astype(np.uint8),
        np.zeros(STEPS),
        rewards,
        np.zeros(STEPS, bool),
        np.zeros(STEPS, bool),
        4 * STEPS,
        0.0,
    )
    learner = Reinforce(network, ("UP", "DOWN"), gamma=0.9, learning_rate=0.0, decay_rate=0.9)
    learner.add(game)
    return network, game, dense, standardise(discount(rewards.astype(np.float64), rewards != 0, 0.9))


def test_reinforce_gradient_is_autograds(lesson):
    network, game, dense, advantages = lesson

    def objective(weights):
        *hidden, last = weights
        out = dense
        for w in hidden:
            out = anp.maximum(out @ w, 0)
        p = 1 / (1 + anp.exp(-(out @ last)[:, 0]))
        return anp.sum(advantages * anp.log(anp.where(game.actions == policy.UP, p, 1 - p)))

    want = autograd.grad(objective)(list(network.weights.values()))
    for got, wanted in zip(network.gradients.values(), want, strict=True):
        assert np.abs(wanted).max() > 0.01
        assert_close(got, wanted)


def test_reinforce_gradient_is_the_slope(lesson):
    network, game, _, advantages = lesson

    def objective():
        p = policy.probability_up(network.forward(game.inputs)[:, 0])
        return np.sum(advantages * np.log(np.where(game.actions == policy.UP, p, 1 - p)))

    step = 1e-6
    for name, gradient in network.gradients.items():
        weights = network.weights[name]
        slopes = np.empty_like(weights)
        for place in np.ndindex(weights.shape):
            weight = weights[place]
            weights[place] = weight + step
            above = objective()
            weights[place] = weight - step
            slopes[place] = (above - objective()) / (2 * step)
            weights[place] = weight
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-8)


# --- The article's fault: masking by the gradient's sign instead of by the unit -------------------------

UNITS = [0.0, 2.0, 3.0]  # the first is off
D_UNITS = [5.0, -7.0, 11.0]
WANT = [0.0, -7.0, 11.0]  # the faulty version gives 5, 0, 11


def test_relu_masks_where_the_unit_was_off():
    layer = ReLU()
    layer.forward(np.array([[-1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(layer.backward(np.array([D_UNITS])), [WANT])


def test_classic_masks_where_the_neuron_was_off():
    weights = {"W1": np.eye(3, 1), "W2": np.array(D_UNITS)}
    gradient = classic.backward(np.array([[1.0]]), np.array([UNITS]), np.array([1.0]), weights)
    np.testing.assert_array_equal(gradient["W1"], np.transpose([WANT]))
    np.testing.assert_array_equal(gradient["W2"], UNITS)


# --- Acting and learning see the same network -----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(200,), (50, 20)], ids=str)
@pytest.mark.parametrize("biases", [False, True], ids=["no biases", "biases"])
def test_acting_computes_what_learning_computes_bit_for_bit(dtype, hidden, biases, rng, random_inputs):
    network = Network.random((6400, *hidden, 7), rng, dtype, biases)
    for name, array in network.weights.items():
        if name.startswith("b"):
            array[:] = rng.standard_normal(array.shape)
    x, _ = random_inputs(50, 6400, density=0.01)
    acting = [
        first_outputs(x.indices[start:end], x.values[start:end], *network.acting_args, 6)
        for start, end in zip(x.indptr, x.indptr[1:], strict=False)
    ]
    learning = network.forward(x)[:, :6].copy()
    assert learning.dtype == dtype
    assert len(np.unique(learning)) > 40
    assert np.array(acting, dtype).tobytes() == learning.tobytes()


def test_random_weights_are_the_articles():
    weights = Network.random((6400, 200, 1), np.random.default_rng(0)).weights
    assert {name: (w.shape, w.dtype) for name, w in weights.items()} == {
        "W1": ((6400, 200), np.float32),
        "W2": ((200, 1), np.float32),
    }
    assert np.std(weights["W1"]) == pytest.approx(6400**-0.5, rel=0.01)
    assert np.std(weights["W2"]) == pytest.approx(200**-0.5, rel=0.2)


# --- The policy -----------------------------------------------------------------------------------------


def test_log_gradient_is_the_slope_of_the_log_probability():
    logits, step = np.linspace(-4, 4, 9), 1e-6

    def log_probability(logits, action):
        p = policy.probability_up(logits)
        return np.log(p if action == policy.UP else 1 - p)

    for action in (policy.UP, 1 - policy.UP):
        slopes = (log_probability(logits + step, action) - log_probability(logits - step, action)) / (
            2 * step
        )
        got = policy.log_gradient(np.full(9, action, np.uint8), policy.probability_up(logits))
        np.testing.assert_allclose(got, slopes, atol=1e-8)


def test_the_softmax_and_its_gradients_are_autograds(rng):
    logits, actions = rng.standard_normal((9, 4)), rng.integers(0, 4, 9).astype(np.uint8)

    def log_softmax(logits):
        return logits - anp.log(anp.sum(anp.exp(logits), axis=1, keepdims=True))

    def entropies(logits):
        return -anp.sum(anp.exp(log_softmax(logits)) * log_softmax(logits), axis=1)

    p, log_p = policy.softmax(logits)
    np.testing.assert_allclose(log_p, log_softmax(logits), rtol=1e-12)
    np.testing.assert_allclose(p, np.exp(log_p), rtol=1e-12)
    np.testing.assert_allclose(policy.entropies(p, log_p), entropies(logits), rtol=1e-12)
    chosen = autograd.grad(lambda logits: anp.sum(log_softmax(logits)[np.arange(9), actions]))
    np.testing.assert_allclose(policy.softmax_log_gradient(actions, p), chosen(logits), atol=1e-12)
    slope = autograd.grad(lambda logits: anp.sum(entropies(logits)))
    np.testing.assert_allclose(policy.entropy_gradient(p, log_p), slope(logits), atol=1e-12)


def test_the_softmax_never_overflows():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        p, log_p = policy.softmax(np.array([[1e4, 0, -1e4], [5, 5, 5]], np.float32))
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    assert np.isfinite(log_p).all()


def test_probability_up_is_the_sigmoid_and_never_overflows():
    logits = np.linspace(-20, 20, 41)
    np.testing.assert_allclose(policy.probability_up(logits), 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-15)
    with np.errstate(all="raise"):
        extremes = policy.probability_up(np.array([-1e30, 0, 1e30], np.float32))
    np.testing.assert_array_equal(extremes, [0, 0.5, 1])


def test_entropy_of_a_coin_flip_and_of_certainty():
    assert policy.entropy(np.full(5, 0.5, np.float32)) == pytest.approx(np.log(2))
    assert policy.entropy(np.array([0.0, 1.0], np.float32)) == pytest.approx(0, abs=1e-9)
    # -0.25 ln 0.25 - 0.75 ln 0.75 = 0.562335
    assert policy.entropy(np.array([0.25, 0.75])) == pytest.approx(0.562335, abs=1e-6)
