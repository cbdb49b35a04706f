"""Pictures of the lesson, drawn from a real run: preprocessing, the network, its weights, the returns."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pongrad.games import environment
from pongrad.games.colours import grey
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.ground.errors import UserError
from pongrad.learning.returns import discount
from pongrad.network.agent import Agent
from pongrad.network.convolution import Filters
from pongrad.runs import stages
from pongrad.runs.folder import RunFolder
from pongrad.views.moments import Moment, moments
from pongrad.views.pictures import neurons, seen, signed
from pongrad.views.plots import Figure, Rectangle, own_style, save
from pongrad.vision.frames import SHAPE, SIDE, STACK, FrameStack, Grey
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
    before, moment = lived[look_at - 1].frames, lived[look_at]
    pictures: dict[str, Callable[[], Figure]] = {
        "preprocessing": lambda: preprocessing(agent, before[-1], moment),
        "network": lambda: network(agent),
        "weights": lambda: weights(Agent.load(untrained), agent),
        "returns": lambda: returns(lived, run.config().gamma),  # type: ignore[attr-defined]
    }
    if isinstance(agent.vision, FrameStack):
        vision = agent.vision
        pictures["preprocessing"] = lambda: stacking(vision, before[-2:], moment)
        pictures["network"] = lambda: convolutions(agent)
        pictures["weights"] = lambda: filters(Agent.load(untrained), agent)
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
    assert not isinstance(vision, FrameStack)
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
    return _panels(steps)


def stacking(vision: FrameStack, frames: np.ndarray, moment: Moment) -> Figure:
    """What happens to the screen on its way to a convolutional network.

    Args:
        vision: how the agent looks at the screen.
        frames: uint8 [1 or 2, height, width, 3], the last frames of the step before.
        moment: what the network is given then.
    """
    greys = np.array([grey(frame) for frame in frames])
    small: Grey = np.empty((SIDE, SIDE), np.uint8)
    vision.frame(greys[[0, -1]], small)
    newest = moment.inputs[:1]
    steps: list[tuple[str, Any]] = [
        ("the screen", frames[-1]),
        ("in grey", np.dstack([greys[-1]] * 3)),
        ("the brighter of two frames", np.dstack([greys.max(axis=0)] * 3)),
        ("each the mean of its area", np.dstack([small] * 3)),
        ("less the background", seen(np.repeat(newest, STACK, axis=0))),
        ("and the three before, fainter", seen(moment.inputs)),
    ]
    return _panels(steps)


def _panels(steps: list[tuple[str, Any]]) -> Figure:
    """Titles and pictures in a row."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axis, (title, picture) in zip(figure.subplots(1, len(steps)), steps, strict=True):
        axis.imshow(picture, cmap="gray", interpolation="nearest")
        axis.set_title(f"{title}\n{' x '.join(map(str, np.shape(picture)[:2]))}", fontsize=9)
        axis.set_axis_off()
    return figure


def network(agent: Agent) -> Figure:
    """The network's layers as columns, of dots, with the number of weights between each two."""
    arrays = agent.network.acting_args[0]
    sizes = [len(arrays[0]), *(array.shape[1] for array in arrays)]
    figure, axis = _empty(len(sizes), 9)
    for x, size in enumerate(sizes):
        if x:
            _connect(axis, x, sizes[x - 1], size)
            _name_weights(axis, x, agent, f"W{x}")
        _dots(axis, x, size)
        inside = f"{size:,} {'neurons, ReLU' if x else 'inputs'}"
        _below(axis, x, inside if x < len(arrays) else _outputs(agent))
    return figure


def convolutions(agent: Agent) -> Figure:
    """A convolutional network's layers: feature maps as sheets, above them columns of dots."""
    layers = [layer for layer in agent.network.layers if isinstance(layer, Filters)]
    shapes = [SHAPE, *(layer.out_shape for layer in layers)]
    sizes = [array.shape[1] for name, array in agent.network.weights.items() if name[0] == "W"][len(layers) :]
    figure, axis = _empty(len(shapes) + len(sizes), 2.2 * (len(shapes) + len(sizes)))
    for x, (rows, columns, count) in enumerate(shapes):
        _sheets(axis, x, rows, columns, count)
        what = "feature maps, ReLU" if x else "the last four frames"
        _below(axis, x, f"{rows} x {columns} x {count}\n{what}")
    for x, layer in enumerate(layers, start=1):
        _patch(axis, x, layer)
        _name_weights(axis, x, agent, f"W{x}", f"{layer.kernel} x {layer.kernel}, every {layer.stride}")
    for i, size in enumerate(sizes):
        x = len(shapes) + i
        _connect(axis, x, sizes[i - 1] if i else 5, size, 1.0 if i else 0.4)
        _dots(axis, x, size)
        _name_weights(axis, x, agent, f"W{x}")
        _below(axis, x, f"{size:,} neurons, ReLU" if i < len(sizes) - 1 else _outputs(agent))
    return figure


