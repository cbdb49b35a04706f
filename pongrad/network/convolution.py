"""Convolution by hand: a small matrix applied to every patch of a picture.

Pictures are [steps, rows, columns, channels]. The filters are a matrix W, [kernel * kernel * channels,
filters], whose rows are ordered as the numbers of a patch: row by row, column by column, channel by channel.
The patches of a few pictures are gathered as the rows of a matrix that is small enough to stay in the
processor's cache. Then

    forward     y = ReLU(patches W + b)
    backward    d = d_y where y > 0, else 0
                dW = patches^T d
                db = the sum of d over all patches
                d_patches = d W^T; a pixel's gradient is the sum of what it gets in all patches that it is in

The products are BLAS's. For the backward pass the patches are gathered again: that takes less time than to
read them from memory.
"""

import math
from collections.abc import Iterator

import numpy as np

from pongrad.ground.compiled import compiled
from pongrad.ground.parallel import Threads, room
from pongrad.network.layers import Array, no_bias, parameters

PATCHES_BYTES = 2**20
"""Memory of the patches that are gathered at a time: about half a core's cache."""

PARTS = 16
"""A batch is cut into so many parts, which threads work on at the same time. Whatever the number of threads,
the parts are the same, and so are the sums."""


class Filters:
    """What convolutions share: filters, and which patches of a picture they are applied to.

    Attributes:
        weights: [kernel * kernel * channels, filters].
        kernel: rows and columns of a patch.
        stride: pixels from one patch to the next, in both directions.
        shape: rows, columns and channels of a picture.
        out_shape: rows and columns of the patches, and the number of filters.
        parameters: weights and, unless there is none, bias.
    """

    def __init__(
        self,
        weights: Array,
        shape: tuple[int, int, int],
        stride: int,
        bias: Array | None = None,
        threads: Threads | None = None,
    ) -> None:
        """Convolve pictures of one shape.

        Args:
            weights: [kernel * kernel * channels, filters].
            shape: rows, columns and channels of a picture.
            stride: pixels from one patch to the next, in both directions.
            bias: [1, filters]; None: there is none.
            threads: to do the work; None: no other than the caller's.

        Raises:
            ValueError: the weights are not those of a square kernel that fits into the picture.
        """
        rows, columns, channels = shape
        if weights.ndim != 2 or weights.size == 0:
            raise ValueError(f"filters of shape {weights.shape}")
        kernel = math.isqrt(len(weights) // channels)
        if kernel * kernel * channels != len(weights) or not 0 < kernel <= min(rows, columns) or stride < 1:
            raise ValueError(f"filters of {len(weights)} weights do not fit pictures {shape}")
        self.weights, self.stride, self.kernel = weights, stride, kernel
        self.shape = shape
        self.out_shape = (rows - kernel) // stride + 1, (columns - kernel) // stride + 1, weights.shape[1]
        self.parameters = parameters(weights, bias)
        self._bias = no_bias(weights) if bias is None else bias
        self._threads = threads or Threads()
        self._y: Array | None = None
        self._gradients: Array | None = None

    def __repr__(self) -> str:
        what = f"{self.out_shape[2]} of {self.kernel} x {self.kernel}, stride {self.stride}"
        return f"{type(self).__name__}({what}: {self.shape} -> {self.out_shape})"

    @property
    def _block(self) -> int:
        """Steps that are worked on at a time."""
        raise NotImplementedError

    def _blocks(self, part: int, steps: int) -> Iterator[tuple[int, int]]:
        """The first step of each block in a part of a batch, and the one after its last."""
        first, last = steps * part // PARTS, steps * (part + 1) // PARTS
        for start in range(first, last, self._block):
            yield start, min(start + self._block, last)

    def _new_gradients(self) -> tuple[Array, Array]:
        """Zeros for each part of a batch, shaped as the weights and as the bias."""
        dtype, filters = self.weights.dtype, self.weights.shape[1]
        self._gradients = room(self._gradients, (PARTS, *self.weights.shape), dtype)
        self._gradients.fill(0)
        return self._gradients, np.zeros((PARTS, filters), dtype)

    def _add_gradients(self, *gradients: Array) -> None:
        """Add up the parts of the gradients of the weights and, if there is one, of the bias."""
        for parameter, parts in zip(self.parameters, gradients, strict=False):
            parameter.gradient += parts.sum(axis=0)
            parameter.active_rows.fill(True)


class Convolution(Filters):
    """y = ReLU(convolution of x with W, plus b); pictures are not padded."""

    _x: Array
    _d_x: Array | None = None

    def forward(self, x: Array) -> Array:
        """[steps, *out_shape] from [steps, *shape]; it holds until the next forward pass."""
        self._x = x
        self._y = y = room(self._y, (len(x), *self.out_shape), self.weights.dtype)

        def do(part: int) -> None:
            for start, end in self._blocks(part, len(x)):
                patches = self._patches(x[start:end])
                out = y[start:end].reshape(len(patches), -1)
                np.matmul(patches, self.weights, out=out)
                add_bias_relu(self._bias, out)

        self._threads.each(do, PARTS)
        return y

    def backward(self, d_y: Array) -> Array:
        """Add to the gradients, given d objective / d y [steps, *out_shape].

        Returns:
            d objective / d x [steps, *shape]; it holds until the next backward pass.
        """
        x, y, filters, dtype = self._x, self._y, self.weights.shape[1], self.weights.dtype
        assert y is not None, "a forward pass comes first"
        self._d_x = d_x = room(self._d_x, (len(x), *self.shape), dtype)
        gradients, bias_gradients = self._new_gradients()

        def do(part: int) -> None:
            product = self._threads.scratch("product", self.weights.shape, dtype)
            for start, end in self._blocks(part, len(x)):
                patches = self._patches(x[start:end])
                d = self._threads.scratch("d", (len(patches), filters), dtype)
                rows = y[start:end].reshape(d.shape), d_y[start:end].reshape(d.shape)
                relu_backward(*rows, d, bias_gradients[part])
                np.matmul(patches.T, d, out=product)
                gradients[part] += product
                np.matmul(d, self.weights.T, out=patches)
                _add_patches(patches, self.kernel, self.stride, d_x[start:end])

        self._threads.each(do, PARTS)
        self._add_gradients(gradients, bias_gradients)
        return d_x

    @property
    def _block(self) -> int:
        patch_bytes = self.out_shape[0] * self.out_shape[1] * len(self.weights) * self.weights.itemsize
        return max(1, PATCHES_BYTES // patch_bytes)

    def _patches(self, pictures: Array) -> Array:
        """The patches of these pictures [patches, kernel * kernel * channels]."""
        count = len(pictures) * self.out_shape[0] * self.out_shape[1]
        patches = self._threads.scratch("patches", (count, len(self.weights)), self.weights.dtype)
        gather_patches(pictures, self.kernel, self.stride, patches)
        return patches


# In the loops below a slice that starts at the patch lets the compiler see that the inner loop is over
# numbers side by side, and compute several at once.
@compiled(nogil=True)
def gather_patches(x: Array, kernel: int, stride: int, patches: Array) -> None:
    """Write every patch of pictures x [steps, rows, columns, channels] to a row of `patches`."""
    steps, channels = len(x), x.shape[3]
    rows, columns = (x.shape[1] - kernel) // stride + 1, (x.shape[2] - kernel) // stride + 1
    lines = x.reshape(steps, x.shape[1], x.shape[2] * channels)
    to = patches.reshape(steps, rows, columns, kernel, kernel * channels)
    for step in range(steps):
        for row in range(rows):
            for k in range(kernel):
                line = lines[step, row * stride + k]
                for column in range(columns):
                    pixels = line[column * stride * channels :]
                    for i in range(kernel * channels):
                        to[step, row, column, k, i] = pixels[i]


@compiled(nogil=True)
def _add_patches(patches: Array, kernel: int, stride: int, x: Array) -> None:
    """Write to each pixel of x [steps, rows, columns, channels] the sum over all patches that it is in."""
    steps, channels = len(x), x.shape[3]
    rows, columns = (x.shape[1] - kernel) // stride + 1, (x.shape[2] - kernel) // stride + 1
    lines = x.reshape(steps, x.shape[1], x.shape[2] * channels)
    given = patches.reshape(steps, rows, columns, kernel, kernel * channels)
    x[:] = 0
    for step in range(steps):
        for row in range(rows):
            for k in range(kernel):
                line = lines[step, row * stride + k]
                for column in range(columns):
                    pixels = line[column * stride * channels :]
                    for i in range(kernel * channels):
                        pixels[i] += given[step, row, column, k, i]


@compiled(nogil=True)
def add_bias_relu(bias: Array, y: Array) -> None:
    """y = max(y + b, 0), in place; y [patches, filters], bias [1, filters]."""
    for patch in range(len(y)):
        for unit in range(y.shape[1]):
            y[patch, unit] = max(y[patch, unit] + bias[0, unit], 0)


@compiled(nogil=True)
def relu_backward(y: Array, d_y: Array, d: Array, sums: Array) -> None:
    """d = d_y where y > 0, else 0, all [patches, filters]; `sums` += its sum over the patches."""
    for patch in range(len(y)):
        for unit in range(y.shape[1]):
            gradient = d_y[patch, unit] if y[patch, unit] > 0 else 0
            d[patch, unit] = gradient
            sums[unit] += gradient
