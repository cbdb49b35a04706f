"""The data and pictures of the widgets, in docs/figures; see widgets/widgets.js."""

# mypy: allow-untyped-calls

import io
from typing import Any

import figures_classic
import numpy as np
import scenes
from PIL import Image
from scenes import FIGURES, Array

from pongrad import classic
from pongrad.ground import storage

NEURONS = 12
"""Hidden neurons to look at."""


def write() -> None:
    """Write gamma.json, six-steps.json, six-steps-0.png to -6.png, neuron.json and neuron.png."""
    storage.write_json(FIGURES / "gamma.json", gamma())
    storage.write_json(FIGURES / "six-steps.json", six_steps())
    storage.write_json(FIGURES / "neuron.json", neuron())


def gamma() -> dict[str, Any]:
    """A real game's rewards, and its returns with the lesson's gamma."""
    played = scenes.played()
    ends = played.rewards.nonzero()[0]
    return {
        "steps": len(played.rewards),
        "gamma": classic.gamma,
        "rewards": [[int(t), played.rewards[t]] for t in ends],
        "returns": [round(float(each), 4) for each in played.returns],
    }


def six_steps() -> list[dict[str, str]]:
    """The screen and the six steps; writes their pictures."""
    steps = []
    for i, (title, text, shape, result) in enumerate(figures_classic.steps()):
        name = f"six-steps-{i}.png"
        picture(name, as_picture(title, result))
        steps.append({"title": title, "text": text, "shape": shape, "picture": name})
    return steps


def as_picture(title: str, result: Array) -> Array:
    """A step's result as a picture, uint8 [rows, columns, 3]; a vector of 0 and 1 as a strip of lines."""
    if title.startswith("6"):
        return (255 * figures_classic.on_white(result.reshape(80, 80))).astype(np.uint8)
    if title.startswith("5"):
        columns = (result.reshape(-1, 10) != 0).any(axis=1)  # ten numbers a column of the strip
        return np.where(columns[None, :, None], 34, 255).astype(np.uint8).repeat(90, 0).repeat(3, 2)
    if result.dtype == np.int8:
        return np.where(result[..., None] != 0, 34, 255).astype(np.uint8).repeat(3, 2)
    return result if result.ndim == 3 else result[..., None].repeat(3, 2)


def neuron() -> dict[str, Any]:
    """The run's stages; writes one picture of all neurons, a row a stage."""
    most = figures_classic.learned_most(NEURONS)
    rows = [
        np.hstack(list(figures_classic.on_white(figures_classic.neurons(agent, most)[:, ::2, ::2])))
        for _, agent in scenes.ages()
    ]
    picture("neuron.png", (255 * np.vstack(rows)).astype(np.uint8))
    return {
        "picture": "neuron.png",
        "stages": [age.replace(",", ", mean score") for age, _ in scenes.ages()],
        "neurons": NEURONS,
        "width": rows[0].shape[1] // NEURONS,
        "height": rows[0].shape[0],
    }


def picture(name: str, pixels: Array) -> None:
    """Write a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    storage.write(FIGURES / name, file.getvalue())
