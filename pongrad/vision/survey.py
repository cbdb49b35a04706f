"""How to look at a game, found out by playing it at random for a short while.

A place's most frequent colour is background; rows at the top that show the score, lives or a clock are left
out; the colours that move fall into classes.
"""

import functools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.games.colours import CLASSES, grey, packed, padded, stride_for
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose, seed_sequence
from pongrad.ground.compiled import compiled
from pongrad.vision.frames import SIDE, FrameStack
from pongrad.vision.pixels import OFF
from pongrad.vision.preprocessing import Vision

STEPS = 1500
"""Steps of random play; after a game's end comes the next."""

SELDOM = 0.05
"""A colour that moves in a smaller share of the steps has no class of its own."""

FLASH = 0.5
"""What fills a larger share of a screen, and is nowhere the most frequent colour, is a flash."""

OFTEN = 0.1
"""Rows that change in a larger share of the steps show something that moves."""

EDGE = 3
"""Rows that stand still below a score, at least: what shows the score lies apart."""

POINT_FRAMES = 60
"""Where the next reward comes sooner than that, a reward is not what ends a point: a punch in Boxing."""

REWARD_SHOWS = 8
"""Frames after a reward within which the score shows it."""


class Survey(NamedTuple):
    """What random play has shown of a game.

    Attributes:
        vision: how to look at it.
        frames: how to look at it with a convolutional network.
        has_lives: whether it has lives to lose.
        plays_points: whether it is played point by point: points can be lost, and none comes soon after
            another.
    """

    vision: Vision
    frames: FrameStack
    has_lives: bool
    plays_points: bool

    def description(self) -> dict[str, Any]:
        """All of it as JSON can hold it; see `from_description`."""
        seen = {"vision": self.vision.description(), "frames": self.frames.description()}
        return self._asdict() | seen

    @staticmethod
    def from_description(description: dict[str, Any]) -> "Survey":
        """The survey that was described.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        vision = Vision.from_description(description["vision"])
        frames = FrameStack.from_description(description["frames"])
        seen = Survey(**description | {"vision": vision, "frames": frames})
        if type(seen.has_lives) is not bool or type(seen.plays_points) is not bool:
            raise TypeError("a survey with answers that are neither true nor false")
        return seen


@functools.lru_cache(16)
def survey(game: str, seed: int) -> Survey:
    """Play a game at random.

    Args:
        game: see `environment.name`.
        seed: what the random play comes from; the same seed gives the same survey.

    Raises:
        UserError: see `environment.make`.
    """
    env = environment.make(game)
    rng = np.random.default_rng(seed_sequence(seed, Purpose.SURVEY))
    actions = tuple(env.action_names)
    height, width, *_ = env.picture().shape
    stride = stride_for(height, width)
    counts = np.zeros((len(range(0, height, stride)), padded(width) // stride, 256), np.uint16)
    frames = FrameStack(height, width)
    frame, greys = np.empty((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE, 256), np.uint16)
    largest = np.zeros(256)  # share of a screen that each colour fills
    changed, moved = np.zeros((2, len(counts)), np.bool_)
    changes = np.zeros(len(counts), np.int64)  # steps in which each row changed, but for those with a reward
    screens: list[NDArray[np.uint8]] = []
    palette: dict[int, int] = {}
    has_lives = loses_points = False
    soonest = math.inf  # frames from one reward to the next

    def look() -> NDArray[np.uint8]:
        screen = env.screen[::stride, ::stride].copy()
        pixels = np.bincount(screen.ravel(), minlength=256)
        np.maximum(largest, pixels / screen.size, out=largest)
        if env.has_palette and (new := set(pixels.nonzero()[0].tolist()) - palette.keys()):
            rgb = packed(env.picture()[::stride, ::stride])
            palette.update({colour: int(rgb[screen == colour][0]) for colour in new})
        return screen

    number = 0
    while len(screens) < STEPS:
        first_game = Game(game, seed, Purpose.SURVEY, number)
        env.restore(first_game)
        look()
        before, rewarded = None, -POINT_FRAMES  # a game's first screen may look like no other
        just_changed = np.zeros(len(counts), np.bool_)
        for timing in env.timings(first_game):
            reward = env.act(actions[rng.integers(len(actions))], timing)
            screen = look()
            if reward != 0:
                soonest = min(soonest, env.frames() - rewarded)
                rewarded = env.frames()
            if before is not None:
                changes_now = (screen != before).any(axis=1)
                changed |= changes_now
                changes_now &= env.frames() > rewarded + REWARD_SHOWS
                changes += changes_now
                moved |= changes_now & just_changed
                just_changed = changes_now
            before = screen
            has_lives |= env.lives() > 0
            loses_points |= reward < 0
            screens.append(screen)
            _count(screen, counts)
            brightness = grey(env.picture())
            frames.frame(np.array([brightness, brightness]), frame)
            _count(frame, greys)
            if env.over() or len(screens) == STEPS:
                break
        number += 1
    first = _below_the_score(changed, moved | (changes > OFTEN * STEPS))
    background = counts.argmax(axis=2).astype(np.uint8)
    flashes = [colour for colour in range(256) if largest[colour] > FLASH and colour not in background]
    background = background[first:]
    classes = _classes(np.array(screens)[:, first:], background, flashes)
    vision = Vision(
        height,
        width,
        first * stride,
        height,
        stride,
        background.tobytes(),
        classes.tobytes(),
        tuple(sorted((rgb, colour) for colour, rgb in palette.items())),
        offsets=True,
    )
    frames = replace(frames, background=greys.argmax(axis=2).astype(np.uint8).tobytes())
    return Survey(vision, frames, has_lives, loses_points and soonest >= POINT_FRAMES)


def _below_the_score(changed: NDArray[np.bool_], moved: NDArray[np.bool_]) -> int:
    """The first row that is looked at: below what shows the score, lives or a clock, in the upper quarter.

    What moves changes its rows in one step after the other. Digits flip: with a reward, or once in a while.

    Args:
        changed: bool [rows], those that changed.
        moved: bool [rows], those that changed often, or in two successive steps, without a reward.
    """
    top = 0
    for row in range(1, len(moved) // 4):
        if moved[row - 1]:
            break
        if changed[row - 1] and not changed[row : row + EDGE].any():
            top = row
    return top


def _classes(
    screens: NDArray[np.uint8], background: NDArray[np.uint8], flashes: list[int]
) -> NDArray[np.uint8]:
    """The class of each colour: the colours of the smallest things have one each, all others share the last.

    Args:
        screens: uint8 [steps, rows, columns].
        background: uint8 [rows, columns].
        flashes: colours that are background everywhere.
    """
    moving = {}
    on = screens != background
    for colour in set(np.unique(screens[on]).tolist()) - set(flashes):
        pixels = ((screens == colour) & on).sum(axis=(1, 2))
        if (pixels > 0).mean() >= SELDOM:
            moving[colour] = float(pixels[pixels > 0].mean())
    by_size = sorted(moving, key=lambda colour: (moving[colour], colour))
    classes = np.full(256, min(max(len(by_size), 1), CLASSES) - 1, np.uint8)
    for kind, colour in enumerate(by_size[: CLASSES - 1]):
        classes[colour] = kind
    classes[flashes] = OFF
    return classes


@compiled()
def _count(screen: NDArray[np.uint8], counts: NDArray[np.uint16]) -> None:
    """Count the colour of every place: counts [rows, columns, 256]."""
    for row in range(screen.shape[0]):
        for column in range(screen.shape[1]):
            counts[row, column, screen[row, column]] += 1
