"""The first convolution, over the last four frames, less the background: it works on what differs from it.

A network is given (frame - background) / 255, from -1 to 1. Of most games' screens most is still, so that
most patches are zeros: their y is ReLU(b), they have no part in the filters' gradient, and what remains is

    forward     y_p = ReLU(patch_p W + b) for each patch p in which something is to be seen
    backward    d = d_y where y > 0, else 0;   dW = patches^T d over these patches

Taking away the background also makes learning sooner: a ball of a few pixels is most of what is left. A
screen that scrolls is no saving, and no harm.
"""

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.ground.parallel import Threads, room
from pongrad.network.convolution import PARTS, Filters, add_bias_relu, gather_patches, relu_backward
from pongrad.network.layers import Array
from pongrad.vision.frames import SHAPE, Frames, Grey

BLOCK = 8
"""Steps that are worked on at a time."""

MANY = 0.4
"""Where something is to be seen in a larger share of the patches, it takes less time to gather them all."""

Indices = NDArray[np.int64]


class FrameConvolution(Filters):
    """y = ReLU(convolution of frames with W, plus b)."""

    def __init__(
        self,
        weights: Array,
        background: Grey,
        stride: int,
        bias: Array | None = None,
        threads: Threads | None = None,
    ) -> None:
        """Convolve the last four frames.

        Args:
            weights, stride, bias, threads: see `Filters`.
            background: uint8 [84, 84], what is taken away from each frame.

        Raises:
            ValueError: see `Filters`.
        """
        super().__init__(weights, SHAPE, stride, bias, threads)
        self._background = background
        self._positions = self.out_shape[0] * self.out_shape[1]
        self._frames: Frames

    def forward(self, x: Frames) -> Array:
        """[steps, *out_shape] from frames; it holds until the next forward pass."""
        self._frames = x
        dtype, filters = self.weights.dtype, self.weights.shape[1]
        self._y = y = room(self._y, (len(x), *self.out_shape), dtype)
        still = np.maximum(self._bias, 0)

        def do(part: int) -> None:
            for start, end in self._blocks(part, len(x)):
                places, patches = self._seen(start, end)
                out = y[start:end].reshape(-1, filters)
                every = len(places) == len(out)
                seen = out if every else self._threads.scratch("seen", (len(places), filters), dtype)
                np.matmul(patches, self.weights, out=seen)
                add_bias_relu(self._bias, seen)
                if not every:
                    out[:] = still
                    _spread(seen, places, out)

        self._threads.each(do, PARTS)
        return y

    def backward(self, d_y: Array) -> None:
        """Add to the gradients, given d objective / d y [steps, *out_shape]; frames have no gradient."""
        y, filters, dtype = self._y, self.weights.shape[1], self.weights.dtype
        assert y is not None, "a forward pass comes first"
        gradients, bias_gradients = self._new_gradients()

        def do(part: int) -> None:
            product = self._threads.scratch("product", self.weights.shape, dtype)
            for start, end in self._blocks(part, len(self._frames)):
                places, patches = self._seen(start, end)
                rows = y[start:end].reshape(-1, filters), d_y[start:end].reshape(-1, filters)
                d = self._threads.scratch("d", rows[1].shape, dtype)
                relu_backward(*rows, d, bias_gradients[part])
                if len(places) < len(d):
                    d = _take(d, places, self._threads.scratch("seen", (len(places), filters), dtype))
                np.matmul(patches.T, d, out=product)
                gradients[part] += product

        self._threads.each(do, PARTS)
        self._add_gradients(gradients, bias_gradients)

    @property
    def _block(self) -> int:
        return BLOCK

    def _seen(self, start: int, end: int) -> tuple[Indices, Array]:
        """Places and patches of these steps in which something is to be seen.

        A place is the number of the patch among those of all the steps; they ascend.
        """
        frames = self._frames.frames, self._frames.newest[start:end], self._background
        dtype, most = self.weights.dtype, (end - start) * self._positions
        places = self._threads.scratch("places", (most,), np.int64)
        count = _find_seen(*frames, self.kernel, self.stride, places)
        if count > MANY * most:
            places[:] = np.arange(most)
            pictures = self._threads.scratch("pictures", (end - start, *SHAPE), dtype)
            _stack(*frames, pictures)
            patches = self._threads.scratch("patches", (most, len(self.weights)), dtype)
            gather_patches(pictures, self.kernel, self.stride, patches)
            return places, patches
        patches = self._threads.scratch("patches", (count, len(self.weights)), dtype)
        _gather_seen(*frames, self.kernel, self.stride, places[:count], patches)
        return places[:count], patches


