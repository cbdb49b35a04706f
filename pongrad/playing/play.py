"""Playing: `play(agent, games, until)` turns games into rollouts and the games as they stand after.

It is a pure function. Nothing is kept between calls, so a piece of play can be done by any process, or
twice, and comes out the same; the emulator it is given is only a tool.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter as clock

import numpy as np
from numpy.typing import NDArray

from pongrad.games.emulator import Emulator, Game
from pongrad.network.acting import Record, decisions, new_record
from pongrad.network.agent import Agent
from pongrad.vision.inputs import Inputs
from pongrad.vision.preprocessing import Sight, Vision, new_sight


@dataclass(frozen=True)
class Rollout:
    """What playing a stretch of one game produced, step by step.

    Attributes:
        inputs: the network's sparse inputs.
        following: what it would have seen next, one step.
        actions: uint8, places in the agent's `actions`.
        log_probabilities: float64, the logarithms of the probabilities that they were drawn with.
        rewards: float32, points won or lost by the step.
        emulator_seconds: time spent inside the emulator.
    """

    inputs: Inputs
    following: Inputs
    actions: NDArray[np.uint8]
    log_probabilities: NDArray[np.float64]
    rewards: NDArray[np.float32]
    emulator_seconds: float

    def __len__(self) -> int:
        return len(self.actions)

    @staticmethod
    def join(parts: Sequence["Rollout"]) -> "Rollout":
        """Stretches of one game, in order, as one."""
        return Rollout(
            Inputs.join([part.inputs for part in parts]),
            parts[-1].following,
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.log_probabilities for part in parts]),
            np.concatenate([part.rewards for part in parts]),
            sum(part.emulator_seconds for part in parts),
        )


Stretch = tuple[Rollout, Game]
"""What playing a stretch of one game produced, and the game as it stands after it."""


@dataclass(frozen=True)
class Hand:
    """All that was played of some games, joined and as bytes: arrays take long to be sent to a process.

    Attributes:
        places: of each stretch in each place: its steps, its `emulator_seconds` and the game after it.
        offsets, pixels, values: the inputs of all steps of all stretches, each stretch followed by its
            `following`; see `Inputs`.
        actions, log_probabilities, rewards: as many; those of what was not played mean nothing.
    """

    places: list[list[tuple[int, float, Game]]]
    offsets: bytes
    pixels: bytes
    values: bytes
    actions: bytes
    log_probabilities: bytes
    rewards: bytes

    def stretches(self) -> list[list[Stretch]]:
        """The stretches played in each place; their arrays are read-only views."""
        inputs = Inputs(
            np.frombuffer(self.offsets, np.int64),
            np.frombuffer(self.pixels, np.uint16),
            np.frombuffer(self.values, np.int8),
        )
        actions = np.frombuffer(self.actions, np.uint8)
        log_probabilities = np.frombuffer(self.log_probabilities, np.float64)
        rewards = np.frombuffer(self.rewards, np.float32)
        places: list[list[Stretch]] = []
        start = 0
        for place in self.places:
            places.append([])
            for steps, emulator_seconds, game in place:
                end = start + steps
                rollout = Rollout(
                    inputs.stretch(start, end),
                    inputs.stretch(end, end + 1),
                    actions[start:end],
                    log_probabilities[start:end],
                    rewards[start:end],
                    emulator_seconds,
                )
                places[-1].append((rollout, game))
                start = end + 1
        return places


def play(
    agent: Agent, games: Sequence[Game], until: int, emulator: Emulator
) -> tuple[list[Rollout], list[Game]]:
    """Play each game on for `until` steps or to its end, whichever comes first.

    Args:
        agent: who plays; its `greedy` says how.
        games: games that are not over.
        until: steps, at least 1.
        emulator: any emulator of the games' cartridge.

    Returns:
        One rollout a game, and the games as they stand after.
    """
    player = _Player(agent, len(games) * (until + 1), emulator)
    stretches = player.hand([[player.play(game, until)] for game in games]).stretches()
    return [rollout for ((rollout, _),) in stretches], [game for ((_, game),) in stretches]


def play_on(agent: Agent, games: Sequence[Game], steps: int, stride: int, emulator: Emulator) -> Hand:
    """Play exactly `steps` steps in each place; a game that ends is followed by the `stride`-th after it.

    Returns:
        The stretches played in each place, at least one.
    """
    player = _Player(agent, len(games) * 2 * steps, emulator)  # should every game end at its first step
    places = []
    for game in games:
        place = []
        left = steps
        while left:
            place.append(player.play(game, left))
            played, _, game = place[-1]
            left -= played
            game = next_game(game, stride)
        places.append(place)
    return player.hand(places)


def next_game(game: Game, stride: int) -> Game:
    """The game to go on with in the place of this one."""
    return game.successor(stride) if game.over else game


class _Player:
    """An agent at an emulator, with room for so many steps of one game after another."""

    def __init__(self, agent: Agent, room: int, emulator: Emulator) -> None:
        self._agent = agent
        self._emulator = emulator
        self._eyes, self._view = agent.vision.eyes(emulator.screen), agent.vision.view
        self._sight, self._record, self._rewards = _memory(room, agent.vision)
        self._rewards[:] = 0
        self._screens = [memoryview(pixels) for pixels in self._sight[0]]
        self._is_over = np.zeros(1, np.bool_)
        self._row = 0

    def play(self, game: Game, until: int) -> tuple[int, float, Game]:
        """Play this game on for `until` steps or to its end; returns what `Hand.places` has of it."""
        emulator, agent = self._emulator, self._agent
        start = clock()
        emulator.restore(game)
        emulator_seconds = clock() - start
        counts, screens = self._sight[1], self._screens
        for screen, pixels in ((game.step, game.now), (game.step - 1, game.before)):
            on = memoryview(pixels).cast("H")
            screens[screen % 2][: len(on)] = on
            counts[screen % 2] = len(on)
        first, rewards, is_over = self._row, self._rewards, self._is_over
        is_over[0] = False
        actions = decisions(
            self._eyes,
            self._view,
            game.step == 0,  # else the screen is stale, and the game has brought what was on it
            self._sight,
            agent.mind(game.stream, agent.greedy),
            game.step,
            self._record,
            first,
            until,
            is_over,
        )
        act, over, choices = emulator.act, emulator.over, agent.actions
        won = lost = 0
        rows = range(first, first + until)
        for action, delay, row in zip(actions, emulator.delays(game, until), rows, strict=False):
            acting = clock()
            reward = act(choices[action], delay)
            emulator_seconds += clock() - acting
            if reward:
                rewards[row] = reward
                won, lost = won + max(reward, 0), lost - min(reward, 0)
            if over():
                is_over[0] = True
        steps = row + 1 - first
        now, before = (game.step + steps) % 2, (game.step + steps - 1) % 2
        after = game._replace(
            step=game.step + steps,
            emulator=emulator.save(),
            held=emulator.held,
            before=screens[before][: counts[before]].tobytes(),
            now=screens[now][: counts[now]].tobytes(),
            won=game.won + won,
            lost=game.lost + lost,
            over=over(),
        )
        self._row += steps + 1
        return steps, emulator_seconds, after

    def hand(self, places: list[list[tuple[int, float, Game]]]) -> Hand:
        """All that has been played."""
        offsets, pixels, values, actions, log_probabilities = self._record
        rows, inputs = self._row, self._record[0][self._row]
        return Hand(
            places,
            offsets[: rows + 1].tobytes(),
            pixels[:inputs].tobytes(),
            values[:inputs].tobytes(),
            actions[:rows].tobytes(),
            log_probabilities[:rows].tobytes(),
            self._rewards[:rows].tobytes(),
        )


@functools.lru_cache(1)
def _memory(steps: int, vision: Vision) -> tuple[Sight, Record, NDArray[np.float32]]:
    """Room to play so many steps in, used again: the system clears memory before it gives it away."""
    return new_sight(vision), new_record(steps, vision), np.zeros(steps, np.float32)
