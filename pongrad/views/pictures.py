"""Pictures of a game and of what goes on inside an agent that plays it.

They are uint8 [height, width, 3], RGB. Positive weights are orange, negative ones are blue.
"""

import functools
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pongrad.games.scores import reference
from pongrad.network.agent import Agent
from pongrad.network.layers import Array
from pongrad.views.moments import Moment
from pongrad.vision.frames import STACK, FrameStack

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

BACKGROUND, INK, FAINT = (16, 18, 24), (235, 235, 235), (130, 135, 145)
ORANGE, BLUE, LIT = (255, 150, 60), (90, 160, 255), (255, 215, 130)
WIDTH, HEIGHT = 480, 630
"""Pixels of a video: of a game about so wide, and of the panel beside it."""

_TILE = 20
_COLUMNS = 20
_HISTORY = 150
_ACTIONS_HEIGHT = 204
_ACROSS = 450
"""Pixels of a panel's width that are drawn on."""

_FADING = (1.0, 0.5, 0.3, 0.2)
"""How brightly each of the last four frames is shown, newest first."""

_GIVEN = 252
"""Pixels of the picture of what the network is given, at most."""

_BELOW, _LINE, _GAP = 380, 22, 4
_TILE_SHARE = 0.5
"""A filter's side beside that of its feature map."""

_UNLIT = (30, 33, 42)


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

    Of an agent that is given two screens it is the newer one's weights that are shown. Of a convolutional
    network they are the first layer's filters, of the last four frames side by side, oldest first.

    Returns:
        float32 [units, rows, columns] from -1 to 1, at most size x size, or size x 4 size of four frames; the
        largest twentieth of a neuron reaches 1.
    """
    first, vision = agent.network.weights["W1"], agent.vision
    if isinstance(vision, FrameStack):
        kernel = math.isqrt(len(first) // STACK)
        by_frame = first.reshape(kernel, kernel, STACK, -1).swapaxes(1, 2)
        small = by_frame.reshape(kernel, STACK * kernel, -1)
    else:
        rows, columns = vision.shape
        block_rows, block_columns = -(-rows // size), -(-columns // size)
        rows, columns = rows // block_rows, columns // block_columns
        now = first[: vision.pixels].reshape(*vision.shape, -1)
        now = now[: rows * block_rows, : columns * block_columns]
        small = now.reshape(rows, block_rows, columns, block_columns, -1).mean(axis=(1, 3))
    large = np.quantile(np.abs(small), 0.95, axis=(0, 1))
    return (small / np.where(large > 0, large, 1)).clip(-1, 1).transpose(2, 0, 1).astype(np.float32)


def signed(values: Array) -> Picture:
    """Numbers from -1 to 1 as colours [..., 3]: blue, black, orange."""
    up, down = np.clip(values, 0, 1)[..., None], np.clip(-values, 0, 1)[..., None]
    return (up * np.array(ORANGE) + down * np.array(BLUE)).astype(np.uint8)


def faded(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The last four frames [4, rows, columns], newest first, as one [rows, columns]: older ones fainter."""
    shades = inputs * np.array(_FADING, np.float32)[:, np.newaxis, np.newaxis]
    strongest = np.abs(shades).argmax(axis=0)
    return np.take_along_axis(shades, strongest[np.newaxis], 0)[0]


def seen(inputs: NDArray[np.float32]) -> Picture:
    """What the network is given [channels, rows, columns]: this screen orange, the one before blue.

    Of a network that is given their difference: what went on is orange, what went off is blue. Of one that is
    given the last four frames less the background: what is brighter is orange, what is darker is blue, and
    older frames are fainter.
    """
    if len(inputs) == STACK:
        shades = faded(inputs)
        return signed(np.sign(shades) * np.sqrt(np.abs(shades)))
    return signed(inputs[0] if len(inputs) == 1 else np.where(inputs[0] > 0, 1, -inputs[1]))


