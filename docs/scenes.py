"""What the figures and widgets show: real games, a real run, committed results.

Everything here is deterministic: same seeds, same games. Each thing is made once and kept in memory; the run
is kept in docs/figures/run.
"""

# mypy: allow-untyped-calls

import functools
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import mistakes
import numpy as np
from numpy.typing import NDArray

from pongrad import Agent, Fast, classic, train
from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.runs import stages
from pongrad.runs.folder import RunFolder
from pongrad.views.moments import Moment, moments

Array = NDArray[Any]

DOCS = Path(__file__).parent
FIGURES = DOCS / "figures"
RESULTS = DOCS.parent / "benchmarks" / "results"
FRAMES = 1_000_000
"""Of the run: it has begun to win points, and still loses games."""


@functools.cache
def run() -> RunFolder:
    """A short run of recipe `fast`, seed 1: trained on the first call, resumed if it was stopped."""
    folder = FIGURES / "run"
    if not (folder / "summary.json").exists():
        train(Fast(seed=1, frames=FRAMES, run=folder, resume=(folder / "config.json").exists()))
    return RunFolder.open(folder)


@functools.cache
def ages() -> list[tuple[str, Agent]]:
    """The run's stages, untrained first, each with its label."""
    return [(stages.label(file), Agent.load(file)) for file in stages.files(run())]


@functools.cache
def lived() -> mistakes.Lived:
    """The first steps of a game that classic.py plays with its first weights."""
    return mistakes.play()


@dataclass(frozen=True, eq=False)
class Played:
    """A whole game of the run's last stage: the reward of each step [T], and its first screens."""

    rewards: Array
    screens: Array

    @property
    def returns(self) -> Array:
        """Discounted as in classic.py [T]."""
        return np.array(classic.discount(self.rewards))


KEPT = 120
"""Screens that are kept of a game."""


@functools.cache
def played() -> Played:
    """One game of Pong, with actions drawn, as in training."""
    gymnasium.register_envs(ale_py)
    env, agent = gymnasium.make("ALE/Pong-v5"), ages()[-1][1]
    screen, _ = env.reset(seed=1)
    agent.reset(seed=1)
    rewards: list[float] = []
    screens: list[Array] = []
    over = False
    while not over:
        if len(screens) < KEPT:
            screens.append(screen.copy())
        screen, reward, terminated, truncated, _ = env.step(agent.act(screen, greedy=False))
        rewards.append(float(reward))
        over = terminated or truncated
    return Played(np.array(rewards), np.array(screens))


def ball(screen: Array) -> Array:
    """Rows and columns of the ball's pixels [pixels, 2] in a screen of Pong; none between points."""
    white = (screen == 236).all(axis=2)
    white[:34] = white[194:] = False
    return np.argwhere(white)


def paddles(screen: Array) -> tuple[Array, Array]:
    """Rows and columns of the pixels of the agent's paddle and of the computer's, in a screen of Pong."""
    field = screen[35:194]
    agent, computer = (field == (92, 186, 92)).all(axis=2), (field == (213, 130, 74)).all(axis=2)
    first = np.array([35, 0])
    return np.argwhere(agent) + first, np.argwhere(computer) + first


@functools.cache
def in_play() -> int:
    """A step whose screen, and the one before, shows the ball and both paddles in the middle of the field."""

    def middle(screen: Array) -> bool:
        white, (green, orange) = ball(screen), paddles(screen)
        if not (len(white) and len(green) and len(orange) and 50 < white[0, 1] < 110):
            return False
        return all(60 < each[0, 0] < 160 for each in (white, green, orange))

    both = (i for i in range(1, KEPT) if all(map(middle, played().screens[i - 1 : i + 1])))
    return next(both)


@functools.cache
def processed() -> tuple[Array, Array]:
    """Of that step: the processed screen and the network's input, as classic.py makes them, [80, 80]."""
    before, now = played().screens[in_play() - 1 : in_play() + 1]
    x, on = classic.observe(now, classic.preprocess(before))
    return on.reshape(80, 80), x.reshape(80, 80)


def lived_by(agent: Agent, steps: int) -> list[Moment]:
    """The first steps of a new game of an agent's, each with what the network is given."""
    game = Game(agent.game, 1, Purpose.EVALUATION, 0)
    return list(itertools.islice(moments(agent, game, environment.make(agent.game)), steps))


def result(name: str) -> Any:
    """A committed result file."""
    return json.loads((RESULTS / f"{name}.json").read_text())
