"""Playing several games side by side, with an agent whose network is convolutional.

As pure a function as `play.play`, only that the games share the network's products.
"""

import functools
from collections.abc import Sequence
from time import perf_counter as clock

import numpy as np
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.games.environment import Environment
from pongrad.games.game import Game
from pongrad.network import batch_acting
from pongrad.network.agent import Agent
from pongrad.network.batch_acting import ROWS
from pongrad.network.exploration import held_action
from pongrad.playing.rollout import Played, SerialisedRollouts, next_game
from pongrad.vision.frames import SIDE, STACK, Frames, FrameStack, Grey


def play_side_by_side(
    agent: Agent, games: Sequence[Game], steps: int, stride: int | None, hold_probability: float
) -> SerialisedRollouts:
    """Play so many steps in each slot.

    Args:
        agent: who plays.
        games: games that are not over, at most `ROWS`, each with another remainder of its number by `ROWS`
            if it is to be played in the same row wherever it is played.
        steps: at least 1.
        stride: a game that ends is followed by the `stride`-th after it; None: by none.
        hold_probability: how the agent explores, see `exploration.held_action`.

    Returns:
        The segments played in each slot, at least one.
    """
    assert isinstance(agent.vision, FrameStack)
    assert len(games) <= ROWS
    frame_buffer = batch_acting.FrameBuffer(agent.vision)
    emulators = _emulators(agent.game)
    rows = _rows(games)
    slots = [
        _Slot(agent, agent.vision, frame_buffer, row, emulators[row], game, stride, hold_probability)
        for row, game in zip(rows, games, strict=True)
    ]
    for _ in range(steps):
        playing = [slot for slot in slots if not slot.ended]
        if not playing:
            break
        for slot in playing:
            slot.begin()
        logits = batch_acting.logits(agent.network, frame_buffer, agent.logits)
        for slot in playing:
            slot.act(logits[slot.row])
    for slot in slots:
        slot.finish()
    return _serialise(slots)


def _rows(games: Sequence[Game]) -> list[int]:
    """Each game's row: by its number, or by its slot where two would have the same."""
    rows = [game.number % ROWS for game in games]
    return rows if len(set(rows)) == len(rows) else list(range(len(games)))


@functools.lru_cache(1)
def _emulators(game: str) -> list[Environment]:
    """An environment for each row, kept for the next call."""
    emulators = [environment.make(game) for _ in range(ROWS)]
    for emulator in emulators:
        emulator.show_greys()
    return emulators


class _Slot:
    """One row of the batch: a game, or one after the other, and what has been written down of it."""

    def __init__(
        self,
        agent: Agent,
        vision: FrameStack,
        frame_buffer: batch_acting.FrameBuffer,
        row: int,
        emulator: Environment,
        game: Game,
        stride: int | None,
        hold_probability: float,
    ) -> None:
        self.row = row
        self.ended = False
        self.segments: list[Played] = []
        self.frames: list[Grey] = []
        self.actions: list[float] = []
        self.log_probabilities: list[float] = []
        self.rewards: list[float] = []
        self.lives_lost: list[float] = []
        self._agent, self._vision, self._emulator, self._stride = agent, vision, emulator, stride
        self._frame_buffer, self._hold_probability = frame_buffer, hold_probability
        self._next: Game | None = game

    def begin(self) -> None:
        """Begin a segment if there is none; a game that goes another way than it went is restarted."""
        if self._next is None:
            return
        game, self._next = self._next, None
        start = clock()
        game = environment.resume(self._emulator, game)
        self._emulator_seconds = clock() - start
        self._game, self._step = game, game.step
        self._held = held_action(game, len(self._agent.actions), self._hold_probability)
        self._timings = self._emulator.timings(game)
        self._won, self._lost, self._lives = game.won, game.lost, self._emulator.lives()
        if game.step == 0:
            self._see()
        else:
            seen = np.frombuffer(game.now, np.uint8).reshape(STACK, SIDE, SIDE)
            self._frame_buffer.frames[self.row] = seen
        self.frames += [*self._frame_buffer.frames[self.row].copy()]

    def _see(self) -> None:
        assert self._emulator.greys is not None
        frame = np.empty((SIDE, SIDE), np.uint8)
        self._vision.frame(self._emulator.greys, frame)
        self._frame_buffer.add(self.row, frame, self._step)
        self._frame = frame

    def act(self, logits: NDArray[np.floating]) -> None:
        """Play one step, given the network's logits."""
        agent, emulator = self._agent, self._emulator
        likeliest = agent.greedy and not self._frame_buffer.stands_still(self.row, self._step)
        action, log_probability = batch_acting.choose(
            logits, self._game.stream, self._step, likeliest, self._held
        )
        start = clock()
        reward = emulator.act(agent.actions[action], next(self._timings))
        self._emulator_seconds += clock() - start
        self._won, self._lost = self._won + max(reward, 0), self._lost - min(reward, 0)
        lives = emulator.lives()
        self.actions.append(action)
        self.log_probabilities.append(log_probability)
        self.rewards.append(reward)
        self.lives_lost.append(lives < self._lives)
        self._lives = lives
        self._step += 1
        self._see()
        self.frames.append(self._frame)
        if emulator.over():
            self.finish()
            if self._stride is None:
                self.ended = True
            else:
                self._next = next_game(self._game, self._stride)

    def finish(self) -> None:
        """End the segment, unless it has ended."""
        steps = self._step - self._game.step
        if not steps:
            return
        now = self._frame_buffer.frames[self.row].tobytes()
        after = environment.after(
            self._emulator, self._game, step=self._step, now=now, won=self._won, lost=self._lost
        )
        self.segments.append((steps, after.frames - self._game.frames, self._emulator_seconds, after))
        for column in (self.actions, self.log_probabilities, self.rewards, self.lives_lost):
            column.append(False)  # in the row of what is seen next
        self._game = after


def _serialise(slots: Sequence[_Slot]) -> SerialisedRollouts:
    newest, first = [], 0
    for slot in slots:
        for steps, *_ in slot.segments:
            newest.append(np.arange(first + STACK - 1, first + STACK + steps))
            first += STACK + steps
    frames = np.stack([frame for slot in slots for frame in slot.frames])

    def column(name: str, kind: type) -> bytes:
        return np.concatenate([np.array(getattr(slot, name), kind) for slot in slots]).tobytes()

    return SerialisedRollouts(
        [slot.segments for slot in slots],
        Frames(frames, np.concatenate(newest)).to_bytes(),
        column("actions", np.uint8),
        column("log_probabilities", np.float64),
        column("rewards", np.float32),
        column("lives_lost", np.bool_),
        np.zeros(sum(len(slot.actions) for slot in slots), np.bool_).tobytes(),
    )
