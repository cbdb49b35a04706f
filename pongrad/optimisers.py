"""Optimisers: from a gradient to a move of the weights. They *ascend*: the objective is to be maximised."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad import kernels
from pongrad.network import Array


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

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from the state of a checkpoint; an empty one changes nothing.

        Raises:
            KeyError, ValueError: it is the state of other weights.
        """
        for name, array in state.items():
            if array.shape != self.state[name].shape:
                raise ValueError(f"optimiser state {name} is {array.shape}, want {self.state[name].shape}")
            self.state[name][...] = array


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
            kernels.rmsprop(
                weights.reshape(-1),
                gradients[name].reshape(-1),
                self.state[name].reshape(-1),
                self.learning_rate,
                self.decay_rate,
                self.epsilon,
            )


class LazyRMSProp(Optimiser):
    """RMSProp that leaves alone every row of the weights that has no gradient, and moves rows in cells.

        c <- decay_rate c + (1 - decay_rate) g^2
        W <- W + learning_rate g / (sqrt(c / (1 - decay_rate^t)) + epsilon)

    t counts all steps; dividing by 1 - decay_rate^t corrects for c having started at 0. With that it is
    Adam (Kingma and Ba 2015) without momentum (beta1 = 0). A row of the first layer belongs to one pixel: a
    minibatch in which that pixel was never on says nothing about it, so neither c nor W of the row moves
    (plain RMSProp would shrink c). Most pixels are off in most minibatches: this is much less work.

    What is learned where the ball has been helps where it has not been only if rows share something. So W is
    the sum of two tables, W[r] = own[r] + shared[cells[r]], and both are learned as above; the gradient
    of a shared row is the sum over its cell. Only the sum W is kept, for it is all that anybody needs.

    Attributes:
        learning_rate: may be changed between steps.
        state: t, name -> c for the weights of each name, and "name.cells" -> c of its shared rows.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        learning_rate: float,
        decay_rate: float = 0.999,
        epsilon: float = 1e-8,
        cells: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        """Start anew.

        Args:
            weights: name -> [rows, units]; they are moved in place.
            learning_rate, decay_rate, epsilon: see above.
            cells: name -> the cell of each row, from 0 on; weights without it have no shared rows.
        """
        super().__init__(weights, learning_rate, decay_rate, epsilon)
        self.state["t"] = np.zeros((), np.int64)
        self._cells = dict(cells or {})
        self._shared: dict[str, tuple[Array, Array, NDArray[np.bool_]]] = {}
        for name, cell_of_row in self._cells.items():
            shape = (int(cell_of_row.max()) + 1, self.weights[name].shape[1])
            dtype = self.weights[name].dtype
            self.state[f"{name}.cells"] = np.zeros(shape, dtype)
            self._shared[name] = np.zeros(shape, dtype), np.zeros(shape, dtype), np.zeros(shape[0], np.bool_)

    def step(self, gradients: Mapping[str, Array], touched: Mapping[str, NDArray[np.bool_]]) -> None:
        """Move the weights up their gradient, in place.

        Args:
            gradients: name -> gradient, shaped as the weights.
            touched: name -> bool [rows], the rows that have a gradient.
        """
        self.state["t"] += 1
        for name, weights in self.weights.items():
            if name in self._cells:
                self._move_shared(name, gradients[name], touched[name])
            self._move(weights, gradients[name], self.state[name], touched[name])

    def _move_shared(self, name: str, gradient: Array, touched: NDArray[np.bool_]) -> None:
        cells = self._cells[name]
        sums, moves, touched_cells = self._shared[name]
        kernels.sum_in_cells(gradient, touched, cells, sums, touched_cells)
        self._move(moves, sums, self.state[f"{name}.cells"], touched_cells)
        kernels.move_in_cells(self.weights[name], cells, moves, touched_cells)
        sums.fill(0)
        moves.fill(0)
        touched_cells.fill(False)

    def _move(self, weights: Array, gradient: Array, mean_square: Array, touched: NDArray[np.bool_]) -> None:
        number = weights.dtype.type  # so that no loop computes in more than the weights' precision
        bias = 1 - self.decay_rate ** int(self.state["t"])
        kernels.lazy_rmsprop(
            weights,
            gradient,
            mean_square,
            touched,
            number(self.learning_rate),
            number(1 - self.decay_rate),
            number(1 / np.sqrt(bias)),
            number(self.epsilon),
        )
