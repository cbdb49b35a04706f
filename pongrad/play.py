"""Playing: `play(agent, games, until)` turns games into rollouts and the games as they stand after.

It is a pure function. Nothing is kept between calls, so a piece of play can be done by any process, or
twice, and comes out the same; the emulator it is given is only a tool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter as clock

import numpy as np
from numpy.typing import NDArray

from pongrad.agent import Agent
from pongrad.games import Emulator, Game
from pongrad.vision import Inputs, new_record, new_sight


@dataclass(frozen=True)
class Rollout:
    """What playing a stretch of one game produced, step by step.

    Attributes:
        inputs: the network's sparse inputs.
        following: what it would have seen next, one step.
        actions: uint8, places in the agent's `actions`.
        logits: float64, the network's logits of UP that they were drawn by.
        rewards: float32, points won or lost by the step.
        emulator_seconds: time spent inside the emulator.
    """

    inputs: Inputs
    following: Inputs
    actions: NDArray[np.uint8]
    logits: NDArray[np.float64]
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
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.rewards for part in parts]),
            sum(part.emulator_seconds for part in parts),
        )


Stretch = tuple[Rollout, Game]
"""What playing a stretch of one game produced, and the game as it stands after it."""


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
    player = _Player(agent, until, emulator)
    played = [player.play(game, until) for game in games]
    return [rollout for rollout, _ in played], [game for _, game in played]


def play_on(
    agent: Agent, games: Sequence[Game], steps: int, stride: int, emulator: Emulator
) -> list[list[Stretch]]:
    """Play exactly `steps` steps in each place; a game that ends is followed by the `stride`-th after it.

    Returns:
        The stretches played in each place, at least one.
    """
    player = _Player(agent, steps, emulator)
    places = []
    for game in games:
        stretches: list[Stretch] = []
        left = steps
        while left:
            stretches.append(player.play(game, left))
            left -= len(stretches[-1][0])
            game = next_game(stretches, stride)
        places.append(stretches)
    return places


def next_game(stretches: Sequence[Stretch], stride: int) -> Game:
    """The game to go on with in a place where these stretches were played."""
    game = stretches[-1][1]
    return game.successor(stride) if game.over else game


class _Player:
    """An agent at an emulator, with room for `steps` steps of one game after another."""

    def __init__(self, agent: Agent, steps: int, emulator: Emulator) -> None:
        self._agent = agent
        self._emulator = emulator
        self._eyes, self._view = agent.vision.eyes(emulator.screen), agent.vision.view
        self._sight, self._record = new_sight(agent.vision), new_record(steps + 1, agent.vision)

    def play(self, game: Game, until: int) -> Stretch:
        """Play this game on for `until` steps, at most those there is room for, or to its end."""
        start = clock()
        emulator = self._emulator
        emulator.restore(game)
        emulator_seconds = clock() - start
        seen, counts = sight = self._sight
        for screen, pixels in ((game.step, game.now), (game.step - 1, game.before)):
            seen[screen % 2, : len(pixels)] = pixels
            counts[screen % 2] = len(pixels)
        eyes, view, record, choices = self._eyes, self._view, self._record, self._agent.actions
        mind = self._agent.mind(game.stream, self._agent.greedy)
        rewards = np.zeros(until, np.float32)
        delays = emulator.delays(game, until)
        decide, act, over = self._agent.decider, emulator.act, emulator.over
        t = won = lost = 0
        is_new = game.step == 0  # else the screen is stale, and the game has brought what was on it
        while True:
            action = decide(eyes, view, is_new, sight, mind, game.step + t, record, t)
            if t == until or over():
                break  # it has seen what comes next, and that is all
            acting = clock()
            reward = act(choices[action], delays[t])
            emulator_seconds += clock() - acting
            if reward:
                rewards[t] = reward
                won, lost = won + max(reward, 0), lost - min(reward, 0)
            t += 1
            is_new = True
        now, before = (game.step + t) % 2, (game.step + t - 1) % 2
        after = replace(
            game,
            emulator=emulator.save(),
            held=emulator.held,
            before=seen[before, : counts[before]].copy(),
            now=seen[now, : counts[now]].copy(),
            step=game.step + t,
            won=game.won + won,
            lost=game.lost + lost,
            over=over(),
        )
        offsets, pixels, values, actions, logits = record
        inputs = Inputs(offsets, pixels, values)
        rollout = Rollout(
            inputs.stretch(0, t),
            inputs.stretch(t, t + 1),
            actions[:t].copy(),
            logits[:t].copy(),
            rewards[:t],
            emulator_seconds,
        )
        return rollout, after
