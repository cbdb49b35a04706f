"""Figures of chapters 8 to 14: learning curves, cost, PPO, relative offsets, convolution, another game."""

# mypy: allow-untyped-calls

import itertools
import time
from typing import Any

import ale_py
import gymnasium
import numpy as np
import scenes
from figures_classic import DOWN, FAINT, GOOD, INK, UP, label, new, on_white, plain, show
from matplotlib.patches import ConnectionPatch
from PIL import Image
from scenes import Array

from pongrad import Fast, classic, classic_conv
from pongrad.learning.ppo import objective_gradient
from pongrad.views.plots import Figure, Rectangle
from pongrad.vision.preprocessing import Vision
from pongrad.vision.relative_offsets import REACH_COLUMNS, REACH_ROWS
from pongrad.vision.survey import survey

# --- Chapter 8: learning curves -------------------------------------------------------------------------


def learning_classic() -> Figure:
    """The committed curves of recipe classic and of classic.py."""
    return committed("classic_learning")


def learning_fast() -> Figure:
    """The committed curves of five seeds of recipe fast."""
    return committed("fast_learning")


def committed(name: str) -> Figure:
    """A committed picture of learning curves, of its three panels the first and the last."""
    picture = np.asarray(Image.open(scenes.RESULTS / f"{name}.png").convert("RGB"))
    (_, first), (second, middle), (last, _) = panels(picture)
    left, right = picture[:, : (first + second) // 2], picture[:, (middle + last) // 2 :]
    two = np.hstack([left, right])
    figure = Figure(figsize=(7.2, 7.2 * two.shape[0] / two.shape[1]))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(two, interpolation="lanczos")
    axis.set_axis_off()
    return figure


def panels(picture: Array) -> list[tuple[int, int]]:
    """The left and the right edge of each panel: columns that are dark for most of their height."""
    dark = (picture < 100).all(axis=2).mean(axis=0) > 0.7
    edges = np.flatnonzero(dark & ~np.roll(dark, 1)).tolist()
    assert len(edges) == 6, f"not three panels: {edges}"
    return list(itertools.pairwise(edges))[::2]


# --- Chapter 10: cost and sparse inputs -----------------------------------------------------------------


def cost() -> Figure:
    """Where the time goes, in classic.py and in the engine."""
    spent = classic_times()
    total = sum(spent.values())
    emulator = scenes.result("classic_learning")["engine, rate 1e-3, seed 1"]["last"]["emulator_share"]
    rows = {
        "classic.py": [(name, seconds / total) for name, seconds in spent.items()],
        "the engine,\nrecipe classic": [("emulator", emulator), ("all the rest", 1 - emulator)],
    }
    colours = {
        "emulator": "#aab1bd",
        "preprocessing": GOOD,
        "network": UP,
        "learning": DOWN,
        "all the rest": "#5d6470",
    }
    figure, axis = new(2.5)
    for y, parts in zip((1, 0), rows.values(), strict=True):
        left = 0.0
        for name, share in parts:
            axis.barh(y, share, left=left, height=0.55, color=colours[name], edgecolor="white")
            label(
                axis,
                left + share / 2,
                y + 0.42,
                f"{name} {share:.0%}" if share > 0.12 else f"{share:.0%}",
                fontsize=9.5,
            )
            left += share
    axis.set_yticks([1, 0], list(rows), fontsize=11)
    axis.set(xlim=(0, 1), ylim=(-0.4, 1.6), xlabel="share of the time")
    axis.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    handles = [Rectangle((0, 0), 1, 1, color=colours[name]) for name in spent]
    axis.legend(handles, list(spent), ncols=4, loc="upper center", bbox_to_anchor=(0.45, 1.25), frameon=False)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return figure


def classic_times(steps: int = 1500) -> dict[str, float]:
    """Seconds of processor time of each part of classic.py, in one game of Pong."""
    gymnasium.register_envs(ale_py)
    env, rng = gymnasium.make("ALE/Pong-v5"), np.random.default_rng(1)
    weights = classic.initial_weights(rng)
    spent = dict.fromkeys(("emulator", "preprocessing", "network", "learning"), 0.0)
    screen, _ = env.reset(seed=1)
    lived: list[tuple[Any, ...]] = []
    previous, over = None, False
    while not over and len(lived) < steps:
        start = time.thread_time()
        x, previous = classic.observe(screen, previous)
        seen = time.thread_time()
        h, p = classic.forward(x, weights)
        y = 1 if rng.random() < p else 0
        thought = time.thread_time()
        screen, reward, terminated, truncated, _ = env.step(classic.UP if y == 1 else classic.DOWN)
        spent["emulator"] += time.thread_time() - thought
        spent["network"] += thought - seen
        spent["preprocessing"] += seen - start
        lived.append((x, h, p, y, reward))
        over = terminated or truncated
    xs, hs, ps, ys, rewards = (np.array(each) for each in zip(*lived, strict=True))
    start = time.thread_time()
    classic.gradient_of_game(xs, hs, ps, ys, rewards, weights)
    spent["learning"] = time.thread_time() - start
    return spent


def sparse() -> Figure:
    """The pixels that are on in one processed screen, and the few of W1's weights that they need."""
    on, _ = scenes.processed()
    figure, (left, right) = new(4.0, 1, 2)
    show(left, on, cmap="gray_r")
    left.set_title(f"{on.sum()} of {on.size:,} pixels are on", fontsize=11)
    units = classic.num_hidden_layer_neurons
    right.vlines(on.ravel().nonzero()[0], 0, units, color=UP, linewidth=0.7)
    right.set(xlim=(0, on.size), ylim=(units, 0), yticks=[0, units], xlabel="pixel", ylabel="hidden neuron")
    right.set_xticks([0, 2000, 4000, 6400], ["0", "2,000", "4,000", "6,400"])
    right.set_title(f"{on.sum() * units:,} of {on.size * units:,} weights count", fontsize=11)
    right.set_box_aspect(1)
    return figure


# --- Chapter 11: PPO ------------------------------------------------------------------------------------


def clip() -> Figure:
    """PPO's clipped objective over the ratio, for a good action and for a bad one."""
    c, ratios = Fast.clip, np.linspace(0.5, 1.5, 201)
    figure, axes = new(3.2, 1, 2, sharex=True)
    for axis, advantage, colour in zip(axes, (1.0, -1.0), (UP, DOWN), strict=True):
        axis.plot(ratios, ratios * advantage, "--", color=FAINT, label="ratio x A")
        axis.plot(ratios, clipped(ratios, advantage), color=colour, linewidth=2.5, label="clipped")
        axis.plot([1], [advantage], "o", color=INK, markersize=6)
        axis.axvspan(1 - c, 1 + c, color="#f0f1f4", zorder=0)
        axis.set(xlabel="ratio: new probability / old", ylabel="objective")
        axis.set_xticks([0.5, 1 - c, 1, 1 + c, 1.5], ["0.5", "1 - c", "1", "1 + c", "1.5"])
        axis.set_title(
            "A = 1: the action was good" if advantage > 0 else "A = -1: the action was bad", fontsize=11
        )
        axis.legend(loc="upper left" if advantage > 0 else "upper right", frameon=False, fontsize=10)
        plain(axis)
    return figure


def clipped(ratios: Array, advantage: float) -> Array:
    """The objective of single steps, as the package computes it, without bonuses and value."""
    objective = []
    for ratio in ratios:
        out, old = np.zeros((1, 3)), np.array([np.log(0.5 / ratio)])
        _, losses, _ = objective_gradient(
            out,
            np.zeros(1, np.uint8),
            old,
            np.array([advantage]),
            np.zeros(1),
            Fast.clip,
            0,
            0,
            0,
        )
        objective.append(-losses["policy_loss"])
    return np.array(objective)


# --- Chapter 12: relative offsets -----------------------------------------------------------------------


def offsets() -> Figure:
    """Offsets in space between points of one screen, and in time between those of two screens."""
    before, now = two_screens()
    points = np.vstack([before, now])
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=[1.5, 1])
    whole = figure.add_subplot(grid[0, :])
    whole.set(xlim=(0, 79.5), ylim=(points[:, 0].max() + 4, points[:, 0].min() - 4), aspect="equal")
    whole.set_title("in space: from each point of a screen to each other", fontsize=11)
    for a, b in itertools.combinations(now, 2):
        link(whole, a, b)
    names = {213: "in time: computer's paddle", 236: "ball", 92: "agent's paddle"}
    near = [figure.add_subplot(grid[1, i]) for i in range(3)]
    for axis, (red, name) in zip(near, names.items(), strict=True):
        old, new_ones = (each[each[:, 2] == red] for each in (before, now))
        middle = np.vstack([old, new_ones])[:, :2].mean(axis=0)
        axis.set(xlim=(middle[1] - 6, middle[1] + 6), ylim=(middle[0] + 6, middle[0] - 6), aspect="equal")
        axis.set_title(name, fontsize=10.5)
        axis.scatter(old[:, 1], old[:, 0], s=26, facecolors="white", edgecolors=COLOURS[red], zorder=3)
        for a, b in itertools.product(old, new_ones):
            if abs(a[0] - b[0]) <= REACH_ROWS and abs(a[1] - b[1]) <= REACH_COLUMNS:
                link(axis, a, b, 0.25)
    for axis in (whole, *near):
        axis.scatter(now[:, 1], now[:, 0], s=24, color=[COLOURS[kind] for kind in now[:, 2]], zorder=3)
        axis.set(xticks=[], yticks=[])
    return figure


