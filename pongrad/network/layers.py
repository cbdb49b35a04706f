"""The network's layers by hand, each with a forward and a backward pass; `convolution` has one more.

Every layer keeps what its backward pass needs from its last forward pass, and has its `parameters`: none, or
the weights, or the weights and the bias. Weights are float32 for speed or float64 to check the mathematics;
batches are [steps, units]. The inner loops are compiled, at the end.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.ground.parallel import Threads, room
from pongrad.vision.inputs import Indices, Inputs, Int64s, Values

Array = NDArray[np.floating[Any]]

MANY_UNITS = 32
"""A layer with so many units is worth a call of BLAS; with fewer, a compiled loop takes less time."""

PARTS = 4
MANY_STEPS = 64
"""A product of BLAS's is cut into so many parts, if each has so many steps. Threads work on them at the same
time; whatever the number of threads the parts are the same, and so are the sums."""


class Parameter:
    """Numbers that are learned.

    Attributes:
        value: [rows, units].
        gradient: d objective / d value, summed over all backward passes since it was last 0.
        active_rows: bool [rows], those that have a gradient.
    """

    def __init__(self, value: Array) -> None:
        """Start with a gradient of 0."""
        self.value = value
        self.gradient = np.zeros(value.shape, value.dtype)  # memory that is not used costs nothing
        self.active_rows = np.zeros(len(value), np.bool_)


class SparseLinear:
    """y = x W + b for sparse x: forward and backward touch only the rows of W whose input is not zero.

    No gradient flows on to the input: this is a first layer. W is [inputs, units], the transpose of the
    article's, so that the weights of one input lie side by side in memory.
    """

    def __init__(self, weights: Array, bias: Array | None = None) -> None:
        """Use these arrays, [inputs, units] and, unless there is none, [1, units]."""
        self.weights = weights
        self.parameters = parameters(weights, bias)
        self._bias = no_bias(weights) if bias is None else bias

    def __repr__(self) -> str:
        return f"SparseLinear({self.weights.shape[0]} inputs -> {self.weights.shape[1]})"

    def forward(self, x: Inputs) -> Array:
        """[steps, units] from sparse inputs."""
        self._x = x
        out = np.empty((len(x), self.weights.shape[1]), self.weights.dtype)
        _sparse_linear(x.indptr, x.indices, x.values, self.weights, self._bias, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out; returns d_out unchanged, for there is no layer below."""
        x, parameter = self._x, self.parameters[0]
        _sparse_linear_backward(
            x.indptr, x.indices, x.values, d_out, parameter.gradient, parameter.active_rows
        )
        add_bias_gradient(self.parameters, d_out)
        return d_out


class ReLU:
    """y = max(x, 0); the gradient passes where the unit was on, whatever the gradient's own sign."""

    parameters: ClassVar[list[Parameter]] = []

    def __repr__(self) -> str:
        return "ReLU"

    def forward(self, x: Array) -> Array:
        """max(x, 0), in place."""
        self._y = np.maximum(x, 0, out=x)
        return self._y

    def backward(self, d_out: Array) -> Array:
        """d_out where the unit was on, else 0."""
        return d_out * (self._y > 0)


class Flatten:
    """Pictures [steps, rows, columns, channels] as rows of numbers [steps, rows * columns * channels]."""

    parameters: ClassVar[list[Parameter]] = []

    def __repr__(self) -> str:
        return "Flatten"

    def forward(self, x: Array) -> Array:
        """[steps, numbers], the same memory."""
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, d_out: Array) -> Array:
        """In the pictures' shape, the same memory."""
        return d_out.reshape(self._shape)


