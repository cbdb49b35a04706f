"""The policy's mathematics: the probabilities of actions from logits, and their gradients.

Recipe `fast` has a logit for each action and their softmax; recipe `classic` has the article's single logit z
and two actions, sigmoid(z) the probability of the first. `choose_action` serves acting, the rest learning.
"""

import numpy as np
from numpy.typing import NDArray

from pongrad.ground.compiled import compiled
from pongrad.network.exploration import Held
from pongrad.network.layers import Array

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


@compiled()
def choose_action(logits: Array, draw: float, greedy: bool, held: Held) -> tuple[int, float]:
    """Choose an action by its probability, or greedily the likeliest one, or the one that is held.

    Args:
        logits: one for each action, their softmax gives the probabilities; or a single one z of two actions,
            sigmoid(z) is the probability of the first.
        draw: uniform in [0, 1).
        greedy: whether to choose the likeliest action, the first of several.
        held: the index of an action, and the share of all draws that take it; not for a single logit.

    Returns:
        The action's index, and the logarithm of the probability that the logits give it.
    """
    if len(logits) == 1:  # sigmoid is written with tanh so that it never overflows
        z = logits[0]
        threshold = 0.5 if greedy else draw
        action = 0 if threshold < 0.5 * (1 + np.tanh(0.5 * z)) else 1
        z = float(z if action == 0 else -z)
        return action, min(z, 0.0) - np.log1p(np.exp(-abs(z)))
    action = int(np.argmax(logits))
    largest = logits[action]
    total = 0.0
    for logit in logits:
        total += np.exp(float(logit - largest))
    held_action, share = held
    if draw < share:
        action = held_action
    elif not greedy:
        left = (draw - share) / (1 - share) * total
        for action in range(len(logits)):
            left -= np.exp(float(logits[action] - largest))
            if left < 0:
                break
    return action, float(logits[action] - largest) - np.log(total)