COLOURS = {236: INK, 92: "#2a9d55", 213: UP}
"""Of a point, by the red of its pixel: the ball, the agent's paddle, the computer's."""


def link(axis: Any, start: Array, end: Array, bend: float = 0) -> None:
    """An arrow between two points [row, column, ...]."""
    style: dict[str, Any] = {
        "arrowstyle": "-|>",
        "color": DOWN,
        "linewidth": 1.1,
        "alpha": 0.8,
        "shrinkA": 4,
        "shrinkB": 4,
    }
    style["connectionstyle"] = f"arc3,rad={bend}"
    axis.annotate("", (end[1], end[0]), (start[1], start[0]), arrowprops=style)


def two_screens() -> tuple[Array, Array]:
    """Row, column and red of each corner that an agent is given, of the screen before and of this one."""
    agent = scenes.ages()[-1][1]
    assert isinstance(agent.vision, Vision)
    lived = scenes.lived_by(agent, scenes.KEPT)
    screens = [moment.frames[-1] for moment in lived]  # what the next moment sees
    for i in range(2, len(lived)):
        ball = scenes.ball(screens[i - 1])
        if len(ball) and 60 < ball[0, 1] < 100 and 90 < ball[0, 0] < 110 and scenes.ball(screens[i - 2]).size:
            found = []
            for screen, inputs in zip((screens[i - 2], screens[i - 1]), lived[i].inputs[::-1], strict=True):
                places = np.argwhere(inputs)
                colours = screen[agent.vision.top :: agent.vision.stride, :: agent.vision.stride, 0]
                found.append(np.column_stack([places, colours[places[:, 0], places[:, 1]]]).astype(int))
            return found[0], found[1]
    raise AssertionError("the ball has never been in play")


