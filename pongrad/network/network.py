"""The neural network: a stack of layers, and its outputs for one input at a time."""

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.ground.parallel import Threads, blas_in_one_thread
from pongrad.network.convolution import Convolution, Filters
from pongrad.network.frame_convolution import FrameConvolution
from pongrad.network.layers import (
    Array,
    Flatten,
    Linear,
    Parameter,
    ReLU,
    SparseLinear,
    add_rows,
    no_bias,
    zero_rows,
)
from pongrad.vision.frames import SHAPE, SIDE, Frames, Grey
from pongrad.vision.inputs import Indices, Inputs, Values

Layer = SparseLinear | FrameConvolution | Convolution | Flatten | Linear | ReLU

BLACK: Grey = np.zeros((SIDE, SIDE), np.uint8)


class Network:
    """A stack of layers, of one of two kinds.

    Sparse inputs -> hidden ReLU layers -> outputs, or frames -> convolutions -> hidden ReLU layers -> outputs

    Attributes:
        layers: bottom first.
        weights: name -> array, bottom first: W1 [inputs, units], then b1 [1, units] if there are biases,
            W2 [units, ...], ... Those of a convolution are [kernel * kernel * channels, filters].
        strides: of the convolutions; empty: the inputs are sparse.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        strides: Sequence[int] = (),
        background: Grey = BLACK,
    ) -> None:
        """Build the stack around these arrays, which are used, not copied.

        Args:
            weights: W1, W2, ... and their biases b1, b2, ... or none of them; each has as many rows as what
                comes from below has numbers.
            strides: see above.
            background: uint8 [84, 84], see `FrameConvolution`.

        Raises:
            ValueError: filters do not fit the pictures.
        """
        self.weights = dict(sorted(weights.items(), key=lambda item: (int(item[0][1:]), item[0])))
        self.strides = tuple(strides)
        self._threads = Threads()
        self.layers: list[Layer] = []
        for number in range(1, 1 + sum(name.startswith("W") for name in weights)):
            array, bias = self.weights[f"W{number}"], self.weights.get(f"b{number}")
            if number <= len(strides):
                below = self.layers[-1] if self.layers else None
                args = strides[number - 1], bias, self._threads
                self.layers.append(
                    Convolution(array, below.out_shape, *args)
                    if isinstance(below, Filters)
                    else FrameConvolution(array, background, *args)
                )
            elif number == 1:
                self.layers.append(SparseLinear(array, bias))
            else:
                self.layers.append(Flatten() if number == len(strides) + 1 else ReLU())
                self.layers.append(Linear(array, bias, self._threads))

    @staticmethod
    def random(
        sizes: tuple[int, ...], rng: np.random.Generator, dtype: str = "float32", biases: bool = False
    ) -> "Network":
        """N(0, 1) / sqrt(fan-in) weights for layers of these sizes above sparse inputs, as in the article.

        Biases, if there are any, are 0.
        """
        weights: dict[str, Array] = {}
        for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
            weights[f"W{i}"] = (rng.standard_normal((n_in, n_out)) / np.sqrt(n_in)).astype(dtype)
            if biases:
                weights[f"b{i}"] = np.zeros((1, n_out), dtype)
        return Network(weights)

    @staticmethod
    def random_convolutional(
        filters: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        units: Sequence[int],
        rng: np.random.Generator,
        biases: bool = False,
        background: Grey = BLACK,
        dtype: str = "float32",
    ) -> "Network":
        """N(0, 2) / sqrt(fan-in) weights (He et al. 2015): numbers keep their size from layer to layer.

        Args:
            filters, kernels, strides: of each convolution.
            units: of each layer above them.
            rng: what the weights are drawn from.
            biases: whether there are any; they are 0.
            background: uint8 [84, 84], see `FrameConvolution`.
            dtype: of the weights.

        Raises:
            ValueError: a kernel is larger than what it looks at.
        """
        weights: dict[str, Array] = {}
        rows, columns, channels = SHAPE

        def add(n_in: int, n_out: int) -> None:
            number = 1 + len(weights) // (1 + biases)
            weights[f"W{number}"] = (rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)).astype(dtype)
            if biases:
                weights[f"b{number}"] = np.zeros((1, n_out), dtype)

        for count, kernel, stride in zip(filters, kernels, strides, strict=True):
            if kernel > min(rows, columns):
                raise ValueError(f"a kernel of {kernel} x {kernel} does not fit {rows} x {columns}")
            add(kernel * kernel * channels, count)
            rows, columns, channels = (rows - kernel) // stride + 1, (columns - kernel) // stride + 1, count
        for n_in, n_out in itertools.pairwise((rows * columns * channels, *units)):
            add(n_in, n_out)
        return Network(weights, strides, background)

    def __repr__(self) -> str:
        return f"Network({', '.join(map(repr, self.layers))})"

    def use_threads(self, count: int) -> None:
        """Share out the work of large layers among so many threads; what they compute stays the same."""
        self._threads.use(count)

    @property
    def outputs(self) -> int:
        """Units of the last layer."""
        return next(reversed(self.weights.values())).shape[1]

    @property
    def gradients(self) -> dict[str, Array]:
        """name -> d objective / d weights, summed over all backward passes since `zero_gradients`."""
        return {name: parameter.gradient for name, parameter in self._parameters()}

    @property
    def active_rows(self) -> dict[str, NDArray[np.bool_]]:
        """name -> bool [rows], the rows of the weights that have a gradient since `zero_gradients`."""
        return {name: parameter.active_rows for name, parameter in self._parameters()}

    def zero_gradients(self) -> None:
        """Forget the gradients collected so far."""
        for _, parameter in self._parameters():
            zero_rows(parameter.gradient, parameter.active_rows)

    def _parameters(self) -> list[tuple[str, Parameter]]:
        learned = [parameter for layer in self.layers for parameter in layer.parameters]
        return list(zip(self.weights, learned, strict=True))

    def forward(self, x: Inputs | Frames) -> Array:
        """The outputs [steps, outputs] for sparse inputs or frames; they hold until the next forward pass."""
        out: Any = x
        with blas_in_one_thread():
            for layer in self.layers:
                out = layer.forward(out)
        return out

    def backward(self, d_out: Any) -> None:
        """Add the gradient of the last forward pass, given d objective / d outputs [steps, outputs]."""
        with blas_in_one_thread():
            for layer in reversed(self.layers):
                d_out = layer.backward(d_out)

    @cached_property
    def acting_args(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Weights and biases of a network with sparse inputs, as `first_outputs` takes them."""
        weights = [array for name, array in self.weights.items() if name.startswith("W")]
        biases = [
            self.weights[f"b{i}"] if f"b{i}" in self.weights else no_bias(array)
            for i, array in enumerate(weights, start=1)
        ]
        return tuple(weights), tuple(biases)


@compiled()
def first_outputs(
    indices: Indices, values: Values, weights: tuple[Array, ...], biases: tuple[Array, ...], count: int
) -> Array:
    """The network's first `count` outputs for one sparse input: the same sums, in its layers' order.

    Args:
        indices, values: the sparse input.
        weights: a tuple of [inputs, units] arrays, bottom first, with a ReLU between any two.
        biases: a tuple of as many [1, units] arrays.
        count: how many outputs are needed.
    """
    out = biases[0][0].copy()
    add_rows(indices, values, weights[0], out)
    for layer in range(1, len(weights)):
        w, below = weights[layer], out
        out = np.zeros(w.shape[1] if layer < len(weights) - 1 else count, w.dtype)
        for i in range(len(below)):
            if below[i] > 0:  # the ReLU
                for unit in range(len(out)):
                    out[unit] += below[i] * w[i, unit]
        out += biases[layer][0, : len(out)]
    return out
