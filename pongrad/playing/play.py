"""Playing: `play(agent, games, until)` turns games into rollouts and the games as they stand after.

It is a pure function. Nothing that matters is kept between calls, so a piece of play can be done by any
process, or twice, and comes out the same; the environment it is given is only a tool.
"""

import functools
from collections.abc import Sequence
from time import perf_counter as clock

import numpy as np
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.games.environment import Environment
from pongrad.games.game import Game
from pongrad.network.acting import RolloutBuffer, new_rollout_buffer, policy_loop
from pongrad.network.agent import Agent
from pongrad.network.batch_acting import ROWS
from pongrad.network.exploration import held_action
from pongrad.playing.rollout import Played, Rollout, SerialisedRollouts, next_game
from pongrad.playing.side_by_side import play_side_by_side
from pongrad.vision.frames import FrameStack
from pongrad.vision.inputs import Inputs
from pongrad.vision.preprocessing import ScreenBuffer, Vision, new_screen_buffer


def play(
    agent: Agent, games: Sequence[Game], until: int, emulator: Environment
) -> tuple[list[Rollout], list[Game]]:
    """Play each game on for `until` steps or to its end, whichever comes first.

    Args:
        agent: who plays; its `greedy` says how.
        games: games that are not over.
        until: steps, at least 1.
        emulator: any environment that plays these games; games side by side have others, which are kept.

    Returns:
        One rollout a game, and the games as they stand after.
    """
    if isinstance(agent.vision, FrameStack):
        groups = [games[i : i + ROWS] for i in range(0, len(games), ROWS)]
        played = [play_side_by_side(agent, group, until, None, 0.0) for group in groups]
    else:
        player = _Player(agent, agent.vision, len(games) * (until + 1), emulator)
        played = [player.serialise([[player.play(game, until)] for game in games])]
    segments = [slot for part in played for slot in part.segments()]
    return [rollout for ((rollout, _),) in segments], [game for ((_, game),) in segments]


def play_without_rollouts(
    agent: Agent, games: Sequence[Game], until: int, emulator: Environment
) -> tuple[list[None], list[Game]]:
    """What `play` does, where only the games matter: rollouts of frames are large."""
    _, ends = play(agent, games, until, emulator)
    return [None] * len(games), ends


def play_on(
    agent: Agent,
    games: Sequence[Game],
    steps: int,
    stride: int,
    hold_probability: float,
    emulator: Environment,
) -> SerialisedRollouts:
    """Play exactly `steps` steps in each slot; a game that ends is followed by the `stride`-th after it.

    Args:
        agent, games, emulator: see `play`.
        steps: at least 1.
        stride: between the number of a game and of the one that follows it.
        hold_probability: how the agent explores, see `exploration.held_action`.

    Returns:
        The segments played in each slot, at least one.
    """
    if isinstance(agent.vision, FrameStack):
        return play_side_by_side(agent, games, steps, stride, hold_probability)
    room = len(games) * 2 * steps  # should every game end at its first step
    player = _Player(agent, agent.vision, room, emulator)
    slots = []
    for game in games:
        slot = []
        left = steps
        while left:
            slot.append(player.play(game, left, hold_probability))
            played, *_, game = slot[-1]
            left -= played
            game = next_game(game, stride)
        slots.append(slot)
    return player.serialise(slots)


class _Player:
    """An agent in an environment, with room for so many steps of one game after another."""

    def __init__(self, agent: Agent, vision: Vision, room: int, emulator: Environment) -> None:
        self._agent = agent
        self._emulator = emulator
        self._preprocessing_args = vision.preprocessing_args(emulator.screen)
        self._input_args = vision.input_args
        self._screen_buffer, self._rollout_buffer, self._rewards, self._lives_lost = _memory(room, vision)
        self._rewards[:] = 0
        self._lives_lost[:] = False
        self._screens = [memoryview(pixels) for pixels in self._screen_buffer[0]]
        self._is_over = np.zeros(1, np.bool_)
        self._row = 0

    def play(self, game: Game, until: int, hold_probability: float = 0.0) -> Played:
        """Play this game for `until` more steps or to its end.

        If it goes another way than it went, it is restarted.
        """
        emulator, agent = self._emulator, self._agent
        start = clock()
        game = environment.resume(emulator, game)
        emulator_seconds = clock() - start
        held = held_action(game, len(agent.actions), hold_probability)
        counts, screens = self._screen_buffer[1], self._screens
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
            self._screen_buffer,
            agent.policy_args(game.stream, agent.greedy, held),
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
        steps = row + 1 - first
        now, before = (game.step + steps) % 2, (game.step + steps - 1) % 2
        after = environment.after(
            emulator,
            game,
            step=game.step + steps,
            before=screens[before][: counts[before]].tobytes(),
            now=screens[now][: counts[now]].tobytes(),
            won=won,
            lost=lost,
        )
        self._row += steps + 1
        return steps, after.frames - game.frames, emulator_seconds, after

    def serialise(self, slots: list[list[Played]]) -> SerialisedRollouts:
        """All that has been played."""
        indptr, indices, values, actions, log_probabilities, crowded = self._rollout_buffer
        rows, inputs = self._row, self._rollout_buffer[0][self._row]
        return SerialisedRollouts(
            slots,
            Inputs(indptr[: rows + 1], indices[:inputs], values[:inputs]).to_bytes(),
            actions[:rows].tobytes(),
            log_probabilities[:rows].tobytes(),
            self._rewards[:rows].tobytes(),
            self._lives_lost[:rows].tobytes(),
            crowded[:rows].tobytes(),
        )


_Memory = tuple[ScreenBuffer, RolloutBuffer, NDArray[np.float32], NDArray[np.bool_]]


@functools.lru_cache(1)
def _memory(steps: int, vision: Vision) -> _Memory:
    """Room to play so many steps in, used again: the system clears memory before it gives it away."""
    rollout_buffer = new_rollout_buffer(steps, vision)
    return new_screen_buffer(vision), rollout_buffer, np.zeros(steps, np.float32), np.zeros(steps, np.bool_)