@compiled(nogil=True)
def _find_seen(
    frames: Grey, newest: Indices, background: Grey, kernel: int, stride: int, places: Indices
) -> int:
    """Write to `places` where frames differ from the background; return how many they are.

    Args:
        frames, newest: see `Frames`.
        background: [84, 84].
        kernel, stride: of the convolution.
        places: int64 [steps * positions].
    """
    height, width = background.shape
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    differs = np.empty((height, width), np.uint8)
    line = np.empty(width, np.uint8)
    count = 0
    for step in range(len(newest)):
        for row in range(height):
            still, to = background[row], differs[row]
            a, b = frames[newest[step] - 3, row], frames[newest[step] - 2, row]
            c, d = frames[newest[step] - 1, row], frames[newest[step], row]
            for column in range(width):
                grey = still[column]
                to[column] = (a[column] ^ grey) | (b[column] ^ grey) | (c[column] ^ grey) | (d[column] ^ grey)
        for row in range(rows):
            line[:] = 0
            for k in range(kernel):
                more = differs[row * stride + k]
                for column in range(width):
                    line[column] |= more[column]
            for column in range(columns):
                seen = np.uint8(0)
                for k in range(kernel):
                    seen |= line[column * stride + k]
                if seen != 0:
                    places[count] = (step * rows + row) * columns + column
                    count += 1
    return count


@compiled(nogil=True)
def _gather_seen(
    frames: Grey,
    newest: Indices,
    background: Grey,
    kernel: int,
    stride: int,
    places: Indices,
    patches: Array,
) -> None:
    """Write the patches in these places, less the background, to the rows of `patches`."""
    scale = patches.dtype.type(1 / 255)
    rows, columns = (frames.shape[1] - kernel) // stride + 1, (frames.shape[2] - kernel) // stride + 1
    lines = patches.reshape(len(patches), kernel, 4 * kernel)
    for i in range(len(places)):
        step, position = divmod(places[i], rows * columns)
        top, left = position // columns * stride, position % columns * stride
        for k in range(kernel):
            a, b = frames[newest[step] - 3, top + k, left:], frames[newest[step] - 2, top + k, left:]
            c, d = frames[newest[step] - 1, top + k, left:], frames[newest[step], top + k, left:]
            still, line = background[top + k, left:], lines[i, k]
            for column in range(kernel):
                grey = np.int64(still[column])
                line[4 * column] = (a[column] - grey) * scale
                line[4 * column + 1] = (b[column] - grey) * scale
                line[4 * column + 2] = (c[column] - grey) * scale
                line[4 * column + 3] = (d[column] - grey) * scale


@compiled(nogil=True)
def _spread(seen: Array, places: Indices, out: Array) -> None:
    """Write each row of `seen` [places, filters] to its place in `out` [steps * positions, filters]."""
    for i in range(len(places)):
        place = places[i]
        for unit in range(out.shape[1]):
            out[place, unit] = seen[i, unit]


@compiled(nogil=True)
def _take(d: Array, places: Indices, out: Array) -> Array:
    """Write the rows of d [steps * positions, filters] in these places to `out`, and return it."""
    for i in range(len(places)):
        place = places[i]
        for unit in range(d.shape[1]):
            out[i, unit] = d[place, unit]
    return out


@compiled(nogil=True)
def _stack(frames: Grey, newest: Indices, background: Grey, out: Array) -> None:
    """Write the last four frames of each step, less the background, to `out` [steps, 84, 84, 4]."""
    scale = out.dtype.type(1 / 255)
    for step in range(len(out)):
        for row in range(out.shape[1]):
            still, line = background[row], out[step, row]
            for channel in range(4):
                frame = frames[newest[step] - 3 + channel, row]
                for column in range(out.shape[2]):
                    line[column, channel] = (np.int64(frame[column]) - still[column]) * scale
