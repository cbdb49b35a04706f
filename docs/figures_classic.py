"""Figures of chapters 1 to 9: the lesson in classic.py."""

# mypy: allow-untyped-calls

from typing import Any
from unittest import mock

import mistakes
import numpy as np
import scenes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from scenes import Array

from pongrad import Agent, classic
from pongrad.views.plots import Figure, Rectangle
from pongrad.vision.preprocessing import Vision

UP, DOWN, INK, FAINT = "#d95f02", "#1f6fb4", "#222222", "#8a8f98"
"""Orange: positive, won, UP. Blue: negative, lost, DOWN."""
GOOD = "#2a9d55"
WIDTH = 7.2
"""Inches: 100 pixels of a page each."""


# --- Common parts ---------------------------------------------------------------------------------------


def new(height: float, *grid: int, **keywords: Any) -> tuple[Figure, Any]:
    """A figure as wide as a page's text, and its axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(*grid, **keywords)


def on_white(values: Array) -> Array:
    """Numbers from -1 to 1 as colours [..., 3] from 0 to 1: blue, white, orange."""
    strength = np.abs(values).clip(0, 1)[..., None]
    ends = np.where(values[..., None] > 0, np.array([0.851, 0.373, 0.008]), np.array([0.122, 0.435, 0.706]))
    return 1 - strength * (1 - ends)


def show(axis: Any, picture: Array, **keywords: Any) -> None:
    """A picture whose pixels stay squares, in a thin frame."""
    axis.imshow(picture, interpolation="nearest", **keywords)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_color(FAINT)


def plain(axis: Any) -> None:
    """No frame at the top and at the right."""
    axis.spines[["top", "right"]].set_visible(False)


def label(axis: Any, x: float, y: float, text: str, **keywords: Any) -> None:
    """Centred text at a place of the data's."""
    axis.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 9.5, "color": INK} | keywords)


# --- Chapters 1 and 2: the screen and the six steps -----------------------------------------------------


def screen() -> Figure:
    """A real screen with rows and columns, and what is on it."""
    picture = scenes.played().screens[scenes.in_play()]
    figure, axis = new(4.6)
    axis.imshow(picture, interpolation="nearest")
    axis.set(xticks=[0, 40, 80, 120, 159], yticks=[0, 35, 80, 120, 160, 194, 209])
    axis.set(xlabel="column", xlim=(-0.5, 159.5))
    axis.set_ylabel("row", loc="bottom")
    ours, computers = (each.mean(axis=0) for each in scenes.paddles(picture))
    ball = scenes.ball(picture).mean(axis=0)
    notes = [
        ("the score", (12, 130), (175, 12)),
        ("the computer's\npaddle", computers, (-45, computers[0])),
        ("the ball", ball, (175, 125)),
        ("the agent's paddle:\nUP and DOWN move it", ours, (175, 60)),
        ("the playing field,\nrows 35 to 194", (180, 150), (175, 180)),
    ]
    for text, (row, column), (x, y) in notes:
        axis.annotate(
            text, (column, row), (x, y), color=INK, fontsize=10.5, va="center",
            ha="left" if x > 0 else "right",
            arrowprops={"arrowstyle": "-", "color": UP, "linewidth": 1.3, "shrinkB": 2},
            annotation_clip=False,
        )  # fmt: skip
    axis.add_patch(Rectangle((-0.5, 34.5), 160, 160, fill=False, edgecolor=UP, linewidth=1.3))
    return figure


def steps() -> list[tuple[str, str, str, Array]]:
    """The screen and the six steps: title, what is done, shape, result.

    They are the lines of `classic.preprocess` and `classic.observe`; that they give the same is asserted.
    """
    before, now = scenes.played().screens[scenes.in_play() - 1 : scenes.in_play() + 1]
    cropped = now[35:195]
    small = cropped[::2, ::2]
    channel = small[:, :, 0]
    on = ((channel != 144) & (channel != 109)).astype(np.int8)
    flat = on.ravel()
    x, also_flat = classic.observe(now, classic.preprocess(before))
    assert (flat == also_flat).all()
    return [
        ("The screen", "What the emulator shows: red, green and blue.", "210 x 160 x 3", now),
        ("1. Crop", "Only the playing field counts: rows 35 to 194.", "160 x 160 x 3", cropped),
        ("2. Every second pixel", "Of rows and of columns: a quarter is left.", "80 x 80 x 3", small),
        ("3. One channel", "Red alone tells the things apart.", "80 x 80", channel),
        ("4. Background to 0", "All else to 1: paddles and ball.", "80 x 80", on),
        ("5. Flatten", "Row after row, one long vector.", "6,400", flat),
        ("6. Minus the screen before", "What moved: on is 1 (orange), off is -1 (blue).", "6,400", x),
    ]