def label_picture(text: str, width: int) -> Picture:
    """A line of text, 34 pixels high."""
    image = Image.new("RGB", (width, 34), BACKGROUND)
    ImageDraw.Draw(image).text((width // 2, 17), text, INK, ImageFont.load_default(17), anchor="mm")
    return np.asarray(image)


class Inside:
    """Draws an agent's inside beside its game, moment after moment."""

    def __init__(self, agent: Agent) -> None:
        self._below: _Neurons | _Maps
        if isinstance(agent.vision, FrameStack):
            self._below, self._given = _Maps(agent), "given: last 4 frames, less background"
        else:
            self._below, self._given = _Neurons(agent), "what the network is given"
        self._names = agent.action_names
        self._duel = reference(agent.game).duel
        self._history: deque[Array] = deque(maxlen=_HISTORY)
        self._names_font = ImageFont.load_default(min(15, _ACTIONS_HEIGHT // len(self._names) - 2))

    def draw(self, moment: Moment) -> Picture:
        """The panel of one moment: uint8 [HEIGHT, WIDTH, 3]."""
        self._history.append(moment.probabilities)
        image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        draw = ImageDraw.Draw(image)

        _text(image, 15, 10, self._given)
        picture = seen(moment.inputs)
        given = enlarge(picture, max(1, _GIVEN // max(picture.shape[:2])))[:_GIVEN, :_GIVEN]
        draw.rectangle((14, 33, 15 + given.shape[1], 34 + len(given)), outline=(60, 64, 74))
        image.paste(Image.fromarray(given), (15, 34))

        _text(image, 285, 10, "probability of each action")
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
        _text(image, 285, 246, f"points {points}", INK)
        if moment.value is not None:
            _text(image, 285, 264, f"value {moment.value:+.2f}", INK)

        _text(image, 15, 290, f"the same in the last {_HISTORY} steps, {self._names[0]} at the top")
        chart = np.zeros((len(self._names), _HISTORY))
        chart[:, : len(self._history)] = np.array(self._history).T
        image.paste(Image.fromarray(signed(chart)).resize((_ACROSS, 60), Image.Resampling.NEAREST), (15, 312))
        self._below.draw(image, moment)
        return np.asarray(image)


def _text(image: Image.Image, x: int, y: int, what: str, colour: Colour = FAINT) -> None:
    ImageDraw.Draw(image).text((x, y), what, colour, _font())


@functools.cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(15)


class _Neurons:
    """The hidden neurons as pictures of their weights; those that fire are lit."""

    def __init__(self, agent: Agent) -> None:
        self._tiles = signed(neurons(agent, _TILE))
        self._strongest = 1e-9

    def draw(self, image: Image.Image, moment: Moment) -> None:
        self._strongest = max(self._strongest, float(moment.hidden.max(initial=0)))
        shown = min(len(moment.hidden), 10 * _COLUMNS)
        firing = int((moment.hidden > 0).sum())
        _text(image, 15, _BELOW, f"hidden neurons by their weights: {firing} of {len(moment.hidden)} fire")
        image.paste(Image.fromarray(self._grid(moment.hidden[:shown])), (15, _BELOW + _LINE + 1))

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


class _Maps:
    """A convolutional network's first filters, of the newest frame, and all its feature maps."""

    def __init__(self, agent: Agent) -> None:
        tiles = neurons(agent, _TILE)
        self._tiles = signed(tiles[:, :, -tiles.shape[1] :])
        self._strongest = [1e-9 for _ in agent.network.strides]

    def draw(self, image: Image.Image, moment: Moment) -> None:
        y, count = _BELOW, len(moment.maps)
        for i, maps in enumerate(moment.maps):
            self._strongest[i] = max(self._strongest[i], float(maps.max()))
            text = f"layer {i + 1}: {len(maps)} {'maps' if i else 'filters, and where each fires'}"
            if i == count - 1:
                firing = int((moment.hidden > 0).sum())
                text += f"; then {firing} of {len(moment.hidden)} neurons fire"
            _text(image, 15, y, text)
            y += _LINE
            room = HEIGHT - y - _LINE * (count - i - 1)
            if i < count - 1:
                room = round(room * (0.7 if i == 0 else 1 / (count - i)))
            light = brightness(maps, self._strongest[i])
            y += _draw_maps(image, y, room, light, None if i else self._tiles)


def brightness(strengths: Array, strongest: float) -> Array:
    """How bright to draw what fires so strongly, from 0, for what does not fire, to 1."""
    return np.where(strengths > 0, 0.3 + 0.7 * np.sqrt(np.maximum(strengths, 0) / strongest), 0)


def _draw_maps(image: Image.Image, top: int, room: int, light: Array, tiles: Picture | None) -> int:
    """Draw feature maps as large as there is room for, each under its filter.

    Args:
        image: the panel.
        top: where to begin.
        room: how high they may be.
        light: [maps, rows, columns] from 0 to 1.
        tiles: of each map the picture of its filter, if there is one.

    Returns:
        How high they are.
    """
    kernel = 0 if tiles is None else tiles.shape[1]

    def tile(side: int) -> int:
        share = round(_TILE_SHARE * side)  # a whole multiple of the kernel draws all weights as large
        return kernel and (round(share / kernel) * kernel or share)

    def lines(side: int) -> int:
        return -(-len(light) // (_ACROSS // (side + _GAP)))

    fit = (side for side in range(60, 1, -1) if lines(side) * (tile(side) + side + _GAP) <= room)
    side = next(fit, 1)
    columns, tile_side, line = -(-len(light) // lines(side)), tile(side), tile(side) + side + _GAP
    for i, each in enumerate(light):
        x, y = 15 + i % columns * (_ACROSS // columns), top + i // columns * line
        if tiles is not None:
            lit = Image.fromarray((tiles[i] * (0.3 + 0.7 * each.max())).astype(np.uint8))
            image.paste(lit.resize((tile_side, tile_side), Image.Resampling.NEAREST), (x, y))
        shown = np.maximum(each[..., np.newaxis] * np.array(LIT), _UNLIT).astype(np.uint8)
        small = Image.fromarray(shown).resize((side, side), Image.Resampling.NEAREST)
        image.paste(small, (x, y + tile_side))
    return lines(side) * line
