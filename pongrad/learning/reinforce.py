"""The learner of recipe `classic`: REINFORCE (Williams 1992) as the source article has it.

Every action of a game is pushed by how the point it belongs to ended: the gradient of a game is

    sum_t  A_t  d log pi(a_t | x_t) / d weights,    A = standardise(discount(rewards))

and the gradients of a batch of whole games are summed before the weights move once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.learning.optimisers import RMSProp
from pongrad.learning.returns import discount, standardise
from pongrad.network import policy
from pongrad.network.network import Network
from pongrad.playing.rollout import Rollout


class Reinforce:
    """Learns from whole games.

    Attributes:
        network: what learns; its weights are changed in place.
        optimiser: how they move.
    """

    def __init__(
        self,
        network: Network,
        action_names: Sequence[str],
        gamma: float,
        learning_rate: float,
        decay_rate: float,
    ) -> None:
        """Start with an empty batch.

        Args:
            network: the policy, one logit.
            action_names: what the two actions are called, for the metrics.
            gamma: discount a step.
            learning_rate, decay_rate: RMSProp's.
        """
        self.network = network
        self.action_names = action_names
        self.gamma = gamma
        self.optimiser = RMSProp(network.weights, learning_rate, decay_rate)
        self._entropies: list[float] = []
        self._ups: list[float] = []  # mean probability of the first action in each game

    def __repr__(self) -> str:
        return f"Reinforce(gamma={self.gamma}, {self.optimiser}, {self.network})"

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What it remembers from update to update: the optimiser's state."""
        return self.optimiser.state

    @property
    def moved(self) -> dict[str, NDArray[np.bool_]]:
        """RMSProp moves all weights: nothing to name."""
        return {}

    def add(self, game: Rollout, terminated: bool = True) -> None:
        """Add the gradient of one whole game to the batch; its last return ends with it either way."""
        p = policy.probability_up(self.network.forward(game.inputs)[:, 0])
        rewards = game.rewards.astype(p.dtype)
        advantages = standardise(discount(rewards, rewards != 0, self.gamma))  # a reward ends a point
        d_logits = policy.log_gradient(game.actions, p) * advantages.astype(p.dtype)
        self.network.backward(d_logits[:, np.newaxis])
        self._entropies.append(policy.entropy(p))
        self._ups.append(float(p.mean()))

    def update(self, number: int = 0, frames: int = 0) -> dict[str, Any]:
        """Move the weights by the batch's gradient and empty the batch; no schedule, nothing drawn.

        Returns:
            gradient_norm, entropy (nats a step) and probability/NAME of each action, for the metrics: means
            over the games.
        """
        gradients = self.network.gradients
        squares = [float(np.vdot(gradient, gradient)) for gradient in gradients.values()]
        losses = {"gradient_norm": sum(squares) ** 0.5, "entropy": float(np.mean(self._entropies))}
        self.optimiser.step(gradients)
        self.network.zero_gradients()
        up = float(np.mean(self._ups))
        losses |= dict(zip([f"probability/{name}" for name in self.action_names], (up, 1 - up), strict=True))
        self._entropies.clear()
        self._ups.clear()
        return losses
