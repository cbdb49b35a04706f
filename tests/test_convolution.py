"""Convolutions by hand: checked by `autograd`, by finite differences and by a convolution of four loops.

In float64, in shapes that hypothesis chooses.
"""

import itertools

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pongrad.ground.parallel import Threads
from pongrad.network import convolution
from pongrad.network.convolution import Convolution
from pongrad.network.frame_convolution import FrameConvolution
from pongrad.network.layers import Flatten, Linear
from pongrad.network.network import Network
from pongrad.vision.frames import SIDE, STACK, Frames


def assert_close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


def by_loops(x, weights, bias, kernel, stride):
    """ReLU(convolution + b), one number after the other."""
    steps, rows, columns, _ = x.shape
    out = np.zeros((steps, (rows - kernel) // stride + 1, (columns - kernel) // stride + 1, weights.shape[1]))
    for step, row, column, unit in itertools.product(*map(range, out.shape)):
        patch = x[step, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
        out[step, row, column, unit] = max(patch.ravel() @ weights[:, unit] + bias[0, unit], 0)
    return out


@st.composite
def convolutions(draw):
    """A convolution and a batch for it: shapes, pictures, weights, bias and d objective / d y."""
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rows, columns = (draw(st.integers(kernel, kernel + 6)) for _ in range(2))
    steps, channels, filters = draw(st.integers(1, 60)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.standard_normal((steps, rows, columns, channels))
    weights = rng.standard_normal((kernel * kernel * channels, filters))
    bias = rng.standard_normal((1, filters)) if draw(st.booleans()) else None
    d_shape = steps, (rows - kernel) // stride + 1, (columns - kernel) // stride + 1, filters
    return kernel, stride, x, weights, bias, rng.standard_normal(d_shape)


@settings(deadline=None, max_examples=60)
@given(convolutions(), st.sampled_from([1, 2**20]))
def test_a_convolution_is_that_of_four_loops_and_its_gradients_are_autograds(drawn, patches_bytes):
    kernel, stride, x, weights, bias, d = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "PATCHES_BYTES", patches_bytes)  # blocks of one picture, or of many
        check_convolution(kernel, stride, x, weights, bias, d)


def check_convolution(kernel, stride, x, weights, bias, d):
    layer = Convolution(weights, x.shape[1:], stride, bias)
    zeros = np.zeros((1, weights.shape[1]))
    assert layer.kernel == kernel
    assert_close(layer.forward(x), by_loops(x, weights, zeros if bias is None else bias, kernel, stride))

    def objective(x, weights, bias):
        filters = weights.reshape(kernel, kernel, x.shape[3], -1)
        y = bias
        for row, column in itertools.product(range(kernel), repeat=2):
            rows = slice(row, row + stride * (d.shape[1] - 1) + 1, stride)
            columns = slice(column, column + stride * (d.shape[2] - 1) + 1, stride)
            y = y + anp.einsum("trck,ku->trcu", x[:, rows, columns], filters[row, column])
        return anp.sum(d * anp.maximum(y, 0))

    want = [autograd.grad(objective, i)(x, weights, zeros if bias is None else bias) for i in range(3)]
    assert_close(layer.backward(d), want[0])
    assert len(layer.parameters) == (1 if bias is None else 2)
    for parameter, gradient in zip(layer.parameters, want[1:], strict=False):
        assert_close(parameter.gradient, gradient)
        assert parameter.active_rows.all()


def test_a_convolution_by_hand():
    # One filter of 2 x 2 that takes the right column from the left one; a picture of 2 x 3, one channel
    x = np.array([[5.0, 1, 4], [2, 2, 0]]).reshape(1, 2, 3, 1)
    layer = Convolution(np.array([[1.0], [-1], [1], [-1]]), (2, 3, 1), 1)
    assert layer.forward(x).ravel().tolist() == [4, 0]  # 5 - 1 + 2 - 2, and max(1 - 4 + 2 - 0, 0)
    d_x = layer.backward(np.array([1.0, 1]).reshape(1, 1, 2, 1))
    assert d_x.ravel().tolist() == [1, -1, 0, 1, -1, 0]
    assert layer.parameters[0].gradient.ravel().tolist() == [5, 1, 2, 2]


@pytest.mark.parametrize(
    ("rows", "shape", "stride"), [(5, (4, 4, 1), 1), (16, (3, 5, 1), 1), (4, (4, 4, 1), 0), (3, (9, 9, 4), 1)]
)
def test_filters_that_fit_no_picture_are_refused(rows, shape, stride):
    with pytest.raises(ValueError, match="do not fit"):
        Convolution(np.zeros((rows, 2)), shape, stride)


# --- Frames less their background -----------------------------------------------------------------------


def frames_with(rng, background, count, share):
    """So many frames that differ from the background in about this share of its pixels."""
    frames = np.repeat(background[np.newaxis], count, axis=0)
    differs = rng.random(frames.shape) < share
    frames[differs] = rng.integers(0, 256, differs.sum())
    return frames


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 70), st.sampled_from([0.0, 1e-4, 0.01, 1.0]), st.booleans())
def test_the_convolution_of_frames_is_that_of_all_patches(seed, steps, share, with_bias):
    rng = np.random.default_rng(seed)
    kernel, stride = int(rng.integers(1, 12)), int(rng.integers(1, 9))
    background = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    x = Frames(frames_with(rng, background, 12, share), rng.integers(STACK - 1, 12, steps))
    weights = rng.standard_normal((kernel * kernel * STACK, 3))
    bias = rng.standard_normal((1, 3)) if with_bias else None
    pictures = np.stack([x.frames[x.newest - STACK + 1 + i] for i in range(STACK)], axis=3)
    pictures = (pictures.astype(float) - background[:, :, np.newaxis]) / 255

    layer = FrameConvolution(weights, background, stride, bias)
    whole = Convolution(weights, pictures.shape[1:], stride, bias)
    assert_close(layer.forward(x), whole.forward(pictures))
    d = rng.standard_normal(layer.forward(x).shape)
    layer.backward(d)
    whole.backward(d)
    for got, want in zip(layer.parameters, whole.parameters, strict=True):
        assert_close(got.gradient, want.gradient)


def test_what_is_background_takes_no_product(monkeypatch):
    rng = np.random.default_rng(0)
    background = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    frames = np.repeat(background[np.newaxis], 4, axis=0)
    frames[2, 41, 41] ^= 1
    layer = FrameConvolution(np.ones((8 * 8 * 4, 2)), background, 4)
    rows = []
    matmul = np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b, out: rows.append(len(a)) or matmul(a, b, out))
    layer.forward(Frames(frames, np.array([3])))
    assert sum(rows) == 4  # pixel 41 is in the patches from 36 and from 40, both ways


