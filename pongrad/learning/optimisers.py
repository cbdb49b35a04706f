"""Optimisers: from a gradient to a move of the weights. They *ascend*: the objective is to be maximised."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.network.layers import Array


class Optimiser:
    """What the optimisers share: for each weight a running mean c of its gradient's square.

    Attributes:
        state: what it remembers from step to step, name -> c, shaped as the weights; a checkpoint keeps it.
    """

    def __init__(
        self, weights: Mapping[str, Array], learning_rate: float, decay_rate: float, epsilon: float
    ) -> None:
        self.weights = dict(weights)
        self.learning_rate = learning_rate
        self.decay_rate = decay_rate
        self.epsilon = epsilon
        self.state: dict[str, NDArray[Any]] = {
            name: np.zeros_like(array) for name, array in self.weights.items()
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(learning_rate={self.learning_rate:g}, decay_rate={self.decay_rate})"


class RMSProp(Optimiser):
    """RMSProp (Tieleman and Hinton 2012): each weight's move is scaled by its gradient's recent size.

    c <- decay_rate c + (1 - decay_rate) g^2
    W <- W + learning_rate g / (sqrt(c) + epsilon)
    """

    def __init__(
        self, weights: Mapping[str, Array], learning_rate: float, decay_rate: float, epsilon: float = 1e-5
    ) -> None:
        super().__init__(weights, learning_rate, decay_rate, epsilon)

    def step(self, gradients: Mapping[str, Array]) -> None:
        """Move every weight up its gradient, in place."""
        for name, weights in self.weights.items():
            assert weights.flags.c_contiguous, "or reshape would make a copy, and the weights would not move"
            _rmsprop(
                weights.reshape(-1),
                gradients[name].reshape(-1),
                self.state[name].reshape(-1),
                self.learning_rate,
                self.decay_rate,
                self.epsilon,
            )


class LazyRMSProp(Optimiser):
    """RMSProp that leaves alone every row of the weights that has no gradient.

        c <- decay_rate c + (1 - decay_rate) g^2
        W <- W + learning_rate g / (sqrt(c / (1 - decay_rate^t)) + epsilon)

    t counts all steps; dividing by 1 - decay_rate^t corrects for c having started at 0. For a row with a
    gradient at every step that is Adam (Kingma and Ba 2015) without momentum (beta1 = 0); a row that first
    gets one late moves up to 1 / sqrt(1 - decay_rate) = 32 times the learning rate. A row of the first layer
    belongs to one input: a minibatch in which it was never on says nothing about it, so neither c nor W of
    the row moves (plain RMSProp would shrink c). Most inputs are off in most minibatches: this is much less
    work.

    Attributes:
        learning_rate: may be changed between steps.
        shares: name -> share of the learning rate for these weights, 1 unless given; may be changed too.
        state: t, and name -> c for the weights of each name.
        moved: name -> bool [rows], the rows that have moved since it was last cleared.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        learning_rate: float,
        decay_rate: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(weights, learning_rate, decay_rate, epsilon)
        self.state["t"] = np.zeros((), np.int64)
        self.shares: dict[str, float] = {}
        self.moved = {name: np.zeros(len(array), np.bool_) for name, array in weights.items()}

    def step(self, gradients: Mapping[str, Array], active_rows: Mapping[str, NDArray[np.bool_]]) -> None:
        """Move the weights up their gradient, in place.

        Args:
            gradients: name -> gradient, shaped as the weights.
            active_rows: name -> bool [rows], the rows that have a gradient.
        """
        self.state["t"] += 1
        bias = 1 - self.decay_rate ** int(self.state["t"])
        for name, weights in self.weights.items():
            self.moved[name] |= active_rows[name]
            number = weights.dtype.type  # so that no loop computes in more than the weights' precision
            _lazy_rmsprop(
                weights,
                gradients[name],
                self.state[name],
                active_rows[name],
                number(self.learning_rate * self.shares.get(name, 1.0)),
                number(1 - self.decay_rate),
                number(1 / np.sqrt(bias)),
                number(self.epsilon),
            )


# Where Numba checked for divisions by zero it could not compute several quotients at once.
@compiled(error_model="numpy")
def _rmsprop(
    weights: Array,
    gradient: Array,
    mean_square: Array,
    learning_rate: float,
    decay_rate: float,
    epsilon: float,
) -> None:
    """One RMSProp step of gradient *ascent* on flat arrays, in place; see `RMSProp`."""
    for i in range(len(weights)):
        g = gradient[i]
        mean_square[i] = decay_rate * mean_square[i] + (1 - decay_rate) * g * g
        weights[i] += learning_rate * g / (np.sqrt(mean_square[i]) + epsilon)


@compiled(error_model="numpy")
def _lazy_rmsprop(
    weights: Array,
    gradient: Array,
    mean_square: Array,
    active_rows: NDArray[np.bool_],
    rate: np.floating[Any],
    keep: np.floating[Any],
    correction: np.floating[Any],
    epsilon: np.floating[Any],
) -> None:
    """One step of gradient *ascent* on the active rows, in place; see `LazyRMSProp`.

    Args:
        weights, gradient, mean_square: [rows, units].
        active_rows: bool [rows].
        rate: learning rate.
        keep: 1 - decay rate.
        correction: corrects sqrt(mean_square) for its bias.
        epsilon: keeps the division finite.
    """
    for row in range(len(weights)):
        if active_rows[row]:
            for unit in range(weights.shape[1]):
                g = gradient[row, unit]
                c = mean_square[row, unit] + keep * (g * g - mean_square[row, unit])
                mean_square[row, unit] = c
                weights[row, unit] += rate * g / (correction * np.sqrt(c) + epsilon)
