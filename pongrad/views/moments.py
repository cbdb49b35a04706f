"""A game step by step, as one may look at it: every frame, what the network is given and what it makes of it.

The same game that `play` plays, only slower: that every frame has its picture costs time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pongrad.games.environment import Environment
from pongrad.games.game import Game
from pongrad.network.acting import new_rollout_buffer, policy_step
from pongrad.network.agent import Agent
from pongrad.network.layers import Array
from pongrad.network.policy import probability_up, softmax
from pongrad.vision.preprocessing import new_frame_buffer


@dataclass(frozen=True, eq=False)
class Moment:
    """One step: what the agent saw, what it made of it, what came of it.

    Attributes:
        step: counts the game's steps.
        inputs: float32 [channels, rows, columns], the pixels the network was given: 1 where one is on or
            went on, -1 where it went off.
        hidden: how strongly each neuron of the first hidden layer fires [units].
        probabilities: of each of the agent's actions [actions].
        value: the return that the network expects; None if it has no such output.
        action: the place in the agent's `actions` of what it did.
        frames: uint8 [frames, height, width, 3], the pictures that followed.
        won, lost: points so far, these frames included.
    """

    step: int
    inputs: NDArray[np.float32]
    hidden: Array
    probabilities: Array
    value: float | None
    action: int
    frames: NDArray[np.uint8]
    won: float
    lost: float


def moments(agent: Agent, game: Game, emulator: Environment) -> Iterator[Moment]:
    """Play a new game to its end.

    Args:
        agent: who plays, in its own way (`agent.greedy`); its weights may change meanwhile.
        game: a game before its first step.
        emulator: any environment that plays the game, for this game alone meanwhile.
    """
    emulator.restore(game)
    vision, frame_buffer = agent.vision, new_frame_buffer(agent.vision)
    preprocessing_args, policy_args = (
        vision.preprocessing_args(emulator.screen),
        agent.policy_args(game.stream, agent.greedy),
    )
    won = lost = 0.0
    for step, timing in enumerate(emulator.timings(game)):
        if emulator.over():
            return
        offsets, pixels, values, *_ = rollout_buffer = new_rollout_buffer(1, vision)
        action = policy_step(
            preprocessing_args, vision.input_args, True, frame_buffer, policy_args, step, rollout_buffer, 0
        )
        hidden, probabilities, value = think(agent, pixels[: offsets[1]], values[: offsets[1]])
        inputs = np.zeros(vision.size, np.float32)
        inputs[pixels[: offsets[1]]] = values[: offsets[1]]
        reward, frames = emulator.film(agent.actions[action], timing)
        won, lost = won + max(reward, 0), lost + max(-reward, 0)
        seen = inputs[: vision.channels * vision.pixels].reshape(-1, *vision.shape)
        yield Moment(step, seen, hidden, probabilities, value, action, frames, won, lost)


def think(
    agent: Agent, pixels: NDArray[np.uint16], values: NDArray[np.int8]
) -> tuple[Array, Array, float | None]:
    """What the network makes of one input: first hidden layer, probabilities, the value if it has one."""
    first, *rest = agent.network.weights.values()
    hidden = out = np.maximum(values.astype(first.dtype) @ first[pixels], 0)
    for i, weights in enumerate(rest):
        out = (out if i == 0 else np.maximum(out, 0)) @ weights
    if agent.logits == 1:
        up = probability_up(out[0])
        return hidden, np.array([up, 1 - up]), None
    return hidden, softmax(out[np.newaxis, :-1])[0][0], float(out[-1])
