"""Pictures of the lesson, drawn from a real run: preprocessing, the network, its weights, the returns."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.ground.errors import UserError
from pongrad.learning.returns import discount
from pongrad.network.agent import Agent
from pongrad.runs import stages
from pongrad.runs.folder import RunFolder
from pongrad.views.moments import Moment, moments
from pongrad.views.pictures import neurons, seen, signed
from pongrad.views.plots import Figure, own_style, save
from pongrad.vision.pixels import OFF

_STEPS = 200
_LOOK_AT = 75
"""Steps into the game: the ball is in play."""
_NEURONS = 20


@own_style()
def draw(run: RunFolder, folder: Path) -> list[Path]:
    """Draw all pictures of the lesson into a folder, which is made if need be.

    Args:
        run: a run with stages and a best agent.
        folder: receives preprocessing.png, network.png, weights.png and returns.png.

    Raises:
        UserError: the run has no stages, or the folder cannot be written to.
    """
    agent = Agent.load(run.path)
    untrained = stages.at_least_one(run)[0]
    game = Game(agent.game, 0, Purpose.EVALUATION, 0)
    lived = list(itertools.islice(moments(agent, game, environment.make(agent.game)), _STEPS))
    look_at = min(_LOOK_AT, len(lived) - 1)
    pictures: dict[str, Callable[[], Figure]] = {
        "preprocessing": lambda: preprocessing(agent, lived[look_at - 1].frames[-1], lived[look_at]),
        "network": lambda: network(agent),
        "weights": lambda: weights(Agent.load(untrained), agent),
        "returns": lambda: returns(lived, run.config().gamma),  # type: ignore[attr-defined]
    }
    files = [folder / f"{name}.png" for name in pictures]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}; give another one") from error
    for file, picture in zip(files, pictures.values(), strict=True):
        save(picture(), file, dpi=80)
    return files


def preprocessing(agent: Agent, screen: np.ndarray, moment: Moment) -> Figure:
    """What happens to one screen (uint8 [height, width, 3]) on its way to the network, step by step."""
    vision = agent.vision
    cropped = screen[vision.top : vision.bottom]
    small = cropped[:: vision.stride, :: vision.stride]
    numbers = vision.colour_numbers(small)
    background = np.frombuffer(vision.background, np.uint8).reshape(vision.shape)[:, : small.shape[1]]
    classes = np.frombuffer(vision.classes, np.uint8)[numbers]
    on = np.where((numbers != background) & (classes != OFF), 1.0 + classes, 0)
    end = "corners, and those before" if vision.offsets else "minus the one before"
    steps: list[tuple[str, Any]] = [
        ("the screen", screen),
        (f"rows {vision.top} to {vision.bottom - 1}", cropped),
        (f"one pixel in {vision.stride}, both ways", small),
        ("one number a colour", numbers),
        ("background off", on),
        (end, seen(moment.inputs)),
    ]
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axis, (title, picture) in zip(figure.subplots(1, len(steps)), steps, strict=True):
        axis.imshow(picture, cmap="gray", interpolation="nearest")
        axis.set_title(f"{title}\n{' x '.join(map(str, np.shape(picture)[:2]))}", fontsize=9)
        axis.set_axis_off()
    return figure


def network(agent: Agent) -> Figure:
    """The network's layers as columns, of dots, with the number of weights between each two."""
    arrays = list(agent.network.weights.items())
    outputs = "probability of\n" + (agent.action_names[0] if agent.logits == 1 else "each action")
    if agent.network.outputs > agent.logits:
        outputs += ",\nvalue"
    sizes = [arrays[0][1].shape[0], *(array.shape[1] for _, array in arrays)]
    names = ["inputs", *["neurons, ReLU"] * (len(arrays) - 1), outputs]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.5, len(sizes) - 0.4), ylim=(-1.75, 1.2))
    axis.set_axis_off()
    for x, (size, name) in enumerate(zip(sizes, names, strict=True)):
        dots = np.linspace(-1, 1, min(size, 15)) if size > 2 else np.linspace(-0.3, 0.3, size)
        if x:
            before = np.linspace(-1, 1, min(sizes[x - 1], 15))
            for a, b in itertools.product(before, dots):
                axis.plot([x - 1, x], [a, b], color="tab:blue", alpha=0.12, linewidth=0.7)
            key, array = arrays[x - 1]
            axis.text(x - 0.5, 1.1, f"{key}: {array.size:,} weights", ha="center", fontsize=9)
        axis.plot([x] * len(dots), dots, "o", color="tab:orange", markersize=5)
        axis.text(
            x, -1.2, name if x == len(sizes) - 1 else f"{size:,} {name}", ha="center", va="top", fontsize=9
        )
    return figure


def weights(before: Agent, after: Agent) -> Figure:
    """The weights of the hidden neurons that count most in the end, before and after training."""
    logits = after.network.weights["W2"][:, : after.logits]
    most = np.argsort(-np.linalg.norm(logits, axis=1))[:_NEURONS]
    figure = Figure(figsize=(12, 1.9), layout="constrained")
    rows = figure.subplots(2, len(most), squeeze=False)
    for row, title, agent in zip(rows, ("before", "after"), (before, after), strict=True):
        for axis, picture in zip(row, signed(neurons(agent, 40)[most]), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(title)
    return figure


def returns(lived: list[Moment], gamma: float) -> Figure:
    """How discounting spreads every point back over the steps that led to it."""
    balance = np.array([0, *(moment.won - moment.lost for moment in lived)], np.float64)
    rewards = np.diff(balance)
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.fill_between(
        range(len(rewards)), discount(rewards, rewards != 0, gamma), step="mid", alpha=0.4, label="return"
    )
    ends = rewards.nonzero()[0]
    if len(ends):
        axis.stem(ends, rewards[ends], linefmt="tab:orange", basefmt=" ", label="reward")
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.set(xlabel="step", xlim=(0, len(rewards)))
    axis.set_title(f"a point is worth {gamma:g} times as much with every step before it", fontsize=10)
    axis.legend(loc="upper left")
    return figure
