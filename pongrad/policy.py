"""The policy's mathematics: two actions from one logit z, p = sigmoid(z) the probability of the first (UP).

Acting draws from it in `kernels.choose`; this is what learning needs.
"""

import numpy as np
from numpy.typing import NDArray

from pongrad.network import Array

UP, DOWN = 0, 1
"""What rollouts store: the place of the action taken in the agent's `actions`."""


def probability_up(logits: Array) -> Array:
    """sigmoid(logits), written with tanh so that it never overflows."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def log_probability(actions: NDArray[np.uint8], logits: Array) -> Array:
    """log pi(action): log sigmoid(z) where UP was taken, log sigmoid(-z) where not; never overflows."""
    z = np.where(actions == UP, logits, -logits)
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))


def log_gradient(actions: NDArray[np.uint8], p: Array) -> Array:
    """d log pi(action) / d logit = y - p, with y = 1 where UP was taken and p the probability of UP."""
    return (actions == UP).astype(p.dtype) - p


def entropy(p: Array) -> float:
    """The mean entropy in nats of steps that go UP with these probabilities; 0.69 is a coin flip."""
    p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
    return float(np.mean(-p * np.log(p) - (1 - p) * np.log(1 - p)))
