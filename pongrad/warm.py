"""Compile the inner loops ahead: `python -m pongrad.warm`, once after installing.

Numba keeps the machine code on disk, so no training run has to wait for it.
"""

import numpy as np

from pongrad.agent import Agent
from pongrad.games import Emulator, Game, Purpose
from pongrad.network import Network
from pongrad.play import play
from pongrad.recipes import ACTIONS, Classic
from pongrad.reinforce import Reinforce
from pongrad.vision import Vision


def warm() -> None:
    """Run a few real steps and one update, with the types that training uses."""
    config = Classic()
    network = Network.random((Vision().size, 4, 1), np.random.default_rng(0))
    agent = Agent(network, config.game, ACTIONS[config.game])
    learner = Reinforce(network, config.gamma, config.learning_rate, config.decay_rate)
    game = Game(config.game, 0, Purpose.BENCHMARK, 0)
    (rollout,), _ = play(agent, [game], 3, Emulator(config.game))
    learner.add(rollout)
    learner.update()


if __name__ == "__main__":
    warm()