def _empty(columns: int, width: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.5, columns - 0.4), ylim=(-1.75, 1.6))
    axis.set_axis_off()
    return figure, axis


def _outputs(agent: Agent) -> str:
    outputs = "probability of\n" + (agent.action_names[0] if agent.logits == 1 else "each action")
    return outputs + (",\nvalue" if agent.network.outputs > agent.logits else "")


def _heights(size: int) -> np.ndarray:
    """Where the dots of a column are: of a large one only some are drawn."""
    return np.linspace(-1, 1, min(size, 15)) if size > 2 else np.linspace(-0.3, 0.3, size)


def _dots(axis: Any, x: float, size: int) -> None:
    heights = _heights(size)
    axis.plot([x] * len(heights), heights, "o", color="tab:orange", markersize=5)


def _connect(axis: Any, x: int, below: int, above: int, reach: float = 1.0) -> None:
    """Lines from the layer before column x."""
    for a, b in itertools.product(_heights(below) * reach, _heights(above)):
        axis.plot([x - 1, x], [a, b], color="tab:blue", alpha=0.12, linewidth=0.7)


def _name_weights(axis: Any, x: int, agent: Agent, name: str, what: str = "") -> None:
    """What lies between the layer before column x and this one."""
    arrays, bias = agent.network.weights, name.replace("W", "b")
    lines = [f"{name}: {arrays[name].size:,} weights"]
    lines += [f"{bias}: {arrays[bias].size:,} biases"] if bias in arrays else []
    lines += [what] if what else []
    axis.text(x - 0.5, 1.3, "\n".join(lines), ha="center", va="center", fontsize=9)


def _below(axis: Any, x: int, text: str) -> None:
    axis.text(x, -1.2, text, ha="center", va="top", fontsize=9)


_SHEETS = 8
"""Feature maps that are drawn, of those of a layer."""


def _sheets(axis: Any, x: int, rows: int, columns: int, count: int) -> None:
    """Some of a layer's feature maps, one behind the other; their areas differ less than they do."""
    high, wide = _sides(rows, columns)
    for i in reversed(range(min(count, _SHEETS))):
        corner = x - wide / 2 + 0.03 * i, -high / 2 + 0.05 * i
        axis.add_patch(Rectangle(corner, wide, high, facecolor="#fff3e6", edgecolor="tab:orange"))


def _sides(rows: int, columns: int) -> tuple[float, float]:
    """How high and how wide a feature map is drawn."""
    return 1.6 * math.sqrt(rows / SIDE), 0.6 * math.sqrt(columns / SIDE)


def _patch(axis: Any, x: int, layer: Filters) -> None:
    """One patch of the layer before column x, and the place in this one that it leads to."""
    (high, wide), share = _sides(*layer.shape[:2]), layer.kernel / layer.shape[0]
    left, bottom = x - 1, -0.1
    axis.add_patch(
        Rectangle((left, bottom), share * wide, share * high, facecolor="tab:blue", alpha=0.5, zorder=3)
    )
    for corner in (bottom, bottom + share * high):
        axis.plot([left + share * wide, x], [corner, 0], color="tab:blue", alpha=0.6, linewidth=0.8, zorder=3)


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


def filters(before: Agent, after: Agent) -> Figure:
    """The first layer's filters with the largest weights in the end, before and after training.

    Each is a column of four pictures, for the last four frames, the newest at the bottom.
    """
    most = np.argsort(-np.linalg.norm(after.network.weights["W1"], axis=0))[:_NEURONS]
    figure = Figure(figsize=(12, 6), layout="constrained")
    rows = figure.subplots(2, len(most), squeeze=False)
    for row, title, agent in zip(rows, ("before", "after"), (before, after), strict=True):
        for axis, picture in zip(row, signed(neurons(agent, 40)[most]), strict=True):
            frames = [
                np.pad(frame, ((0, 1), (0, 0), (0, 0)), constant_values=255)
                for frame in np.split(picture, STACK, axis=1)
            ]
            axis.imshow(np.vstack(frames)[:-1], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"{title}\nnewest frame at the bottom")
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