# --- Chapter 13: convolution ----------------------------------------------------------------------------


def convolution() -> Figure:
    """A filter that moves over a real input, and the feature maps that come of it."""
    _, x = scenes.processed()
    weights = classic_conv.initial_weights(np.random.default_rng(1))
    patches = classic_conv.cut_patches(x[None])
    h, _ = classic_conv.forward(patches, weights)
    side = round(classic_conv.places**0.5)
    maps = h.reshape(side, side, -1)
    strongest = np.argsort(-maps.max(axis=(0, 1)))[:3]
    place = np.unravel_index(maps[:, :, strongest[0]].argmax(), (side, side))
    row, column = (int(each) * classic_conv.stride for each in place)
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    grid = figure.add_gridspec(3, 4, width_ratios=[3.1, 0.8, 0.25, 1])
    left = figure.add_subplot(grid[:, 0])
    show(left, on_white(x))
    size = classic_conv.filter_size
    left.add_patch(
        Rectangle((column - 0.5, row - 0.5), size, size, fill=False, edgecolor=GOOD, linewidth=2.5)
    )
    left.set_title("input, 80 x 80, and one patch, 8 x 8", fontsize=10.5)
    for i, k in enumerate(strongest):
        filter_axis, map_axis = figure.add_subplot(grid[i, 1]), figure.add_subplot(grid[i, 3])
        values = weights["W1"][k].reshape(size, size)
        show(filter_axis, on_white(values / np.abs(values).max()))
        show(map_axis, maps[:, :, k] / maps[:, :, k].max(), cmap="Oranges")
        filter_axis.set_title("filter, 8 x 8" if i == 0 else "", fontsize=10.5)
        map_axis.set_title(f"map, {side} x {side}" if i == 0 else "", fontsize=10.5)
        label(
            figure.add_subplot(grid[i, 2], frame_on=False, xticks=[], yticks=[]),
            0.5,
            0.5,
            "\u2192",
            fontsize=16,
        )
        if i == 0:
            map_axis.add_patch(
                Rectangle((place[1] - 0.5, place[0] - 0.5), 1, 1, fill=False, edgecolor=GOOD, linewidth=2)
            )
            for corner in (-0.5, size - 0.5):
                figure.add_artist(
                    ConnectionPatch((column + size - 0.5, row + corner), (-0.5, corner), left.transData,
                                    filter_axis.transData, color=GOOD, linewidth=1)
                )  # fmt: skip
    return figure


