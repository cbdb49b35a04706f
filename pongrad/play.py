"""Playing: `play(agent, games, until)` turns games into rollouts and the games as they stand after.

It is a pure function. Nothing is kept between calls, so a piece of play can be done by any process, or
twice, and comes out the same; the emulator it is given is only a tool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter as clock

import numpy as np
from numpy.typing import NDArray

from pongrad import kernels
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
        seconds: time it took to play.
        emulator_seconds: the share of it spent inside the emulator.
    """

    inputs: Inputs
    following: Inputs
    actions: NDArray[np.uint8]
    logits: NDArray[np.float64]
    rewards: NDArray[np.float32]
    seconds: float
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
            sum(part.seconds for part in parts),
            sum(part.emulator_seconds for part in parts),
        )


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
    played = [_play_one(agent, game, until, emulator) for game in games]
    return [rollout for rollout, _ in played], [game for _, game in played]


Stretch = tuple[Rollout, Game]
"""What playing a stretch of one game produced, and the game as it stands after it."""


def play_on(
    agent: Agent, games: Sequence[Game], steps: int, stride: int, emulator: Emulator
) -> list[list[Stretch]]:
    """Play exactly `steps` steps in each place; a game that ends is followed by the `stride`-th after it.

    Returns:
        The stretches played in each place, at least one.
    """
    places = []
    for game in games:
        stretches: list[Stretch] = []
        left = steps
        while left:
            (rollout,), (game,) = play(agent, [game], left, emulator)
            stretches.append((rollout, game))
            left -= len(rollout)
            game = next_game(stretches, stride)
        places.append(stretches)
    return places


def next_game(stretches: Sequence[Stretch], stride: int) -> Game:
    """The game to go on with in a place where these stretches were played."""
    game = stretches[-1][1]
    return game.successor(stride) if game.over else game


def _play_one(agent: Agent, game: Game, until: int, emulator: Emulator) -> tuple[Rollout, Game]:
    start = clock()
    emulator.restore(game)
    emulator_seconds = clock() - start
    sight = seen, counts = new_sight(agent.vision)
    for screen, pixels in ((game.step, game.now), (game.step - 1, game.before)):
        seen[screen % 2, : len(pixels)] = pixels
        counts[screen % 2] = len(pixels)
    eyes, view = agent.vision.eyes(emulator.screen), agent.vision.view
    mind = agent.mind(game.stream, agent.greedy)
    record = offsets, pixels, values, actions, logits = new_record(until + 1, agent.vision)
    rewards = np.zeros(until, np.float32)
    delays = emulator.delays(game, until)
    t = won = lost = 0
    is_new = game.step == 0  # else the screen is stale, and the game has brought what was on it
    while t < until and not emulator.over():
        action = kernels.decide(eyes, view, is_new, sight, mind, game.step + t, record, t)
        acting = clock()
        reward = emulator.act(agent.actions[action], delays[t])
        emulator_seconds += clock() - acting
        if reward:
            rewards[t] = reward
            won, lost = won + max(reward, 0), lost - min(reward, 0)
        t += 1
        is_new = True
    step = game.step + t
    counts[step % 2] = kernels.look(eyes, seen[step % 2])
    end = offsets[t]
    following = kernels.observe(view, sight, step, pixels[end:], values[end:])
    after = replace(
        game,
        emulator=emulator.save(),
        held=emulator.held,
        before=seen[1 - step % 2, : counts[1 - step % 2]].copy(),
        now=seen[step % 2, : counts[step % 2]].copy(),
        step=step,
        won=game.won + won,
        lost=game.lost + lost,
        over=emulator.over(),
    )
    return Rollout(
        Inputs(offsets[: t + 1], pixels[:end].copy(), values[:end].copy()),
        Inputs(
            np.array([0, following]),
            pixels[end : end + following].copy(),
            values[end : end + following].copy(),
        ),
        actions[:t],
        logits[:t],
        rewards[:t],
        clock() - start,
        emulator_seconds,
    ), after
