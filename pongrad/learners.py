"""From a recipe to what learns: a fresh agent, and the learner that improves it."""

import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.polynomial import legendre

from pongrad.agent import Agent
from pongrad.games import Game, Purpose, seed_sequence
from pongrad.network import Network, Part
from pongrad.optimisers import Optimiser
from pongrad.play import Rollout, Stretch, next_game
from pongrad.ppo import PPO
from pongrad.recipes import ACTIONS, Classic, Fast, Recipe
from pongrad.reinforce import Reinforce
from pongrad.vision import Vision
from pongrad.workers import Workers

ON_PIXELS = 20
"""So many pixels of both screens are on: recipe fast's hidden units begin as N(0, 1) before the ReLU."""

LOGIT_SCALE = 0.01
"""So that UP and DOWN are equally likely at first."""


class Learner(Protocol):
    """What the training loop needs of a learner."""

    @property
    def optimiser(self) -> Optimiser:
        """How the weights move, with what it remembers."""

    def add(self, rollout: Rollout, over: bool) -> None:
        """Take a stretch of a game; `over`: whether the game has ended with it."""

    def update(self, number: int, frames: int) -> dict[str, Any]:
        """Improve the weights by all that has been added, as update `number` after so many frames."""


def new_agent(config: Recipe) -> Agent:
    """An agent with random weights, as the recipe starts with."""
    rng = np.random.default_rng(seed_sequence(config.seed, Purpose.WEIGHTS))
    match config:
        case Fast():
            vision = Vision(outline=True, pair=True)
            network = Network.random((vision.size, config.num_hidden_layer_neurons, 2), rng)
            network.weights["W1"] *= np.sqrt(vision.size / ON_PIXELS)
            network.weights["W2"][:, 0] *= LOGIT_SCALE
        case Classic():
            vision = Vision()
            network = Network.random((vision.size, config.num_hidden_layer_neurons, 1), rng)
        case _:
            raise TypeError(config)
    return Agent(network, config.game, ACTIONS[config.game], vision)


def new_learner(config: Recipe, agent: Agent) -> Learner:
    """The recipe's learner, to improve this agent."""
    match config:
        case Fast():
            _share(agent, config)
            return PPO(agent.network, config)
        case Classic():
            return Reinforce(agent.network, config.gamma, config.learning_rate, config.decay_rate)
        case _:
            raise TypeError(config)


def _share(agent: Agent, config: Fast) -> None:
    """Let pixels that are neighbours or lie in one line learn together.

    To a weight of its own each pixel then adds its cell's, and parabolas along the two strips that cross in
    it: what lies between what along a line is nothing that a network with a weight for each pixel knows.
    """
    vision = agent.vision
    parts: list[Part] = [(vision.cells(config.cell_size), np.ones((vision.size, 1)))]
    for upright in (True, False):
        groups, places = vision.strips(config.strip_width, upright)
        parts.append((groups, legendre.legvander(places, 2)))
    agent.network.share(*parts)


def first_games(config: Recipe, purpose: Purpose = Purpose.TRAINING) -> list[Game]:
    """The games a run begins with."""
    return [Game(config.game, config.seed, purpose, number) for number in range(config.num_games)]


def play_for(
    learner: Learner | None,
    config: Recipe,
    workers: Workers,
    games: Sequence[Game],
    times: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[list[list[Stretch]]]:
    """Play what the recipe learns from, one update's worth after the other, and give it to the learner.

    Of each game that is a fixed length, played with the weights before the newest, or all of it, played with
    the newest.

    Args:
        learner: is given each stretch as soon as it is there; None: nobody.
        config: the recipe.
        workers: who plays.
        games: to begin with.
        times: how many updates' worth; None: until nobody asks for more.
        stopping: asked ten times a second whether to break off.

    Yields:
        What was played, as `Workers.advance` has it. Before asking for more, improve the weights and publish
        them.

    Raises:
        Interrupted, WorkersDied: see `Workers`.
    """
    if isinstance(config, Fast):
        for played in workers.advance(games, config.rollout_steps, times, stopping):
            _add(learner, itertools.chain(*played))
            yield played
        return
    for _ in itertools.count() if times is None else range(times):
        played = []
        for stretches in workers.finish(games, stopping):
            _add(learner, stretches)
            played.append(stretches)
        yield played
        games = next_games(played)


def _add(learner: Learner | None, stretches: Iterable[Stretch]) -> None:
    if learner:
        for rollout, game in stretches:
            learner.add(rollout, game.over)


def next_games(played: Sequence[Sequence[Stretch]]) -> list[Game]:
    """The games to go on with after all have been played on."""
    return [next_game(stretches, len(played)) for stretches in played]
