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


@dataclass
class Share:
    """A part of a first layer's weights that inputs share: r adds sum_k factors[r, k] V_k[groups[r]].

    Attributes:
        groups: int64 [inputs], from 0 on.
        factors: [inputs, K].
        weights: [groups, K * units], V_0 to V_K side by side; 0 unless the layer is learning.
        gradient: d objective / d weights since `zero_gradients`.
        touched: bool [groups], the rows of the weights that have a gradient.
    """

    groups: NDArray[np.int64]
    factors: Array
    weights: Array
    gradient: Array
    touched: NDArray[np.bool_]

    def by_factor(self, array: Array) -> Array:
        """A view of the weights or of their gradient as [groups, K, units]."""
        return array.reshape(len(array), self.factors.shape[1], -1)


class SparseLinear:
    """y = x W for sparse x: forward and backward touch only the rows of W whose input is not zero.

    No gradient flows on to the input: this is a first layer. W is [inputs, units], the transpose of the
    article's, so that the weights of one pixel lie side by side in memory.

    While it learns, inputs may have parts of their weights in common, so that what is learned at one place
    helps at others, see `Share`; W[r] and all that r adds to it then stand for W[r]. `fold` adds all to W.

    Attributes:
        weights: W.
        shares: name -> share, in the order they were added.
    """

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.gradient = np.zeros_like(weights)
        self.touched = np.zeros(len(weights), np.bool_)
        self.shares: dict[str, Share] = {}
        self._folded = True
        self._buffer = np.empty_like(weights)  # costs nothing until it is written to

    def __repr__(self) -> str:
        return f"SparseLinear({self.weights.shape[0]} pixels -> {self.weights.shape[1]})"

    def forward(self, x: Inputs) -> Array:
        """[steps, units] from sparse inputs."""
        self._x = x
        weights = self.weights if self._folded else self._whole(x)
        out = np.empty((len(x), weights.shape[1]), weights.dtype)
        kernels.sparse_linear(x.offsets, x.pixels, x.values, weights, out)
        return out

    def backward(self, d_out: Array) -> Array:
        """gradient += x^T d_out, and what follows for the shares.

        Returns d_out unchanged: there is no layer below.
        """
        x = self._x
        kernels.sparse_linear_backward(x.offsets, x.pixels, x.values, d_out, self.gradient, self.touched)
        for share in self.shares.values():
            kernels.zero_rows(share.gradient, share.touched)  # `gradient` has all backward passes in it
            part = share.by_factor(share.gradient)
            kernels.share_backward(
                self.gradient, self.touched, share.groups, share.factors, part, share.touched
            )
            self._folded = False  # it will be moved
        return d_out

    def share(self, name: str, groups: NDArray[np.int64], factors: NDArray[np.floating]) -> None:
        """Let inputs have a part of their weights in common, see `Share`; call it before learning."""
        dtype = self.weights.dtype
        shape = int(groups.max()) + 1, factors.shape[1] * self.weights.shape[1]
        self.shares[name] = Share(
            groups,
            np.ascontiguousarray(factors, dtype),
            np.zeros(shape, dtype),
            np.zeros(shape, dtype),
            np.zeros(shape[0], np.bool_),
        )

    def fold(self) -> None:
        """Add what is shared to each input's own weights: the layer computes what it did before."""
        if not self._folded:
            self._add_shares(np.ones(len(self.weights), np.bool_), self.weights)
            for share in self.shares.values():
                share.weights.fill(0)
            self._folded = True

    def _whole(self, x: Inputs) -> Array:
        """The weights that the layer has with its shares, in the rows that x needs."""
        rows = np.zeros(len(self.weights), np.bool_)
        rows[x.pixels] = True
        self._add_shares(rows, self._buffer)
        return self._buffer

    def _add_shares(self, rows: NDArray[np.bool_], out: Array) -> None:
        kernels.copy_rows(self.weights, rows, out)
        for share in self.shares.values():
            part = share.by_factor(share.weights)
            kernels.add_share(rows, share.groups, share.factors, part, out)


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
        """What is learned: the weights, and what the first layer's inputs share, as "W1.name"."""
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

    def share(self, name: str, groups: NDArray[np.int64], factors: NDArray[np.floating]) -> None:
        """Let inputs have a part of their weights in common while learning, see `SparseLinear`."""
        self._first.share(name, groups, factors)

    def fold(self) -> None:
        """Add to the weights what inputs share; between updates nothing else may be left."""
        self._first.fold()

    def _trained(self) -> list[tuple[str, SparseLinear | Linear | Share]]:
        layers = (layer for layer in self.layers if not isinstance(layer, ReLU))
        trained: list[tuple[str, SparseLinear | Linear | Share]] = [*zip(self.weights, layers, strict=True)]
        return trained + [(f"W1.{name}", share) for name, share in self._first.shares.items()]

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
