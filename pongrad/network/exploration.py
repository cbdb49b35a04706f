"""Exploration where a game gives no reward: an action is held for a while.

Random play changes its mind at every step, and some games reward only what takes longer: in Enduro a car has
to gather speed before it passes another, in Freeway a chicken has to cross ten lanes. So in every second
game, if it has had no reward in its first `QUIET_STEPS` steps, an action is drawn, all as likely, and held
for `HOLD_STEPS` steps: each of them takes it with a certain probability, else what the policy draws. Then
another is drawn. This is akin to the temporally extended epsilon-greedy exploration of Dabney, Ostrovski and
Barreto 2021, who hold actions for random times. `ppo` says how it is learned from. The other games are the
policy's own, so what rewards only a good end is learned too.

Whether and what is held is looked up once an update: see `held_action`.
"""

import numpy as np

from pongrad.games.game import Game
from pongrad.games.randomness import uniform

QUIET_STEPS = 1000
"""A game that has had no reward in so many steps, its first ones, has actions held."""
HOLD_STEPS = 256
"""An action is held for so many steps."""
_FIRST_DRAW = 2**40
"""Numbers of a game's random stream from here on draw actions to hold; a game has far fewer steps."""

Held = tuple[int, float]
"""The index of an action that is held, and the probability that a step takes it."""

NOT_HELD: Held = 0, 0.0


def held_action(game: Game, actions: int, probability: float) -> Held:
    """What is held while this game is played on, for the few steps that an update learns from.

    Args:
        game: as it stands before them.
        actions: how many there are.
        probability: that a step takes the action that is held.
    """
    if game.number % 2 or game.step < QUIET_STEPS or game.won or game.lost:
        return NOT_HELD
    draw = uniform(game.stream, np.uint64(_FIRST_DRAW + game.step // HOLD_STEPS))
    return int(draw * actions), probability