class Linear:
    """y = x W + b with W [inputs, units]."""

    def __init__(self, weights: Array, bias: Array | None = None, threads: Threads | None = None) -> None:
        """Use these arrays, [inputs, units] and, unless there is none, [1, units].

        Args:
            weights, bias: these.
            threads: to do the work where the units are many; None: no other than the caller's.
        """
        self.weights = weights
        self.parameters = parameters(weights, bias)
        self._bias = bias
        self._threads = threads or Threads()
        self._y: Array | None = None
        self._d_x: Array | None = None
        self._product: Array | None = None

    def __repr__(self) -> str:
        return f"Linear({self.weights.shape[0]} -> {self.weights.shape[1]})"

    def forward(self, x: Array) -> Array:
        """[steps, units] from [steps, inputs]; it holds until the next forward pass."""
        self._x = x
        self._y = y = room(self._y, (len(x), self.weights.shape[1]), self.weights.dtype)
        if self.weights.shape[1] < MANY_UNITS:
            _linear(x, self.weights, y)
        else:
            self._in_parts(len(x), lambda part: np.matmul(x[part], self.weights, out=y[part]))
        if self._bias is not None:
            y += self._bias
        return y

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out; returns d_out W^T, until the next backward pass."""
        x, gradient = self._x, self.parameters[0].gradient
        self._d_x = d_x = room(self._d_x, x.shape, x.dtype)
        if self.weights.shape[1] < MANY_UNITS:
            _linear_backward(x, self.weights, d_out, gradient, d_x)
        else:
            self._product = product = room(self._product, gradient.shape, gradient.dtype)

            def add(rows: slice) -> None:
                np.matmul(x[:, rows].T, d_out, out=product[rows])
                gradient[rows] += product[rows]

            self._in_parts(len(self.weights), add)
            self._in_parts(len(x), lambda part: np.matmul(d_out[part], self.weights.T, out=d_x[part]))
        self.parameters[0].active_rows.fill(True)
        add_bias_gradient(self.parameters, d_out)
        return d_x

    def _in_parts(self, size: int, do: Callable[[slice], Any]) -> None:
        parts = min(PARTS, max(1, size // MANY_STEPS))
        self._threads.each(lambda i: do(slice(size * i // parts, size * (i + 1) // parts)), parts)


def parameters(weights: Array, bias: Array | None) -> list[Parameter]:
    """The parameters of a layer: weights and, unless there is none, bias."""
    return [Parameter(each) for each in (weights, bias) if each is not None]


def no_bias(weights: Array) -> Array:
    """What is added where there is no bias: zeros [1, units]."""
    return np.zeros((1, weights.shape[1]), weights.dtype)


def add_bias_gradient(parameters: list[Parameter], d_out: Array) -> None:
    """The gradient of a layer's bias, if it has one, += the sum of d_out [steps, units] over the steps."""
    for bias in parameters[1:]:
        bias.gradient += d_out.sum(axis=0)
        bias.active_rows.fill(True)


@compiled()
def add_rows(indices: Indices, values: Values, weights: Array, out: Array) -> None:
    """out += sum_k values[k] weights[indices[k]], one by one; weights [inputs, units], out [units]."""
    fours = len(indices) // 4 * 4
    for k in range(0, fours, 4):  # four rows each time that `out` is gone through
        i0, i1, i2, i3 = indices[k], indices[k + 1], indices[k + 2], indices[k + 3]
        x0, x1, x2, x3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        for unit in range(len(out)):
            two = (out[unit] + x0 * weights[i0, unit]) + x1 * weights[i1, unit]
            out[unit] = (two + x2 * weights[i2, unit]) + x3 * weights[i3, unit]
    for k in range(fours, len(indices)):
        index, value = indices[k], values[k]
        for unit in range(len(out)):
            out[unit] += value * weights[index, unit]


@compiled()
def _sparse_linear(
    indptr: Int64s, indices: Indices, values: Values, weights: Array, bias: Array, out: Array
) -> None:
    """out[t] = b + x_t W for sparse x_t: add up the few rows of W whose input is not zero.

    Args:
        indptr, indices, values: the sparse inputs x, see the module's header.
        weights: [inputs, units].
        bias: [1, units].
        out: [T, units], overwritten.
    """
    out[:] = bias
    for t in range(len(out)):
        start, end = indptr[t], indptr[t + 1]
        add_rows(indices[start:end], values[start:end], weights, out[t])


@compiled()
def _sparse_linear_backward(
    indptr: Int64s,
    indices: Indices,
    values: Values,
    d_out: Array,
    gradient: Array,
    active_rows: NDArray[np.bool_],
) -> None:
    """gradient += sum_t x_t^T d_out[t], only in the rows whose input is not zero: the active rows."""
    for t in range(len(d_out)):
        for k in range(indptr[t], indptr[t + 1]):
            value = values[k]
            index = indices[k]
            active_rows[index] = True
            for unit in range(d_out.shape[1]):
                gradient[index, unit] += value * d_out[t, unit]


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
