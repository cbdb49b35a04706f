"""From a recipe to what learns: a fresh agent, and the learner that improves it."""

import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pongrad.games.environment import action_names
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose, seed_sequence
from pongrad.learning.ppo import PPO
from pongrad.learning.recipes import Classic, Fast, Recipe
from pongrad.learning.reinforce import Reinforce
from pongrad.network.agent import Agent
from pongrad.network.network import Network
from pongrad.playing.rollout import Rollout, Segment, next_game
from pongrad.playing.workers import Workers
from pongrad.vision.frames import FrameStack
from pongrad.vision.preprocessing import Vision
from pongrad.vision.survey import Survey, survey

FIRST_WEIGHTS = 0.05
"""Standard deviation of recipe fast's first weights: so small that what is learned soon outweighs them."""

LOGIT_SCALE = 0.01
"""Makes the first logits so small that all actions are about equally likely."""

ARTICLE_ACTIONS = (2, 3)
"""Gymnasium's numbers of the two actions that the article uses: up and down in Pong."""


class Learner(Protocol):
    """What the training loop needs of a learner."""

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What it remembers from update to update, the arrays themselves; a checkpoint keeps them."""

    @property
    def moved(self) -> dict[str, NDArray[np.bool_]]:
        """Name -> bool [rows], the rows of the weights that the last update has moved; not named: any."""

    def add(self, rollout: Rollout, terminated: bool) -> None:
        """Take a segment of a game; `terminated`: whether the game has ended with it by its own rules."""

    def update(self, number: int, frames: int) -> dict[str, Any]:
        """Improve the weights by all that has been added, as update `number` after so many frames."""


def new_agent(config: Recipe, seen: Survey | None = None) -> Agent:
    """An agent with random weights, as the recipe starts with.

    Args:
        config: the recipe.
        seen: what random play has shown of the game; None: play it now.
    """
    rng = np.random.default_rng(seed_sequence(config.seed, Purpose.WEIGHTS))
    names = action_names(config.environment)
    actions: Sequence[int]
    vision: Vision | FrameStack
    match config:
        case Fast():
            actions = tuple(names)
            seen = seen or survey(config.environment, config.seed)
            vision = seen.frames if config.network == "conv" else seen.vision
            network = _new_network(config, vision, len(names) + 1, rng)
            if config.network == "sparse":
                network.weights["W1"] *= FIRST_WEIGHTS * np.sqrt(vision.size)
            *_, last = (name for name in network.weights if name.startswith("W"))
            network.weights[last][:, :-1] *= LOGIT_SCALE
        case Classic():
            actions = ARTICLE_ACTIONS
            vision = Vision()
            if config.network == "conv":
                vision = (seen or survey(config.environment, config.seed)).frames
            network = _new_network(config, vision, 1, rng)
        case _:
            raise TypeError(config)
    return Agent(
        network,
        config.environment,
        tuple(actions),
        tuple(names[action] for action in actions),
        vision,
    )


def _new_network(
    config: Recipe, vision: Vision | FrameStack, outputs: int, rng: np.random.Generator
) -> Network:
    units = config.units, outputs
    if isinstance(vision, Vision):
        return Network.random((vision.size, *units), rng, biases=config.biases)
    convolutions = config.conv_filters, config.conv_kernels, config.conv_strides
    return Network.random_convolutional(*convolutions, units, rng, config.biases, vision.background_frame)


def new_learner(config: Recipe, agent: Agent, seen: Survey | None = None) -> Learner:
    """The recipe's learner, to improve this agent; `seen`: see `new_agent`."""
    match config:
        case Fast():
            seen = seen or survey(config.environment, config.seed)
            given = {"yes": True, "no": False}
            reward_ends = given.get(config.reward_ends_return, seen.plays_points and not seen.has_lives)
            life_loss_ends = given.get(config.life_loss_ends_return, seen.has_lives)
            return PPO(agent.network, agent.action_names, config, reward_ends, life_loss_ends)
        case Classic():
            rates = config.gamma, config.learning_rate, config.decay_rate
            return Reinforce(agent.network, agent.action_names, *rates)
        case _:
            raise TypeError(config)


def first_games(config: Recipe, purpose: Purpose = Purpose.TRAINING) -> list[Game]:
    """The games a run begins with."""
    return [Game(config.environment, config.seed, purpose, number) for number in range(config.num_games)]


def play_for(
    learner: Learner | None,
    config: Recipe,
    workers: Workers,
    games: Sequence[Game],
    times: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[list[list[Segment]]]:
    """Play what the recipe learns from, one update's worth after the other, and give it to the learner.

    For recipe `fast` that is a fixed number of steps of each game, played with the weights before the
    newest; for recipe `classic` all of each game, played with the newest.

    Args:
        learner: is given each segment as soon as it is there; None: nothing is learned.
        config: the recipe.
        workers: who plays.
        games: to begin with.
        times: how many updates' worth; None: until the iterator is closed.
        stopping: polled ten times a second; true cancels.

    Yields:
        What was played, as `Workers.collect_steps` has it. Before asking for more, improve the weights and
        publish them.

    Raises:
        Interrupted, WorkersDied: see `Workers`.
    """
    if isinstance(config, Fast):
        collected = workers.collect_steps(
            games, config.rollout_steps, times, stopping, config.hold_probability
        )
        for played in collected:
            _add(learner, itertools.chain(*played))
            yield played
        return
    for _ in itertools.count() if times is None else range(times):
        played = []
        for segments in workers.collect_episodes(games, stopping):
            _add(learner, segments)
            played.append(segments)
        yield played
        games = next_games(played)


def _add(learner: Learner | None, segments: Iterable[Segment]) -> None:
    if learner:
        for rollout, game in segments:
            learner.add(rollout, game.terminated)


def next_games(played: Sequence[Sequence[Segment]]) -> list[Game]:
    """The games that the next update begins with."""
    return [next_game(segments[-1][1], len(played)) for segments in played]
