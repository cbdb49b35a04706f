"""The network's layers by hand, each with a forward and a backward pass.

Every layer keeps what its backward pass needs from its last forward pass. Weights are float32 for speed or
float64 to check the mathematics; batches are [steps, units]. The inner loops are compiled, at the end.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.vision.inputs import Inputs, Int64s, Pixels, Values

Array = NDArray[np.floating[Any]]


class SparseLinear:
    """y = x W for sparse x: forward and backward touch only the rows of W whose input is not zero.

    No gradient flows on to the input: this is a first layer. W is [inputs, units], the transpose of the
    article's, so that the weights of one input lie side by side in memory.
    """

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.gradient = np.zeros(weights.shape, weights.dtype)  # memory that is not used costs nothing
        self.active_rows = np.zeros(len(weights), np.bool_)

    def __repr__(self) -> str:
        return f"SparseLinear({self.weights.shape[0]} inputs -> {self.weights.shape[1]})"

    def forward(self, x: Inputs) -> Array:
        """[steps, units] from sparse inputs."""
        self._x = x
        out = np.empty((len(x), self.weights.shape[1]), self.weights.dtype)
        _sparse_linear(x.offsets, x.pixels, x.values, self.weights, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out; returns d_out unchanged, for there is no layer below."""
        x = self._x
        _sparse_linear_backward(x.offsets, x.pixels, x.values, d_out, self.gradient, self.active_rows)
        return d_out


class ReLU:
    """y = max(x, 0); the gradient passes where the unit was on, whatever the gradient's own sign."""

    def __repr__(self) -> str:
        return "ReLU"

    def forward(self, x: Array) -> Array:
        """max(x, 0), in place."""
        self._y = np.maximum(x, 0, out=x)
        return self._y

    def backward(self, d_out: Array) -> Array:
        """d_out where the unit was on, else 0."""
        return d_out * (self._y > 0)


class Linear:
    """y = x W with W [inputs, units]."""

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.gradient = np.zeros(weights.shape, weights.dtype)  # memory that is not used costs nothing
        self.active_rows = np.zeros(len(weights), np.bool_)

    def __repr__(self) -> str:
        return f"Linear({self.weights.shape[0]} -> {self.weights.shape[1]})"

    def forward(self, x: Array) -> Array:
        """[steps, units] from [steps, inputs]."""
        self._x = x
        out = np.empty((len(x), self.weights.shape[1]), self.weights.dtype)
        _linear(x, self.weights, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out; returns d_out W^T."""
        d_x = np.empty_like(self._x)
        _linear_backward(self._x, self.weights, d_out, self.gradient, d_x)
        self.active_rows.fill(True)
        return d_x


@compiled()
def add_rows(pixels: Pixels, values: Values, weights: Array, out: Array) -> None:
    """out += sum_k values[k] weights[pixels[k]], one by one; weights [inputs, units], out [units]."""
    fours = len(pixels) // 4 * 4
    for k in range(0, fours, 4):  # four rows each time that `out` is gone through
        i0, i1, i2, i3 = pixels[k], pixels[k + 1], pixels[k + 2], pixels[k + 3]
        x0, x1, x2, x3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        for unit in range(len(out)):
            two = (out[unit] + x0 * weights[i0, unit]) + x1 * weights[i1, unit]
            out[unit] = (two + x2 * weights[i2, unit]) + x3 * weights[i3, unit]
    for k in range(fours, len(pixels)):
        pixel, value = pixels[k], values[k]
        for unit in range(len(out)):
            out[unit] += value * weights[pixel, unit]


@compiled()
def _sparse_linear(offsets: Int64s, pixels: Pixels, values: Values, weights: Array, out: Array) -> None:
    """out[t] = x_t W for sparse x_t: add up the few rows of W whose pixel is not zero.

    Args:
        offsets, pixels, values: the sparse inputs x, see the module's header.
        weights: [inputs, units].
        out: [T, units], overwritten.
    """
    out[:] = 0
    for t in range(len(out)):
        start, end = offsets[t], offsets[t + 1]
        add_rows(pixels[start:end], values[start:end], weights, out[t])


@compiled()
def _sparse_linear_backward(
    offsets: Int64s,
    pixels: Pixels,
    values: Values,
    d_out: Array,
    gradient: Array,
    active_rows: NDArray[np.bool_],
) -> None:
    """gradient += sum_t x_t^T d_out[t], only in the rows whose input is not zero: the active rows."""
    for t in range(len(d_out)):
        for k in range(offsets[t], offsets[t + 1]):
            value = values[k]
            pixel = pixels[k]
            active_rows[pixel] = True
            for unit in range(d_out.shape[1]):
                gradient[pixel, unit] += value * d_out[t, unit]


@compiled()
def _linear(x: Array, weights: Array, out: Array) -> None:
    """out[t] = x[t] W; x [T, inputs], weights [inputs, units], out [T, units] overwritten."""
    # With the steps side by side the inner loop is a long one, and no sum waits for the one before it.
    by_input = x.T.copy()
    by_unit = np.zeros((out.shape[1], len(x)), out.dtype)
    for i in range(len(by_input)):
        for unit in range(len(by_unit)):
            for t in range(len(x)):
                by_unit[unit, t] += by_input[i, t] * weights[i, unit]
    out[:] = by_unit.T


@compiled()
def _linear_backward(x: Array, weights: Array, d_out: Array, gradient: Array, d_x: Array) -> None:
    """gradient += sum_t x[t]^T d_out[t] and d_x[t] = W d_out[t] (overwritten)."""
    # A layer has many inputs and few units: with the inputs side by side the inner loop is a long one.
    by_unit = weights.T.copy()
    gradient_by_unit = gradient.T.copy()
    for t in range(len(x)):
        for i in range(x.shape[1]):
            d_x[t, i] = 0
        for unit in range(d_out.shape[1]):
            d = d_out[t, unit]
            for i in range(x.shape[1]):
                gradient_by_unit[unit, i] += x[t, i] * d
                d_x[t, i] += by_unit[unit, i] * d
    gradient[:] = gradient_by_unit.T


@compiled()
def zero_rows(gradient: Array, active_rows: NDArray[np.bool_]) -> None:
    """Set the active rows of `gradient` [rows, units] to 0, and mark them inactive."""
    for row in range(len(gradient)):
        if active_rows[row]:
            active_rows[row] = False
            for unit in range(gradient.shape[1]):
                gradient[row, unit] = 0