def six_steps() -> Figure:
    """The six steps side by side."""
    figure, axes = new(4.5, 2, 4)
    for axis, (title, _, shape, picture) in zip(axes.flat, steps(), strict=False):
        if title.startswith("5"):
            stripes(axis, picture)
        elif title.startswith("6"):
            show(axis, on_white(picture.reshape(80, 80)))
        elif title.startswith("4"):
            show(axis, picture, cmap="gray_r")
        else:
            show(axis, picture, cmap="gray")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(shape, fontsize=10)
    legend = axes[1, 3]
    legend.set_axis_off()
    legend.set(xlim=(0, 1), ylim=(0, 1))
    for y, colour, text in (
        (0.75, UP, "1: went on"),
        (0.6, DOWN, "-1: went off"),
        (0.45, "white", "0: the same"),
    ):
        legend.add_patch(Rectangle((0.05, y - 0.04), 0.09, 0.09, facecolor=colour, edgecolor=FAINT))
        label(legend, 0.2, y, text, ha="left", fontsize=10)
    return figure


def stripes(axis: Any, vector: Array) -> None:
    """A vector of 0 and 1 as a strip, with a line wherever it is 1."""
    axis.vlines(vector.nonzero()[0], 0, 1, color=INK, linewidth=0.5)
    axis.set(xlim=(0, len(vector)), ylim=(0, 1), yticks=[], xticks=[0, len(vector) - 1])
    axis.set_xticklabels(["0", f"{len(vector) - 1:,}"], ha="center")
    axis.get_xticklabels()[0].set_ha("left")
    axis.get_xticklabels()[1].set_ha("right")
    axis.set_box_aspect(0.3)


# --- Chapters 3 and 4: the network and its choice -------------------------------------------------------


def network() -> Figure:
    """The network of classic.py: input, hidden neurons, output, with sizes."""
    D, H = classic.input_dimensions, classic.num_hidden_layer_neurons
    figure, axis = new(3.6)
    axis.set(xlim=(0, 10), ylim=(-2.6, 2.6))
    axis.set_axis_off()
    axis.imshow(on_white(scenes.processed()[1]), extent=(0.1, 3.1, -1.5, 1.5), aspect="auto", zorder=2)
    axis.add_patch(Rectangle((0.1, -1.5), 3, 3, fill=False, edgecolor=FAINT, zorder=3))
    heights = np.linspace(-1.5, 1.5, 13)
    for h in heights:
        for y in np.linspace(-1.4, 1.4, 9):
            axis.plot([3.1, 6.2], [y, h], color=DOWN, alpha=0.13, linewidth=0.8, zorder=1)
        axis.plot([6.2, 9.0], [h, 0], color=DOWN, alpha=0.35, linewidth=0.8, zorder=1)
    axis.plot([6.2] * len(heights), heights, "o", color=UP, markersize=8, zorder=3)
    axis.plot([9.0], [0], "o", color=UP, markersize=12, zorder=3)
    for x, above, below in (
        (1.6, "input x", f"{D:,} numbers"),
        (4.45, f"W1: {H} x {D:,}\n{H * D:,} weights", ""),
        (6.2, "hidden h", f"{H} neurons\nReLU(W1 x)"),
        (7.65, f"W2: {H}\n{H} weights", ""),
        (9.0, "output p", "1 probability\nsigmoid(W2 h)"),
    ):
        label(axis, x, 2.1, above, fontsize=10.5)
        label(axis, x, -2.15, below, fontsize=10.5)
    return figure


def weights() -> Figure:
    """The weights of a few neurons that have learned most, before a run and after it."""
    (_, first), *_, (age, last) = scenes.ages()
    most, count = learned_most(6), 6
    figure, axes = new(3.1, 2, count)
    for row, title, agent in zip(
        axes, ("untrained", f"after {age.split(',')[0]}"), (first, last), strict=True
    ):
        for axis, picture in zip(row, neurons(agent, most), strict=True):
            show(axis, on_white(picture))
        row[0].set_ylabel(title.replace(" million", "\nmillion"), fontsize=10)
    return figure


def neurons(agent: Agent, units: Array) -> Array:
    """The weights of some hidden neurons for the pixels of this screen, [units, rows, columns] from -1 to 1.

    Each pixel is the mean of its neighbourhood, for single weights are noisy; 1 is large at the run's end.
    """
    last = smoothed(scenes.ages()[-1][1], units)
    large = np.quantile(np.abs(last), 0.99, axis=(1, 2))
    return np.clip(smoothed(agent, units) / large[:, None, None], -1, 1)


