"""Pictures of a game and of what goes on inside an agent that plays it.

They are uint8 [height, width, 3], RGB. Positive weights are orange, negative ones are blue.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pongrad.games.scores import reference
from pongrad.network.agent import Agent
from pongrad.network.layers import Array
from pongrad.views.moments import Moment

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

BACKGROUND, INK, FAINT = (16, 18, 24), (235, 235, 235), (130, 135, 145)
ORANGE, BLUE = (255, 150, 60), (90, 160, 255)
WIDTH, HEIGHT = 480, 630
"""Pixels of a video: of a game about so wide, and of the panel beside it."""

_TILE = 20
_COLUMNS = 20
_HISTORY = 150
_ACTIONS_HEIGHT = 204


def scale_for(width: int, want: int = WIDTH) -> int:
    """How many times a picture is enlarged to be about so wide, at least once."""
    return max(1, want // width)


def enlarge(picture: Picture, scale: int | None = None) -> Picture:
    """Every pixel becomes a square; None: as large as a video shows it."""
    scale = scale_for(picture.shape[1]) if scale is None else scale
    return picture.repeat(scale, 0).repeat(scale, 1)


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Pictures in a row, from the top; lower ones are filled up."""
    height = max(len(picture) for picture in pictures)
    return np.hstack([np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0))) for picture in pictures])


def neurons(agent: Agent, size: int) -> NDArray[np.float32]:
    """The weights of every neuron of the first hidden layer as a small picture.

    Of an agent that is given two screens it is the newer one's weights that are shown.

    Returns:
        float32 [units, at most size, at most size] from -1 to 1; the largest twentieth of a neuron reaches 1.
    """
    first = next(iter(agent.network.weights.values()))
    rows, columns = agent.vision.shape
    block_rows, block_columns = -(-rows // size), -(-columns // size)
    rows, columns = rows // block_rows, columns // block_columns
    now = first[: agent.vision.pixels].reshape(*agent.vision.shape, -1)
    now = now[: rows * block_rows, : columns * block_columns]
    small = now.reshape(rows, block_rows, columns, block_columns, -1).mean(axis=(1, 3))
    large = np.quantile(np.abs(small), 0.95, axis=(0, 1))
    return (small / np.where(large > 0, large, 1)).clip(-1, 1).transpose(2, 0, 1).astype(np.float32)


def signed(values: Array) -> Picture:
    """Numbers from -1 to 1 as colours [..., 3]: blue, black, orange."""
    up, down = np.clip(values, 0, 1)[..., None], np.clip(-values, 0, 1)[..., None]
    return (up * np.array(ORANGE) + down * np.array(BLUE)).astype(np.uint8)


def seen(inputs: NDArray[np.float32]) -> Picture:
    """What the network is given [channels, rows, columns]: this screen orange, the one before blue.

    Of a network that is given their difference: what went on is orange, what went off is blue.
    """
    return signed(inputs[0] if len(inputs) == 1 else np.where(inputs[0] > 0, 1, -inputs[1]))


def label_picture(text: str, width: int) -> Picture:
    """A line of text, 34 pixels high."""
    image = Image.new("RGB", (width, 34), BACKGROUND)
    ImageDraw.Draw(image).text((width // 2, 17), text, INK, ImageFont.load_default(17), anchor="mm")
    return np.asarray(image)


class Inside:
    """Draws an agent's inside beside its game, moment after moment."""

    def __init__(self, agent: Agent) -> None:
        self._tiles = signed(neurons(agent, _TILE))
        self._names = agent.action_names
        self._duel = reference(agent.game).duel
        self._history: deque[Array] = deque(maxlen=_HISTORY)
        self._strongest = 1e-9
        self._small = ImageFont.load_default(15)
        self._names_font = ImageFont.load_default(min(15, _ACTIONS_HEIGHT // len(self._names) - 2))

    def draw(self, moment: Moment) -> Picture:
        """The panel of one moment: uint8 [HEIGHT, WIDTH, 3]."""
        self._history.append(moment.probabilities)
        self._strongest = max(self._strongest, float(moment.hidden.max(initial=0)))
        image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        draw = ImageDraw.Draw(image)

        def text(x: int, y: int, what: str, colour: Colour = FAINT) -> None:
            draw.text((x, y), what, colour, self._small)

        text(15, 10, "what the network is given")
        picture = seen(moment.inputs)
        given = enlarge(picture, max(1, 240 // max(picture.shape[:2])))[:240, :240]
        draw.rectangle((14, 33, 15 + given.shape[1], 34 + len(given)), outline=(60, 64, 74))
        image.paste(Image.fromarray(given), (15, 34))

        text(285, 10, "probability of each action")
        rows = zip(self._names, moment.probabilities, strict=True)
        for i, (name, p) in enumerate(rows):
            height = _ACTIONS_HEIGHT // len(self._names)
            y = 34 + i * height
            colour = ORANGE if i == moment.action else FAINT  # the action that it takes
            bottom = y + min(20, height)
            draw.rectangle(
                (285, bottom, 285 + round(180 * float(p)), bottom + min(3, height // 16)), fill=colour
            )
            ink = INK if i == moment.action else FAINT
            draw.text((285, y), name, ink, self._names_font)
            draw.text((465, y), f"{p:.0%}", colour, self._names_font, anchor="ra")
        points = f"{moment.won:g} : {moment.lost:g}" if self._duel else f"{moment.won - moment.lost:,.10g}"
        text(285, 246, f"points {points}", INK)
        if moment.value is not None:
            text(285, 264, f"value {moment.value:+.2f}", INK)

        text(15, 288, f"the same in the last {_HISTORY // 15} seconds, {self._names[0]} at the top")
        chart = np.zeros((len(self._names), _HISTORY))
        chart[:, : len(self._history)] = np.array(self._history).T
        image.paste(Image.fromarray(signed(chart)).resize((450, 60), Image.Resampling.NEAREST), (15, 310))

        shown = min(len(moment.hidden), 10 * _COLUMNS)
        firing = int((moment.hidden > 0).sum())
        text(15, 380, f"hidden neurons by their weights: {firing} of {len(moment.hidden)} fire")
        image.paste(Image.fromarray(self._grid(moment.hidden[:shown])), (15, 403))
        return np.asarray(image)

    def _grid(self, hidden: Array) -> Picture:
        """The neurons' pictures in rows; the stronger one fires the brighter it is."""
        light = np.where(hidden > 0, 0.35 + 0.65 * np.sqrt(np.clip(hidden / self._strongest, 0, 1)), 0.12)
        rows = -(-len(hidden) // _COLUMNS)
        tiles = np.zeros((rows * _COLUMNS, _TILE + 2, _TILE + 2, 3), np.uint8)
        side = self._tiles[: len(hidden)].shape[1:3]
        tiles[: len(hidden)] = np.where(hidden > 0, 90, 30)[:, None, None, None].astype(np.uint8)
        tiles[: len(hidden), 1 : 1 + side[0], 1 : 1 + side[1]] = (
            self._tiles[: len(hidden)] * light[:, None, None, None]
        )
        lines = tiles.reshape(rows, _COLUMNS, _TILE + 2, _TILE + 2, 3).swapaxes(1, 2)
        return lines.reshape(rows * (_TILE + 2), _COLUMNS * (_TILE + 2), 3)