def filters() -> Figure:
    """All first filters of classic_conv.py, each above its feature map of one real input."""
    _, x = scenes.processed()
    weights = classic_conv.initial_weights(np.random.default_rng(1))
    h, _ = classic_conv.forward(classic_conv.cut_patches(x[None]), weights)
    side = round(classic_conv.places**0.5)
    figure, axes = new(4.0, 4, 8)
    for k in range(classic_conv.num_filters):
        above, below = axes[k // 8 * 2 : k // 8 * 2 + 2, k % 8]
        values = weights["W1"][k].reshape(classic_conv.filter_size, -1)
        show(above, on_white(values / np.abs(values).max()))
        show(below, h.reshape(side, side, -1)[:, :, k] / h.max(), cmap="Oranges", vmin=0, vmax=1)
        if k % 8 == 0:
            above.set_ylabel("filters", fontsize=10)
            below.set_ylabel("maps", fontsize=10)
    return figure


# --- Chapter 14: another game ---------------------------------------------------------------------------


def breakout() -> Figure:
    """A screen of Breakout, and the corners that an agent is given of it."""
    name = "ALE/Breakout-v5"
    vision = survey(name, 1).vision
    picture, corners = breakout_corners(vision)
    figure, (left, right) = new(4.4, 1, 2)
    show(left, picture)
    left.set_title("the screen", fontsize=11)
    show(right, picture // 3)
    places = np.argwhere(corners)
    right.scatter(places[:, 1] * vision.stride, places[:, 0] * vision.stride + vision.top, s=9, color=ORANGE)
    right.set_title(f"{len(places)} corners stand out", fontsize=11)
    return figure


ORANGE = "#ff963c"


def breakout_corners(vision: Vision) -> tuple[Array, Array]:
    """A screen of random play with a few bricks gone, and its corners, bool [rows, columns]."""
    from pongrad.network.agent import Agent
    from pongrad.network.network import Network

    network = Network.random((vision.size, 4, 5), np.random.default_rng(1))
    agent = Agent(network, "ALE/Breakout-v5", (0, 1, 2, 3), ("NOOP", "FIRE", "RIGHT", "LEFT"), vision)
    lived = scenes.lived_by(agent, 400)
    then, moment = max(itertools.pairwise(lived), key=lambda two: (two[0].inputs[0] != 0).sum())
    return then.frames[-1], moment.inputs[0] != 0