def learned_most(count: int) -> Array:
    """The hidden neurons whose change during the run has most structure."""
    units = np.arange(scenes.ages()[0][1].network.weights["W1"].shape[1])
    first, last = (smoothed(scenes.ages()[i][1], units) for i in (0, -1))
    return np.argsort(-np.std(last - first, axis=(1, 2)))[:count]


def smoothed(agent: Agent, units: Array, width: float = 1.3) -> Array:
    """The weights of hidden neurons for the pixels of this screen, blurred; [units, rows, columns]."""
    vision = agent.vision
    assert isinstance(vision, Vision)
    out = agent.network.weights["W1"][: vision.pixels, units].T.reshape(-1, *vision.shape).astype(float)
    reach = np.arange(-4, 5)
    weight = np.exp(-(reach**2) / (2 * width**2))
    for axis in (1, 2):
        padded = np.pad(out, [(0, 0)] + [(4, 4) if i == axis else (0, 0) for i in (1, 2)])
        parts = (
            w * np.take(padded, np.arange(out.shape[axis]) + 4 + r, axis)
            for r, w in zip(reach, weight, strict=True)
        )
        out = sum(parts) / weight.sum()
    return np.asarray(out)


def sigmoid() -> Figure:
    """From logit to probability, and what is drawn with it."""
    logits, rng = np.linspace(-4, 4, 161), np.random.default_rng(1)
    figure, axis = new(3.4)
    axis.plot(logits, [probability(z) for z in logits], color=INK, linewidth=2, label="p = sigmoid(z)")
    for z in (-3, -2, -1, 0, 1, 2, 3):
        up = rng.random(40) < probability(z)
        places = z + rng.uniform(-0.25, 0.25, 40)
        heights = np.where(up, 1.12, -0.12) + rng.uniform(-0.045, 0.045, 40)
        axis.scatter(places, heights, c=[UP if each else DOWN for each in up], s=9, linewidth=0)
        axis.plot(
            [z], [up.mean()], "D", color=GOOD, markersize=6, label="share of UP in 40 draws" if z == 0 else ""
        )
    label(axis, -4, 1.12, "UP", color=UP, ha="left", fontsize=11)
    label(axis, 3.99, -0.12, "DOWN", color=DOWN, ha="right", fontsize=11)
    axis.set(
        xlabel="logit z", ylabel="probability of UP, p", ylim=(-0.22, 1.22), yticks=[0, 0.25, 0.5, 0.75, 1]
    )
    axis.grid(alpha=0.25)
    axis.legend(loc="center left", frameon=False)
    plain(axis)
    return figure


def probability(z: float) -> float:
    """p of a logit, from the forward pass of a network with a single input and a single neuron."""
    return float(classic.forward(np.ones(1), {"W1": np.ones((1, 1)), "W2": np.array([z])})[1])


# --- Chapter 5: returns ---------------------------------------------------------------------------------

SHOWN = 600
"""Steps of a game's chart."""


def returns() -> Figure:
    """Rewards of a real game, and the discounted returns of all its steps."""
    figure, (above, below) = new(4.0, 2, 1, sharex=True, height_ratios=[1, 1.6])
    points(above)
    chart(below, scenes.played().returns)
    above.set(ylabel="reward", ylim=(-1.3, 1.3))
    below.set(xlabel="step", ylabel="return", ylim=(-1.1, 1.1))
    return figure


def standardised() -> Figure:
    """Returns of a real game before and after standardising."""
    all_returns = scenes.played().returns
    figure, axes = new(4.4, 2, 1, sharex=True)
    kinds = (("returns R", all_returns), ("advantages A", classic.standardise(all_returns)))
    for axis, (name, values) in zip(axes, kinds, strict=True):
        chart(axis, values)
        axis.axhline(values.mean(), color=GOOD, linewidth=1.5, linestyle="--")
        axis.set_ylabel(name)
        axis.set_title(
            f"whole game: mean {values.mean():.2f} (dashed), standard deviation {values.std():.2f}".replace(
                "mean -0.00", "mean 0.00"
            ),
            fontsize=10,
            loc="left",
        )
    axes[1].set_xlabel("step")
    return figure


def chart(axis: Any, values: Array) -> None:
    """Values of the first steps as an area, orange above 0 and blue below."""
    t, values = np.arange(SHOWN), values[:SHOWN]
    axis.fill_between(t, np.maximum(values, 0), step="mid", color=UP, alpha=0.45, linewidth=0)
    axis.fill_between(t, np.minimum(values, 0), step="mid", color=DOWN, alpha=0.45, linewidth=0)
    axis.axhline(0, color=FAINT, linewidth=0.8)
    axis.set_xlim(0, SHOWN)
    axis.grid(alpha=0.25)
    plain(axis)


