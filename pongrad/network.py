"""The neural network, by hand: layers with a forward and a backward pass, and the stack of them.

Every layer keeps what its backward pass needs from its last forward pass. Weights are float32 for speed
or float64 to check the mathematics; batches are [steps, units].
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad import kernels
from pongrad.vision import Inputs

Array = NDArray[np.floating[Any]]

Part = tuple[NDArray[np.int64], Array]
"""Groups of inputs, int64 [inputs] from 0 on, and factors [inputs, K]; see `SparseLinear.share`."""


@dataclass
class Share:
    """Weights that inputs of a first layer have in common: input r adds sum_j factors[r, j] V[rows[r, j]].

    Attributes:
        rows: int64 [inputs, J].
        factors: [inputs, J].
        weights: V [shared rows, units]; 0 unless the layer is learning.
        gradient: d objective / d V since `zero_gradients`.
        touched: bool [shared rows], the rows of V that have a gradient.
    """

    rows: NDArray[np.int64]
    factors: Array
    weights: Array
    gradient: Array
    touched: NDArray[np.bool_]

    def add_to(self, weights: Array, inputs: NDArray[np.bool_], out: Array) -> None:
        """Write the weights of these inputs, bool [inputs], with what they share, to `out`."""
        kernels.add_shared(inputs, weights, self.rows, self.factors, self.weights, out)


class SparseLinear:
    """y = x W for sparse x: forward and backward touch only the rows of W whose input is not zero.

    No gradient flows on to the input: this is a first layer. W is [inputs, units], the transpose of the
    article's, so that the weights of one pixel lie side by side in memory.

    While it learns, inputs may have parts of their weights in common, so that what is learned at one place
    helps at others, see `Share`; W[r] and what r adds to it then stand for W[r]. `fold` adds it to W.

    Attributes:
        weights: W.
        shared: what inputs have in common, if anything.
    """

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.gradient = np.zeros_like(weights)
        self.touched = np.zeros(len(weights), np.bool_)
        self.shared: Share | None = None
        self._folded = True
        self._buffer = np.empty_like(weights)  # costs nothing until it is written to

    def __repr__(self) -> str:
        return f"SparseLinear({self.weights.shape[0]} pixels -> {self.weights.shape[1]})"

    def forward(self, x: Inputs) -> Array:
        """[steps, units] from sparse inputs."""
        self._x = x
        weights = self._whole(self.shared, x) if self.shared and not self._folded else self.weights
        out = np.empty((len(x), weights.shape[1]), weights.dtype)
        kernels.sparse_linear(x.offsets, x.pixels, x.values, weights, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out, and what follows for what is shared.

        Returns d_out unchanged: there is no layer below.
        """
        x = self._x
        kernels.sparse_linear_backward(x.offsets, x.pixels, x.values, d_out, self.gradient, self.touched)
        if share := self.shared:
            kernels.zero_rows(share.gradient, share.touched)  # `gradient` has all backward passes in it
            kernels.share_backward(
                self.gradient, self.touched, share.rows, share.factors, share.gradient, share.touched
            )
            self._folded = False  # it will be moved
        return d_out

    def share(self, *parts: Part) -> None:
        """Let inputs have parts of their weights in common; call it once, before learning.

        Args:
            parts: of each, every group has K rows of V, which its inputs add to their weights, each times
                factors of its own.
        """
        rows, first = [], 0
        for groups, factors in parts:
            k = factors.shape[1]
            rows.append(first + groups[:, None] * k + np.arange(k))
            first += (int(groups.max()) + 1) * k
        dtype, shape = self.weights.dtype, (first, self.weights.shape[1])
        self.shared = Share(
            np.hstack(rows),
            np.hstack([factors for _, factors in parts]).astype(dtype),
            np.zeros(shape, dtype),
            np.zeros(shape, dtype),
            np.zeros(first, np.bool_),
        )

    def fold(self) -> None:
        """Add what is shared to each input's own weights: the layer computes what it did before."""
        if self.shared and not self._folded:
            self.shared.add_to(self.weights, np.ones(len(self.weights), np.bool_), self.weights)
            self.shared.weights.fill(0)
            self._folded = True

    def _whole(self, share: Share, x: Inputs) -> Array:
        """The weights that the layer has with what is shared, in the rows that x needs."""
        inputs = np.zeros(len(self.weights), np.bool_)
        inputs[x.pixels] = True
        share.add_to(self.weights, inputs, self._buffer)
        return self._buffer


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
        weights: name -> array, bottom first: W1 [pixels, units], W2 [units, ...], ...
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        """Build the stack around these arrays, which are used, not copied.

        Args:
            weights: W1, W2, ... in order; each has as many rows as the one below has columns.
        """
        self.weights = dict(weights)
        first, *rest = self.weights.values()
        self._first = SparseLinear(first)
        self.layers: list[SparseLinear | ReLU | Linear] = [self._first]
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
    def parameters(self) -> dict[str, Array]:
        """What is learned: the weights, and what the first layer's inputs share, as "W1.shared"."""
        return {name: part.weights for name, part in self._trained()}

    @property
    def gradients(self) -> dict[str, Array]:
        """name -> d objective / d parameters, summed over all backward passes since `zero_gradients`."""
        return {name: part.gradient for name, part in self._trained()}

    @property
    def touched(self) -> dict[str, NDArray[np.bool_]]:
        """name -> bool [rows], the rows of the parameters that have a gradient since `zero_gradients`."""
        return {name: part.touched for name, part in self._trained()}

    def zero_gradients(self) -> None:
        """Forget the gradients collected so far."""
        for _, part in self._trained():
            kernels.zero_rows(part.gradient, part.touched)

    def share(self, *parts: Part) -> None:
        """Let inputs have parts of their weights in common while learning, see `SparseLinear`."""
        self._first.share(*parts)

    def fold(self) -> None:
        """Add to the weights what inputs share; between updates nothing else may be left."""
        self._first.fold()

    def _trained(self) -> list[tuple[str, SparseLinear | Linear | Share]]:
        layers = (layer for layer in self.layers if not isinstance(layer, ReLU))
        trained: list[tuple[str, SparseLinear | Linear | Share]] = [*zip(self.weights, layers, strict=True)]
        if self._first.shared:
            trained.append(("W1.shared", self._first.shared))
        return trained

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
