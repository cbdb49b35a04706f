"""Rollouts: what playing has produced, for the learner, and how it is sent from one process to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.games.game import Game
from pongrad.vision.frames import Frames
from pongrad.vision.inputs import Inputs


@dataclass(frozen=True)
class Rollout:
    """What playing a segment of one game produced, step by step.

    Attributes:
        inputs: the network's inputs.
        next_observation: the network's input after the last step, one step.
        actions: uint8, indices into the agent's `actions`.
        log_probabilities: float64, the logarithms of the probabilities that they were drawn with.
        rewards: float32, points won or lost by the step.
        lives_lost: bool, whether the step has cost a life.
        crowded: bool, whether the screen was crowded, see `preprocessing.observe`.
        frames: how many all steps together have played.
        emulator_seconds: time spent inside the environment.
    """

    inputs: Inputs | Frames
    next_observation: Inputs | Frames
    actions: NDArray[np.uint8]
    log_probabilities: NDArray[np.float64]
    rewards: NDArray[np.float32]
    lives_lost: NDArray[np.bool_]
    crowded: NDArray[np.bool_]
    frames: int
    emulator_seconds: float

    def __len__(self) -> int:
        return len(self.actions)

    @staticmethod
    def join(parts: Sequence["Rollout"]) -> "Rollout":
        """Segments of one game, in order, as one."""
        return Rollout(
            join([part.inputs for part in parts]),
            parts[-1].next_observation,
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.log_probabilities for part in parts]),
            np.concatenate([part.rewards for part in parts]),
            np.concatenate([part.lives_lost for part in parts]),
            np.concatenate([part.crowded for part in parts]),
            sum(part.frames for part in parts),
            sum(part.emulator_seconds for part in parts),
        )


def join(parts: Sequence[Any]) -> Any:
    """All steps of all parts, either all `Inputs` or all `Frames`, in order."""
    return type(parts[0]).join(parts)


Segment = tuple[Rollout, Game]
"""What playing a segment of one game produced, and the game as it stands after it."""


@dataclass(frozen=True)
class SerialisedRollouts:
    """Serialised rollouts of several games: a few bytes objects are sent faster than many arrays.

    Attributes:
        slots: of each segment in each slot: its steps, `frames`, `emulator_seconds` and the game after it.
        inputs: the inputs of all steps of all segments, each segment followed by its `next_observation`; the
            arrays of `Inputs` or of `Frames`.
        actions, log_probabilities, rewards, lives_lost, crowded: as many; entries of the rows of
            `next_observation` are undefined.
    """

    slots: list[list["Played"]]
    inputs: tuple[bytes, ...]
    actions: bytes
    log_probabilities: bytes
    rewards: bytes
    lives_lost: bytes
    crowded: bytes

    def segments(self) -> list[list[Segment]]:
        """The segments played in each slot; their arrays are read-only views."""
        inputs: Any = (Inputs if len(self.inputs) == 3 else Frames).from_bytes(*self.inputs)
        actions = np.frombuffer(self.actions, np.uint8)
        log_probabilities = np.frombuffer(self.log_probabilities, np.float64)
        rewards = np.frombuffer(self.rewards, np.float32)
        lives_lost = np.frombuffer(self.lives_lost, np.bool_)
        crowded = np.frombuffer(self.crowded, np.bool_)
        slots: list[list[Segment]] = []
        start = 0
        for slot in self.slots:
            slots.append([])
            for steps, frames, emulator_seconds, game in slot:
                end = start + steps
                rollout = Rollout(
                    inputs.slice(start, end),
                    inputs.slice(end, end + 1),
                    actions[start:end],
                    log_probabilities[start:end],
                    rewards[start:end],
                    lives_lost[start:end],
                    crowded[start:end],
                    frames,
                    emulator_seconds,
                )
                slots[-1].append((rollout, game))
                start = end + 1
        return slots


Played = tuple[int, int, float, Game]
"""A segment's steps, frames and seconds in the environment, and the game after it."""


def next_game(game: Game, stride: int) -> Game:
    """The game that follows in the slot of this one: itself while it is not over."""
    return game.successor(stride) if game.over else game
