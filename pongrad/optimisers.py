"""Optimisers: from a gradient to a move of the weights. They *ascend*: the objective is to be maximised."""

from collections.abc import Mapping

import numpy as np

from pongrad import kernels
from pongrad.network import Array


class RMSProp:
    """RMSProp (Tieleman and Hinton 2012): each weight's move is scaled by its gradient's recent size.

        c <- decay_rate c + (1 - decay_rate) g^2
        W <- W + learning_rate g / (sqrt(c) + epsilon)

    Attributes:
        state: name -> c, shaped as the weights; a checkpoint keeps it.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        learning_rate: float,
        decay_rate: float,
        epsilon: float = 1e-5,
    ) -> None:
        self.weights = dict(weights)
        self.learning_rate = learning_rate
        self.decay_rate = decay_rate
        self.epsilon = epsilon
        self.state = {name: np.zeros_like(array) for name, array in self.weights.items()}

    def __repr__(self) -> str:
        return f"RMSProp(learning_rate={self.learning_rate}, decay_rate={self.decay_rate})"

    def load(self, state: Mapping[str, Array]) -> None:
        """Go on from the state of a checkpoint; an empty one changes nothing.

        Raises:
            KeyError, ValueError: it is the state of other weights.
        """
        for name, array in state.items():
            if array.shape != self.state[name].shape:
                raise ValueError(f"optimiser state {name} is {array.shape}, want {self.state[name].shape}")
            self.state[name][:] = array

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