def points(axis: Any) -> None:
    """The rewards of the first steps."""
    rewards = scenes.played().rewards[:SHOWN]
    for sign, colour, text in ((1, UP, "a point won"), (-1, DOWN, "a point lost")):
        ends = np.flatnonzero(rewards == sign)
        axis.vlines(ends, 0, rewards[ends], color=colour, linewidth=1.5)
        axis.plot(ends, rewards[ends], "o", color=colour, markersize=6, label=text)
    axis.axhline(0, color=FAINT, linewidth=0.8)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=10)
    axis.grid(alpha=0.25)
    plain(axis)


# --- Chapter 6: backpropagation -------------------------------------------------------------------------

BOXES = {
    "x": (0, 1, "[T, 6400]", "inputs"),
    "h": (1, 1, "[T, 200]", "ReLU(W1 x)"),
    "z": (2, 1, "[T]", "W2 h"),
    "p": (3, 1, "[T]", "sigmoid(z)"),
    "dz": (3, 0, "[T]", "(y - p) A"),
    "dh": (0.9, 0, "[T, 200]", "dz W2, 0 if h is 0"),
    "dW1": (0, -1, "[200, 6400]", "dh x, summed"),
    "dW2": (2, -1, "[200]", "dz h, summed"),
}
"""What stands where: column, row, shape, formula."""


def backprop() -> Figure:
    """Forward and backward pass as boxes and arrows."""
    figure, axis = new(4.4)
    axis.set(xlim=(-0.5, 3.5), ylim=(-1.4, 1.75))
    axis.set_axis_off()
    boxes = {}
    for name, (x, y, shape, what) in BOXES.items():
        colour = UP if name[0] == "d" else INK
        boxes[name] = FancyBboxPatch((x - 0.36, y - 0.28), 0.72, 0.56, facecolor="white", edgecolor=colour,
                                     boxstyle="round,pad=0.02,rounding_size=0.06", linewidth=1.6)  # fmt: skip
        axis.add_patch(boxes[name])
        label(axis, x, y + 0.16, name, color=colour, fontsize=12.5, weight="bold")
        label(axis, x, y - 0.03, shape)
        label(axis, x, y - 0.2, what, fontsize=9, color="#555555")
    forward = [("x", "h", "W1"), ("h", "z", "W2"), ("z", "p", "")]
    backward = [("p", "dz", "y, A"), ("dz", "dh", "W2"), ("dz", "dW2", ""), ("dh", "dW1", "")]
    kept = [("h", "dW2", ""), ("x", "dW1", ""), ("h", "dh", "on or off")]
    for arrows, colour, style in ((forward, INK, "-"), (backward, UP, "-"), (kept, "#777d87", "--")):
        for start, end, text in arrows:
            (x, y), (to_x, to_y) = BOXES[start][:2], BOXES[end][:2]
            arrow = FancyArrowPatch((x, y), (to_x, to_y), patchA=boxes[start], patchB=boxes[end],
                                    arrowstyle="-|>", mutation_scale=14, color=colour, linewidth=1.5,
                                    linestyle=style)  # fmt: skip
            axis.add_patch(arrow)
            if y == to_y:
                label(axis, (x + to_x) / 2, y + 0.12, text, color=colour)
            else:
                label(axis, (x + to_x) / 2 - 0.06, (y + to_y) / 2, text, color=colour, ha="right")
    label(axis, -0.4, 1.62, "forward: black", ha="left", fontsize=10.5)
    label(axis, 0.75, 1.62, "backward: orange", ha="left", color=UP, fontsize=10.5)
    label(axis, 3.4, 1.62, "kept from the forward pass: dashed", ha="right", color="#666666", fontsize=10.5)
    return figure


# --- Chapters 7 and 8: RMSProp and learning -------------------------------------------------------------


