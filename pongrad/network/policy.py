"""The policy's mathematics: the probabilities of actions from logits, and their gradients.

Recipe `fast` has a logit for each action and their softmax; recipe `classic` has the article's single logit z
and two actions, sigmoid(z) the probability of the first. Acting draws from both in `kernels.choose`; this is
what learning needs.
"""

import numpy as np
from numpy.typing import NDArray

from pongrad.network.network import Array

UP = 0
"""The first of recipe `classic`'s two actions, as its rollouts store it."""


def softmax(logits: Array) -> tuple[Array, Array]:
    """Probabilities and their logarithms, both [steps, actions] as the logits are; never overflows."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.exp(log_p), log_p


def softmax_log_gradient(actions: NDArray[np.uint8], p: Array) -> Array:
    """d log pi(action) / d logits = y - p [steps, actions], with y = 1 for the action taken, else 0."""
    gradient = -p
    gradient[np.arange(len(actions)), actions] += 1
    return gradient


def entropies(p: Array, log_p: Array) -> Array:
    """The entropy of each step's softmax in nats, -sum_a p_a log p_a [steps]."""
    return -(p * log_p).sum(axis=1)


def entropy_gradient(p: Array, log_p: Array) -> Array:
    """d entropy / d logits = -p_a (log p_a + entropy) [steps, actions]."""
    return -p * (log_p + entropies(p, log_p)[:, np.newaxis])


def probability_up(logits: Array) -> Array:
    """sigmoid(logits), written with tanh so that it never overflows."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def log_gradient(actions: NDArray[np.uint8], p: Array) -> Array:
    """d log pi(action) / d logit = y - p, with y = 1 where UP was taken and p the probability of UP."""
    return (actions == UP).astype(p.dtype) - p


def entropy(p: Array) -> float:
    """The mean entropy in nats of steps that go UP with these probabilities; 0.69 is a coin flip."""
    p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
    return float(np.mean(-p * np.log(p) - (1 - p) * np.log(1 - p)))