# --- Whole networks -------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["biases", "no biases"])
def network(request):
    rng = np.random.default_rng(3)
    background = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    network = Network.random_convolutional(
        (5, 6), (8, 4), (4, 2), (40, 3), rng, request.param, background, "float64"
    )
    for name, array in network.weights.items():
        if name.startswith("b"):
            array[:] = 0.1 * rng.standard_normal(array.shape)
    return network, Frames(frames_with(rng, background, 20, 0.02), np.arange(STACK - 1, 20)), rng


def test_the_gradients_of_a_network_are_finite_differences(network):
    network, x, rng = network
    d = rng.standard_normal((len(x), 3))

    def objective():
        return float(np.sum(d * network.forward(x)))

    objective()
    network.backward(d)
    for name, weights in network.weights.items():
        gradient = network.gradients[name]
        assert gradient.any() and network.active_rows[name].all()
        flat = weights.reshape(-1)
        for i in rng.integers(0, weights.size, 8):
            before, step = flat[i], 1e-6
            flat[i] = before + step
            more = objective()
            flat[i] = before - step
            less = objective()
            flat[i] = before
            np.testing.assert_allclose(gradient.reshape(-1)[i], (more - less) / (2 * step), atol=2e-5)


def test_threads_change_no_bit(network):
    network, _, rng = network
    background = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    x = Frames(frames_with(rng, background, 150, 3e-4), np.arange(STACK - 1, 150))
    d = rng.standard_normal((len(x), 3)).astype(np.float32)
    float32 = {name: array.astype(np.float32) for name, array in network.weights.items()}
    results = []
    for threads in (1, 2, 3):
        again = Network(float32, network.strides, background)
        again.use_threads(threads)
        out = again.forward(x).tobytes()
        again.backward(d)
        results.append((out, [gradient.tobytes() for gradient in again.gradients.values()]))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("units", [3, 64])
@pytest.mark.parametrize("steps", [1, 300])
def test_a_linear_layer_with_many_or_few_units(units, steps):
    rng = np.random.default_rng(4)
    x, weights, bias, d = (
        rng.standard_normal(shape) for shape in ((steps, 130), (130, units), (1, units), (steps, units))
    )
    layer = Linear(weights, bias, Threads())
    assert_close(layer.forward(x), x @ weights + bias)
    assert_close(layer.backward(d), d @ weights.T)
    for parameter, want in zip(layer.parameters, (x.T @ d, d.sum(axis=0, keepdims=True)), strict=True):
        assert_close(parameter.gradient, want)
    layer.forward(x)
    layer.backward(d)
    assert_close(layer.parameters[0].gradient, 2 * x.T @ d)


def test_flatten_keeps_the_numbers():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    layer = Flatten()
    assert layer.forward(x).tolist() == x.reshape(2, 12).tolist()
    assert layer.backward(layer.forward(x)).tolist() == x.tolist()