def rmsprop() -> Figure:
    """Two ways through a ravine that is 50 times as steep one way as the other."""
    steepness, start = np.array([1.0, 50.0]), np.array([-9.0, 0.9])
    ascent, adapted = [start], [start]
    position, mean_square = {"w": start.copy()}, {"w": np.zeros(2)}
    with mock.patch.object(classic, "learning_rate", 0.1):
        for _ in range(40):
            ascent.append(ascent[-1] - 0.038 * steepness * ascent[-1])
            classic.rmsprop(position, {"w": -steepness * position["w"]}, mean_square)
            adapted.append(position["w"].copy())
    figure, (above, below) = new(4.9, 2, 1, height_ratios=[1, 1.2])
    x, y = np.meshgrid(np.linspace(-9.7, 1, 121), np.linspace(-1.15, 1.15, 81))
    height = -(steepness[0] * x**2 + steepness[1] * y**2)
    above.contour(x, y, height, 14, colors="#c9ccd2", linestyles="-", linewidths=0.8)
    above.plot([0], [0], "*", color=GOOD, markersize=13)
    for name, path, colour in (("the gradient alone", ascent, DOWN), ("RMSProp", adapted, UP)):
        places = np.array(path)
        above.plot(*places.T, ".-", color=colour, linewidth=1.2, markersize=5, label=name)
        for i, style in enumerate(("-", ":")):
            step = np.abs(np.diff(places[:, i])).clip(1e-9)
            below.semilogy(step, style, color=colour, linewidth=1.8, label=f"{name}, weight {i + 1}")
    above.set(xlabel="weight 1: flat", ylabel="weight 2: steep", aspect="equal")
    below.set(xlabel="update", ylabel="size of the step", ylim=(1e-4, 5), xlim=(0, 39))
    below.set_yticks([1e-4, 1e-3, 1e-2, 0.1, 1], ["0.0001", "0.001", "0.01", "0.1", "1"])
    below.grid(alpha=0.25)
    for axis, columns in ((above, 2), (below, 2)):
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, frameon=False, fontsize=9.5)
        plain(axis)
    return figure


# --- Chapters 6 and 9: checks ---------------------------------------------------------------------------


def gradient_pairs() -> dict[str, tuple[Array, Array]]:
    """Of W1 and W2 the gradient by hand and by finite differences, at the weights that are checked."""
    lived = scenes.lived()
    gradient = classic.gradient_of_game(lived.x, lived.h, lived.p, lived.y, lived.rewards, lived.weights)
    places, slopes = lived.slopes
    return {name: (gradient[name].flat[places[name]], slopes[name]) for name in places}


def gradient_check() -> Figure:
    """The gradient by hand against finite differences, weight by weight."""
    figure, axes = new(3.5, 1, 2)
    for axis, (name, (by_hand, by_slope)) in zip(axes, gradient_pairs().items(), strict=True):
        reach = 1.1 * np.abs(by_slope).max()
        axis.plot([-reach, reach], [-reach, reach], color=FAINT, linewidth=1)
        axis.plot(by_slope, by_hand, "o", color=UP, markersize=4, alpha=0.6, markeredgewidth=0)
        error = mistakes.relative_error(by_hand, by_slope)
        axis.set_title(f"{len(by_hand)} weights of {name}\nrelative error {error:.0e}", fontsize=10)
        axis.set(xlabel="by finite differences", ylabel="by backpropagation")
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axis.locator_params(nbins=5)
        axis.grid(alpha=0.25)
    return figure


def five_mistakes() -> Figure:
    """The error of each mistake's check, with the right function and with the wrong one."""
    table, least = mistakes.errors(scenes.lived()), 1e-18
    figure, axis = new(3.2)
    for y, (_, right, wrong) in enumerate(reversed(table)):
        axis.plot([max(right, least), wrong], [y, y], color="#d4d7dc", linewidth=2, zorder=1)
        axis.plot([max(right, least)], [y], "o", color=GOOD, markersize=9)
        axis.plot([wrong], [y], "X", color=UP, markersize=10)
        if right < least:
            label(axis, 2.5 * least, y + 0.28, "exactly 0", ha="left", color=GOOD, fontsize=9)
        label(axis, wrong * 3, y, f"{wrong:.2f}", ha="left", color=UP)
    axis.axvline(mistakes.PASSES_BELOW, color=FAINT, linestyle="--", linewidth=1)
    label(
        axis,
        mistakes.PASSES_BELOW / 2,
        len(table) - 0.45,
        "a check passes to the left",
        ha="right",
        fontsize=9,
        color="#666666",
    )
    axis.set_yticks(range(len(table)), [each.what for each, *_ in reversed(table)], fontsize=10)
    axis.set(
        xscale="log",
        xlim=(least / 4, 60),
        ylim=(-0.5, len(table) - 0.2),
        xlabel="relative error of the check",
    )
    powers = range(-18, 1, 3)
    axis.set_xticks([10.0**n for n in powers], [f"1e{n}" if n else "1" for n in powers])
    axis.plot([], [], "o", color=GOOD, markersize=9, label="right")
    axis.plot([], [], "X", color=UP, markersize=10, label="with the mistake")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    plain(axis)
    return figure
