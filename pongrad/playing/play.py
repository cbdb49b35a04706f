"""Playing: `play(agent, games, until)` turns games into rollouts and the games as they stand after.

It is a pure function. Nothing is kept between calls, so a piece of play can be done by any process, or
twice, and comes out the same; the environment it is given is only a tool.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter as clock

import numpy as np
from numpy.typing import NDArray

from pongrad.games.environment import Environment, NotDeterministic
from pongrad.games.game import Game
from pongrad.ground.errors import UserError
from pongrad.network.acting import RolloutBuffer, new_rollout_buffer, policy_loop
from pongrad.network.agent import Agent
from pongrad.vision.inputs import Inputs
from pongrad.vision.preprocessing import FrameBuffer, Vision, new_frame_buffer


@dataclass(frozen=True)
class Rollout:
    """What playing a segment of one game produced, step by step.

    Attributes:
        inputs: the network's sparse inputs.
        next_observation: the network's input after the last step, one step.
        actions: uint8, places in the agent's `actions`.
        log_probabilities: float64, the logarithms of the probabilities that they were drawn with.
        rewards: float32, points won or lost by the step.
        lives_lost: bool, whether the step has cost a life.
        crowded: bool, whether inputs may have been left out, see `preprocessing.observe`.
        frames: how many all steps together have played.
        emulator_seconds: time spent inside the environment.
    """

    inputs: Inputs
    next_observation: Inputs
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
            Inputs.join([part.inputs for part in parts]),
            parts[-1].next_observation,
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.log_probabilities for part in parts]),
            np.concatenate([part.rewards for part in parts]),
            np.concatenate([part.lives_lost for part in parts]),
            np.concatenate([part.crowded for part in parts]),
            sum(part.frames for part in parts),
            sum(part.emulator_seconds for part in parts),
        )


Segment = tuple[Rollout, Game]
"""What playing a segment of one game produced, and the game as it stands after it."""


@dataclass(frozen=True)
class SerialisedRollouts:
    """Serialised rollouts of several games: a few bytes objects are sent faster than many arrays.

    Attributes:
        places: of each segment in each place: its steps, `frames`, `emulator_seconds` and the game after it.
        offsets, pixels, values: the inputs of all steps of all segments, each segment followed by its
            `next_observation`; see `Inputs`.
        actions, log_probabilities, rewards, lives_lost, crowded: as many; entries of the rows of
            `next_observation` are undefined.
    """

    places: list[list["_Played"]]
    offsets: bytes
    pixels: bytes
    values: bytes
    actions: bytes
    log_probabilities: bytes
    rewards: bytes
    lives_lost: bytes
    crowded: bytes

    def segments(self) -> list[list[Segment]]:
        """The segments played in each place; their arrays are read-only views."""
        inputs = Inputs(
            np.frombuffer(self.offsets, np.int64),
            np.frombuffer(self.pixels, np.uint16),
            np.frombuffer(self.values, np.int8),
        )
        actions = np.frombuffer(self.actions, np.uint8)
        log_probabilities = np.frombuffer(self.log_probabilities, np.float64)
        rewards = np.frombuffer(self.rewards, np.float32)
        lives_lost = np.frombuffer(self.lives_lost, np.bool_)
        crowded = np.frombuffer(self.crowded, np.bool_)
        places: list[list[Segment]] = []
        start = 0
        for place in self.places:
            places.append([])
            for steps, frames, emulator_seconds, game in place:
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
                places[-1].append((rollout, game))
                start = end + 1
        return places


_Played = tuple[int, int, float, Game]
"""A segment's steps, frames and seconds in the environment, and the game after it."""


def play(
    agent: Agent, games: Sequence[Game], until: int, emulator: Environment
) -> tuple[list[Rollout], list[Game]]:
    """Play each game on for `until` steps or to its end, whichever comes first.

    Args:
        agent: who plays; its `greedy` says how.
        games: games that are not over.
        until: steps, at least 1.
        emulator: any environment that plays these games.

    Returns:
        One rollout a game, and the games as they stand after.
    """
    player = _Player(agent, len(games) * (until + 1), emulator)
    segments = player.serialise([[player.play(game, until)] for game in games]).segments()
    return [rollout for ((rollout, _),) in segments], [game for ((_, game),) in segments]


def play_on(
    agent: Agent, games: Sequence[Game], steps: int, stride: int, emulator: Environment
) -> SerialisedRollouts:
    """Play exactly `steps` steps in each place; a game that ends is followed by the `stride`-th after it.

    Returns:
        The segments played in each place, at least one.
    """
    player = _Player(agent, len(games) * 2 * steps, emulator)  # should every game end at its first step
    places = []
    for game in games:
        place = []
        left = steps
        while left:
            place.append(player.play(game, left))
            played, *_, game = place[-1]
            left -= played
            game = next_game(game, stride)
        places.append(place)
    return player.serialise(places)


