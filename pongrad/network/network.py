"""The neural network: a stack of layers, and its outputs for one input at a time."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.network.layers import Array, Linear, ReLU, SparseLinear, add_rows, zero_rows
from pongrad.vision.inputs import Inputs, Pixels, Values


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
    def active_rows(self) -> dict[str, NDArray[np.bool_]]:
        """name -> bool [rows], the rows of the weights that have a gradient since `zero_gradients`."""
        return {name: layer.active_rows for name, layer in self._trained()}

    def zero_gradients(self) -> None:
        """Forget the gradients collected so far."""
        for _, layer in self._trained():
            zero_rows(layer.gradient, layer.active_rows)

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


@compiled()
def first_outputs(pixels: Pixels, values: Values, weights: tuple[Array, ...], count: int) -> Array:
    """The network's first `count` outputs for one sparse input: the same sums, in its layers' order.

    Args:
        pixels, values: the sparse input.
        weights: a tuple of [inputs, units] arrays, bottom first, with a ReLU between any two.
        count: how many outputs are needed.
    """
    out = np.zeros(weights[0].shape[1], weights[0].dtype)
    add_rows(pixels, values, weights[0], out)
    for layer in range(1, len(weights)):
        w, below = weights[layer], out
        out = np.zeros(w.shape[1] if layer < len(weights) - 1 else count, w.dtype)
        for i in range(len(below)):
            if below[i] > 0:  # the ReLU
                for unit in range(len(out)):
                    out[unit] += below[i] * w[i, unit]
    return out
