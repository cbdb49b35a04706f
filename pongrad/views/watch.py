"""Plays an agent, game after game, for the page to draw.

Without viewers nothing is played, and the game never runs faster than a viewer draws it.
"""

import asyncio
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.games.scores import reference
from pongrad.network.agent import Agent
from pongrad.network.convolution import Filters
from pongrad.runs.folder import RunFolder
from pongrad.views.moments import Moment, moments
from pongrad.views.pictures import faded, neurons
from pongrad.views.web import Broadcaster
from pongrad.vision.frames import SIDE, STACK, FrameStack

SPEEDS = {"slow": 0.25, "real": 1.0, "fast": 4.0}
"""Times 60 frames a second; fast shows only the last of a step's frames."""

TILE = 20
MOMENT, NEURONS = 1, 2
"""The first byte of what is sent in binary."""

_SECONDS_BETWEEN_NEWS = 2.0
_CURVE_POINTS = 400


class Watch:
    """Plays an agent and shows it; see `web.PageSource`."""

    def __init__(
        self, agent: Agent, name: str, folder: RunFolder | None, seed: int = 0, share: float | None = None
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            agent: who plays; its weights may change meanwhile.
            name: what to call it.
            folder: its run, if there is one: its curve and numbers are shown.
            seed: what the games' randomness comes from, as in `evaluate`.
            share: how much of one core to use at most; all slows down as more would be needed.
        """
        self._agent, self._name, self._folder = agent, name, folder
        self._seed, self._share = seed, share
        self._speed, self._paused, self._steps = "real", False, 0
        self._changed = asyncio.Event()
        self._broadcaster: Broadcaster | None = None

    def handle(self, command: dict[str, Any]) -> None:
        """{"speed": "slow" | "real" | "fast"}, {"pause": true | false} or {"step": 1}."""
        match command:
            case {"speed": str(speed), **rest} if speed in SPEEDS and not rest:
                self._speed = speed
            case {"pause": bool(paused), **rest} if not rest:
                self._paused, self._steps = paused, 0
            case {"step": 1, **rest} if not rest:
                self._paused, self._steps = True, 1
            case _:
                raise ValueError(command)
        self._changed.set()
        if self._broadcaster:
            self._broadcaster.tell("status", self._status())

    def _status(self) -> dict[str, Any]:
        return {"speed": self._speed, "paused": self._paused}

    async def run(self, broadcaster: Broadcaster) -> None:
        """Show game after game."""
        self._broadcaster = broadcaster
        agent = self._agent
        broadcaster.tell(
            "hello",
            {"mode": "watch", "name": self._name, "game": agent.game, "actions": agent.action_names,
             "screen": (agent.vision.height, agent.vision.width), "duel": reference(agent.game).duel,
             **network_news(agent)},
        )  # fmt: skip
        broadcaster.tell("status", self._status())
        news = asyncio.create_task(self._tell_news(broadcaster))
        try:
            await self._play(broadcaster)
        finally:
            news.cancel()

    async def _play(self, broadcaster: Broadcaster) -> None:
        await broadcaster.wait_for_viewers()
        playing = self._games(environment.make(self._agent.game))
        due, used = time.monotonic(), time.process_time()
        while True:
            await broadcaster.wait_for_viewers()
            if self._paused and not self._steps:
                self._changed.clear()
                await self._changed.wait()
            elif not broadcaster.has_room:
                await asyncio.sleep(0.02)
            else:
                self._steps = 0
                number, moment = next(playing)
                broadcaster.show(encode(number, moment, whole=self._speed != "fast"))
                cost, used = time.process_time() - used, time.process_time()
                period = len(moment.frames) / 60 / SPEEDS[self._speed]
                if self._share:
                    period = max(period, min(cost / self._share, 1.0))
                due = max(due + period, time.monotonic() - period)
                await asyncio.sleep(max(due - time.monotonic(), 0))

    def _games(self, emulator: environment.Environment) -> Iterator[tuple[int, Moment]]:
        game = Game(self._agent.game, self._seed, Purpose.EVALUATION, 0)
        while True:
            for moment in moments(self._agent, game, emulator):
                yield game.number, moment
            game = game.successor(1)

    async def _tell_news(self, broadcaster: Broadcaster) -> None:
        """Tell now and then what the run has come to, and what the neurons look like by now."""
        shown = b""
        while True:
            await broadcaster.wait_for_viewers()
            if self._folder:
                broadcaster.tell("run", run_news(self._folder))
            weights = neurons_message(self._agent)
            if shown != weights:
                shown = weights
                broadcaster.tell("neurons", weights)
            await asyncio.sleep(_SECONDS_BETWEEN_NEWS)


def folder_of(agent: Path) -> RunFolder | None:
    """The run that an agent comes from, if it lies in a run's folder."""
    for folder in (agent, agent.parent):
        if (folder / "config.json").is_file():
            return RunFolder(folder)
    return None


def run_news(folder: RunFolder) -> dict[str, Any]:
    """What a run has come to: its newest numbers and its curve as [frames, mean score of 100 games]."""
    config = folder.config()
    known = reference(config.environment)
    lines = folder.metrics()
    scored = [
        (line["frames"], round(line["mean_score_100"], 3))
        for line in lines
        if line["mean_score_100"] is not None
    ]
    thin = scored[:: -(-len(scored) // _CURVE_POINTS) or 1]
    last = lines[-1] if lines else {}
    names = ("frames", "games", "seconds", "mean_score_100", "mean_score_20", "frames_per_second")
    return {
        "run": folder.path.name,
        "recipe": config.recipe,
        "seed": config.seed,
        "beaten_above": known.beaten_above,
        "beaten": "the computer is beaten" if known.duel else "the human score",
        "random": known.random,
        "duel": known.duel,
        "curve": thin + scored[-1:] if scored else [],
        **{name: last.get(name) for name in names},
    }


def network_news(agent: Agent) -> dict[str, Any]:
    """Of which kind an agent's network is, and the shapes of what a moment tells of it, see `encode`.

    Shape: rows and columns of what the network is given. Channels: 1, the change of a screen; 2, this screen
    and the one before; 4, the last four frames. Maps: filters, rows and columns of each convolution.
    """
    vision, layers = agent.vision, agent.network.layers
    maps = [(layer.out_shape[2], *layer.out_shape[:2]) for layer in layers if isinstance(layer, Filters)]
    if isinstance(vision, FrameStack):
        kind, shape, channels = "conv", (SIDE, SIDE), STACK
    else:
        kind, shape, channels = "sparse", vision.shape, vision.channels
    hidden = agent.network.weights[f"W{len(maps) + 1}"]
    return {"network": kind, "shape": shape, "channels": channels, "units": hidden.shape[1], "maps": maps}


def neurons_message(agent: Agent) -> bytes:
    """The weights of the first layer's neurons, or filters, as the page reads them; see `neurons`.

    Kind, rows, columns, 0 (uint8 each); weights from -127 to 127 (int8 [units, rows, columns]).
    """
    small = neurons(agent, TILE)
    return bytes([NEURONS, *small.shape[1:], 0]) + np.round(127 * small).astype(np.int8).tobytes()


def encode(number: int, moment: Moment, whole: bool) -> bytes:
    """A moment as the page reads it; `whole`: all its frames, else the last.

    Little-endian: kind, action, frames, actions (uint8 each); units, inputs that are not zero (uint16);
    number of the game, step (uint32); points won, points lost, value (float32, NaN for none); the inputs'
    places (uint16) and values (int8); each action's probability and how strongly each neuron fires (float32);
    of each convolution the strongest that a filter fires (float32), and how strongly each does in each place,
    as 255ths of it (uint8); then of each frame how many runs (uint32), their lengths (uint32) and colours
    (3 uint8).

    The inputs are those of `Moment`. Of a convolutional network they are as `faded` shows them, in 127ths.
    """
    inputs = moment.inputs
    flat = np.rint(127 * faded(inputs)).ravel() if moment.maps else inputs.ravel()
    on = flat.nonzero()[0]
    frames = moment.frames if whole else moment.frames[-1:]
    head = struct.pack(
        "<4BHHII3f", MOMENT, moment.action, len(frames), len(moment.probabilities), len(moment.hidden),
        len(on), number, moment.step, moment.won, moment.lost,
        np.nan if moment.value is None else moment.value,
    )  # fmt: skip
    parts = [head, on.astype("<u2").tobytes(), flat[on].astype(np.int8).tobytes()]
    parts += [moment.probabilities.astype("<f4").tobytes(), moment.hidden.astype("<f4").tobytes()]
    for maps in moment.maps:
        strongest = max(float(maps.max()), 1e-9)
        lit = np.minimum(np.ceil(255 / strongest * maps), 255)  # rounded up: what fires is not 0
        parts += [struct.pack("<f", strongest), lit.astype(np.uint8).tobytes()]
    return b"".join(parts + [run_length_encoding(frame) for frame in frames])


def run_length_encoding(frame: NDArray[np.uint8]) -> bytes:
    """A frame [height, width, 3] as runs of one colour: their number, lengths and colours, see `encode`."""
    pixels = frame.reshape(-1, 3)
    words = pixels.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(words)) + 1])
    lengths = np.diff(np.append(starts, len(words))).astype("<u4")
    return struct.pack("<I", len(starts)) + lengths.tobytes() + pixels[starts].tobytes()