def next_game(game: Game, stride: int) -> Game:
    """The game that follows in the place of this one: itself while it is not over."""
    return game.successor(stride) if game.over else game


class _Player:
    """An agent in an environment, with room for so many steps of one game after another."""

    def __init__(self, agent: Agent, room: int, emulator: Environment) -> None:
        self._agent = agent
        self._emulator = emulator
        self._preprocessing_args = agent.vision.preprocessing_args(emulator.screen)
        self._input_args = agent.vision.input_args
        self._frame_buffer, self._rollout_buffer, self._rewards, self._lives_lost = _memory(
            room, agent.vision
        )
        self._rewards[:] = 0
        self._lives_lost[:] = False
        self._screens = [memoryview(pixels) for pixels in self._frame_buffer[0]]
        self._is_over = np.zeros(1, np.bool_)
        self._row = 0

    def play(self, game: Game, until: int) -> _Played:
        """Play this game for `until` more steps or to its end.

        If it goes another way than it went, it is restarted.
        """
        emulator, agent = self._emulator, self._agent
        start = clock()
        try:
            emulator.restore(game)
        except NotDeterministic:
            game = game.restarted()
            emulator.restore(game)
        emulator_seconds = clock() - start
        counts, screens = self._frame_buffer[1], self._screens
        for screen, pixels in ((game.step, game.now), (game.step - 1, game.before)):
            on = memoryview(pixels).cast("H")
            screens[screen % 2][: len(on)] = on
            counts[screen % 2] = len(on)
        first, rewards, is_over = self._row, self._rewards, self._is_over
        is_over[0] = False
        actions = policy_loop(
            self._preprocessing_args,
            self._input_args,
            game.step == 0,  # else the screen is stale, and the game has brought what was on it
            self._frame_buffer,
            agent.policy_args(game.stream, agent.greedy),
            game.step,
            self._rollout_buffer,
            first,
            until,
            is_over,
        )
        act, over, lives, choices = emulator.act, emulator.over, emulator.lives, agent.actions
        won, lost, left = game.won, game.lost, lives()
        rows = range(first, first + until)
        for action, timing, row in zip(actions, emulator.timings(game), rows, strict=False):
            acting = clock()
            reward = act(choices[action], timing)
            emulator_seconds += clock() - acting
            if reward:
                rewards[row] = reward
                won, lost = won + max(reward, 0), lost - min(reward, 0)
            if lives() != left:
                self._lives_lost[row] = lives() < left
                left = lives()
            if over():
                is_over[0] = True
        if not math.isfinite(won + lost):
            raise UserError(f"{game.id} gives rewards that are not finite numbers: it cannot be learned")
        steps = row + 1 - first
        now, before = (game.step + steps) % 2, (game.step + steps - 1) % 2
        after = game._replace(
            step=game.step + steps,
            frames=emulator.frames(),
            state=emulator.save(),
            last_action=emulator.last_action,
            before=screens[before][: counts[before]].tobytes(),
            now=screens[now][: counts[now]].tobytes(),
            won=won,
            lost=lost,
            terminated=emulator.terminated(),
            truncated=emulator.truncated(),
        )
        self._row += steps + 1
        return steps, after.frames - game.frames, emulator_seconds, after

    def serialise(self, places: list[list[_Played]]) -> SerialisedRollouts:
        """All that has been played."""
        offsets, pixels, values, actions, log_probabilities, crowded = self._rollout_buffer
        rows, inputs = self._row, self._rollout_buffer[0][self._row]
        return SerialisedRollouts(
            places,
            offsets[: rows + 1].tobytes(),
            pixels[:inputs].tobytes(),
            values[:inputs].tobytes(),
            actions[:rows].tobytes(),
            log_probabilities[:rows].tobytes(),
            self._rewards[:rows].tobytes(),
            self._lives_lost[:rows].tobytes(),
            crowded[:rows].tobytes(),
        )


_Memory = tuple[FrameBuffer, RolloutBuffer, NDArray[np.float32], NDArray[np.bool_]]


@functools.lru_cache(1)
def _memory(steps: int, vision: Vision) -> _Memory:
    """Room to play so many steps in, used again: the system clears memory before it gives it away."""
    rollout_buffer = new_rollout_buffer(steps, vision)
    return new_frame_buffer(vision), rollout_buffer, np.zeros(steps, np.float32), np.zeros(steps, np.bool_)
