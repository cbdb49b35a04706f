"""The neural network, by hand: layers with a forward and a backward pass, and the stack of them.

Every layer keeps what its backward pass needs from its last forward pass. Weights are float32 for speed
or float64 to check the mathematics; batches are [steps, units].
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground import kernels
from pongrad.vision.preprocessing import Inputs

Array = NDArray[np.floating[Any]]


class SparseLinear:
    """y = x W for sparse x: forward and backward touch only the rows of W whose input is not zero.

    No gradient flows on to the input: this is a first layer. W is [inputs, units], the transpose of the
    article's, so that the weights of one input lie side by side in memory.
    """

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.gradient = np.zeros_like(weights)
        self.touched = np.zeros(len(weights), np.bool_)

    def __repr__(self) -> str:
        return f"SparseLinear({self.weights.shape[0]} inputs -> {self.weights.shape[1]})"

    def forward(self, x: Inputs) -> Array:
        """[steps, units] from sparse inputs."""
        self._x = x
        out = np.empty((len(x), self.weights.shape[1]), self.weights.dtype)
        kernels.sparse_linear(x.offsets, x.pixels, x.values, self.weights, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out; returns d_out unchanged, for there is no layer below."""
        x = self._x
        kernels.sparse_linear_backward(x.offsets, x.pixels, x.values, d_out, self.gradient, self.touched)
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
        self.gradient = np.zeros_like(weights)
        self.touched = np.zeros(len(weights), np.bool_)

    def __repr__(self) -> str:
        return f"Linear({self.weights.shape[0]} -> {self.weights.shape[1]})"

    def forward(self, x: Array) -> Array:
        """[steps, units] from [steps, inputs]."""
        self._x = x
        out = np.empty((len(x), self.weights.shape[1]), self.weights.dtype)
        kernels.linear(x, self.weights, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out; returns d_out W^T."""
        d_x = np.empty_like(self._x)
        kernels.linear_backward(self._x, self.weights, d_out, self.gradient, d_x)
        self.touched.fill(True)
        return d_x


class Network:
    """A stack of layers: sparse pixels -> hidden ReLU layers -> outputs, no biases.

    Attributes:
        layers: bottom first.
        weights: name -> array, bottom first: W1 [inputs, units], W2 [units, ...], ...
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        """Build the stack around these arrays, which are used, not copied.

        Args:
            weights: W1, W2, ... in order; each has as many rows as the one below has columns.
        """
        self.weights = dict(weights)
        first, *rest = self.weights.values()
        self.layers: list[SparseLinear | ReLU | Linear] = [SparseLinear(first)]
        for array in rest:
            self.layers += [ReLU(), Linear(array)]

    @staticmethod
    def random(sizes: tuple[int, ...], rng: np.random.Generator, dtype: str = "float32") -> "Network":
        """N(0, 1) / sqrt(fan-in) weights for layers of these sizes, as the article draws them."""
        return Network(
            {
                f"W{i}": (rng.standard_normal((n_in, n_out)) / np.sqrt(n_in)).astype(dtype)
                for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1)
            }
        )

    def __repr__(self) -> str:
        return f"Network({', '.join(map(repr, self.layers))})"

    @property
    def outputs(self) -> int:
        """Units of the last layer."""
        return next(reversed(self.weights.values())).shape[1]

    @property
    def gradients(self) -> dict[str, Array]:
        """name -> d objective / d weights, summed over all backward passes since `zero_gradients`."""
        return {name: layer.gradient for name, layer in self._trained()}

    @property
    def touched(self) -> dict[str, NDArray[np.bool_]]:
        """name -> bool [rows], the rows of the weights that have a gradient since `zero_gradients`."""
        return {name: layer.touched for name, layer in self._trained()}

    def zero_gradients(self) -> None:
        """Forget the gradients collected so far."""
        for _, layer in self._trained():
            kernels.zero_rows(layer.gradient, layer.touched)

    def _trained(self) -> list[tuple[str, SparseLinear | Linear]]:
        trained = [layer for layer in self.layers if not isinstance(layer, ReLU)]
        return list(zip(self.weights, trained, strict=True))

    def forward(self, x: Inputs) -> Array:
        """The outputs [steps, outputs] for sparse inputs."""
        out: Any = x
        for layer in self.layers:
            out = layer.forward(out)
        return out

    def backward(self, d_out: Array) -> None:
        """Add the gradient of the last forward pass, given d objective / d outputs [steps, outputs]."""
        for layer in reversed(self.layers):
            d_out = layer.backward(d_out)
