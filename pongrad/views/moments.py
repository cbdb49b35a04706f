"""A game step by step, as one may look at it: every frame, what the network is given and what it makes of it.

The same game that `play` plays, only slower: that every frame has its picture costs time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.games.environment import Environment
from pongrad.games.game import Game
from pongrad.ground.parallel import blas_in_one_thread
from pongrad.network import batch_acting
from pongrad.network.acting import new_rollout_buffer, policy_step
from pongrad.network.agent import Agent
from pongrad.network.batch_acting import ROWS
from pongrad.network.convolution import Filters
from pongrad.network.exploration import NOT_HELD
from pongrad.network.layers import Array, ReLU
from pongrad.network.policy import probability_up, softmax
from pongrad.vision.frames import SIDE, FrameStack
from pongrad.vision.preprocessing import Vision, new_screen_buffer


@dataclass(frozen=True, eq=False)
class StepTrace:
    """What an agent sees and makes of it at one step.

    Attributes:
        inputs: float32 [channels, rows, columns], what the network is given. If it is sparse, pixels: 1 where
            one is on or went on, -1 where it went off. If it is convolutional, the last four frames less the
            background, from -1 to 1, newest first.
        hidden: how strongly each neuron of the first hidden layer fires [units]; of a convolutional network
            that is the one above the convolutions.
        maps: how strongly each filter fires in each place, [filters, rows, columns] of each convolution.
        probabilities: of each of the agent's actions [actions].
        value: the return that the network expects; None if it has no such output.
        action: what it does, an index into the agent's `actions`.
    """

    inputs: NDArray[np.float32]
    hidden: Array
    maps: tuple[Array, ...]
    probabilities: Array
    value: float | None
    action: int


@dataclass(frozen=True, eq=False)
class Moment(StepTrace):
    """One step: what the agent saw, what it made of it, what came of it.

    Attributes:
        step: counts the game's steps.
        frames: uint8 [frames, height, width, 3], the pictures that followed.
        won, lost: points so far, these frames included.
    """

    step: int
    frames: NDArray[np.uint8]
    won: float
    lost: float


def moments(agent: Agent, game: Game, emulator: Environment) -> Iterator[Moment]:
    """Play a new game to its end.

    Args:
        agent: who plays, in its own way (`agent.greedy`); its weights may change meanwhile.
        game: a game before its first step.
        emulator: any environment that plays the game, for this game alone meanwhile. A convolutional network
            makes it read greys for good, see `Environment.show_greys`.
    """
    policy: _SparsePolicy | _FramePolicy
    if isinstance(agent.vision, FrameStack):
        policy = _FramePolicy(agent, agent.vision, game, emulator)
    else:
        policy = _SparsePolicy(agent, agent.vision, game, emulator)
    won = lost = 0.0
    for step, timing in enumerate(emulator.timings(game)):
        if emulator.over():
            return
        trace = policy.step_trace(step)
        reward, frames = emulator.film(agent.actions[trace.action], timing)
        won, lost = won + max(reward, 0), lost + max(-reward, 0)
        yield Moment(**vars(trace), step=step, frames=frames, won=won, lost=lost)


class _SparsePolicy:
    """An agent with sparse inputs at a new game."""

    def __init__(self, agent: Agent, vision: Vision, game: Game, emulator: Environment) -> None:
        emulator.restore(game)
        self._agent, self._vision = agent, vision
        self._screen_buffer = new_screen_buffer(vision)
        self._preprocessing_args = vision.preprocessing_args(emulator.screen)
        self._policy_args = agent.policy_args(game.stream, agent.greedy)

    def step_trace(self, step: int) -> StepTrace:
        """What it makes of the screen as it is now."""
        vision = self._vision
        indptr, indices, values, *_ = rollout_buffer = new_rollout_buffer(1, vision)
        action = policy_step(
            self._preprocessing_args,
            vision.input_args,
            True,
            self._screen_buffer,
            self._policy_args,
            step,
            rollout_buffer,
            0,
        )
        indices, values = indices[: indptr[1]], values[: indptr[1]]
        inputs = np.zeros(vision.size, np.float32)
        inputs[indices] = values
        seen = inputs[: vision.channels * vision.pixels].reshape(-1, *vision.shape)
        (first, *above), (first_bias, *biases) = self._agent.network.acting_args
        hidden = out = np.maximum(values.astype(first.dtype) @ first[indices] + first_bias[0], 0)
        for weights, bias in zip(above, biases, strict=True):
            out = np.maximum(out, 0) @ weights + bias[0]
        return StepTrace(seen, hidden, (), *_decision(self._agent, out), action)


class _FramePolicy:
    """An agent with a convolutional network at a new game, in the row of the batch that `play` gives it."""

    def __init__(self, agent: Agent, vision: FrameStack, game: Game, emulator: Environment) -> None:
        emulator.show_greys()
        emulator.restore(game)
        self._agent, self._vision, self._game, self._emulator = agent, vision, game, emulator
        self._row = game.number % ROWS
        self._frame_buffer = batch_acting.FrameBuffer(vision)

    def step_trace(self, step: int) -> StepTrace:
        """What it makes of the screen as it is now."""
        agent, row, frame = self._agent, self._row, np.empty((SIDE, SIDE), np.uint8)
        assert self._emulator.greys is not None
        self._vision.frame(self._emulator.greys, frame)
        self._frame_buffer.add(row, frame, step)
        hidden, maps = None, []
        out: Any = self._frame_buffer.inputs
        with blas_in_one_thread():
            for layer in agent.network.layers:
                out = layer.forward(out)
                if isinstance(layer, Filters):
                    maps.append(out[row].transpose(2, 0, 1).copy())
                elif isinstance(layer, ReLU) and hidden is None:
                    hidden = out[row].copy()
        assert hidden is not None, "there is a layer between convolutions and outputs"
        likeliest = agent.greedy and not self._frame_buffer.stands_still(row, step)
        logits = out[row, : agent.logits]
        action, _ = batch_acting.choose(logits, self._game.stream, step, likeliest, NOT_HELD)
        newest_first = self._frame_buffer.frames[row, ::-1].astype(np.float32)
        inputs = (newest_first - self._vision.background_frame.astype(np.float32)) / np.float32(255)
        return StepTrace(inputs, hidden, tuple(maps), *_decision(agent, out[row]), action)


def _decision(agent: Agent, outputs: Array) -> tuple[Array, float | None]:
    """Each action's probability, and the value if there is one, of the network's outputs [outputs]."""
    if agent.logits == 1:
        up = probability_up(outputs[0])
        return np.array([up, 1 - up]), None
    return softmax(outputs[np.newaxis, :-1])[0][0], float(outputs[-1])
