"""A person against an agent, on the cartridge's own game for two.

The person is on the left, the agent on the right, where it has learned to play. The agent decides every
four frames, as it has learned to; the person may change direction on every frame.
"""

import asyncio
import contextlib
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ale_py
import numpy as np
from ale_py import Action
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.ground.commands import python
from pongrad.ground.errors import UserError
from pongrad.network.agent import Agent
from pongrad.runs import stages
from pongrad.runs.folder import RunFolder
from pongrad.views.watch import run_length_encoding
from pongrad.views.web import Broadcaster
from pongrad.vision.frames import FrameStack

SCREEN = (210, 160)
FRAMES_A_STEP = 4
FRAME = 3
"""The first byte of what is sent in binary."""

POINTS = 21
_TWO_PLAYERS = 3
_MOVES = {0: Action.NOOP, 1: Action.RIGHT, -1: Action.LEFT}
"""What the joystick does for a person's move: nothing, up, down."""
_SERVE_FRAMES = 8
_PERIOD = 1 / 60
_LONGEST_PERIOD = 1.05 * _PERIOD


class Duel:
    """The cartridge with two players.

    Attributes:
        screen: uint8 [210, 160], the emulator's palette indices, as agents with sparse inputs see it.
        greys: uint8 [2, 210, 160], the last two frames in grey, as convolutional networks see it.
        points: won by the left and by the right player.
    """

    def __init__(self, seed: int) -> None:
        """Load the cartridge.

        Raises:
            UserError: the two-player emulator is not installed.
        """
        try:
            emulator = importlib.import_module("multi_agent_ale_py")
        except ImportError as error:
            install = python("-m", "pip", "install", "multi-agent-ale-py")
            raise UserError(f"playing needs the emulator for two players: {install}") from error
        emulator.ALEInterface.setLoggerMode("error")
        self._ale = emulator.ALEInterface()
        self._ale.setInt(b"random_seed", seed)
        self._ale.setFloat(b"repeat_action_probability", 0.0)
        self._ale.loadROM(str(ale_py.roms.get_rom_path("pong")))
        self._ale.setMode(_TWO_PLAYERS)
        self._flat = np.zeros(SCREEN[0] * SCREEN[1], np.uint8)
        self.screen: NDArray[np.uint8] = self._flat.reshape(SCREEN)
        self.greys: NDArray[np.uint8] = np.zeros((2, *SCREEN), np.uint8)
        self.restart()

    def restart(self) -> None:
        """Begin a new game."""
        self._ale.reset_game()
        self.points = [0, 0]
        self._look()
        self.greys[0] = self.greys[1]

    def _look(self) -> None:
        self._ale.getScreen(self._flat)
        self.greys[0] = self.greys[1]
        self._ale.getScreenGrayscale(self.greys[1])

    @property
    def over(self) -> bool:
        """Whether one side has won."""
        return max(self.points) >= POINTS

    def act(self, left: int, right: Action, serve: bool) -> None:
        """Play one frame.

        Args:
            left: where the left paddle goes: 1 up, -1 down, 0 nowhere.
            right: the right player's action.
            serve: whether both press the button; whose turn it is, serves.
        """
        actions = [right, _MOVES[left]]
        if serve:
            actions = [_with_fire(action) for action in actions]
        rewards = self._ale.act(np.array([action.value for action in actions], np.int32))
        self.points[0] += int(rewards[1] > 0)
        self.points[1] += int(rewards[0] > 0)
        self._look()

    def picture(self) -> NDArray[np.uint8]:
        """The screen in colours, uint8 [210, 160, 3]."""
        return self._ale.getScreenRGB().reshape(*SCREEN, 3)


def _with_fire(action: Action) -> Action:
    """The same with the button pressed."""
    name = action.name.removesuffix("FIRE")
    return Action.FIRE if name in ("", "NOOP") else getattr(Action, name + "FIRE")


class Opponent:
    """An agent at the right paddle."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.restart()

    def restart(self) -> None:
        """A new game: forget what was seen."""
        self._agent.reset()

    def decide(self, duel: Duel) -> Action:
        """What it does for the next four frames."""
        agent = self._agent
        if isinstance(agent.vision, FrameStack):
            action = agent.decide(duel.greys)
        else:
            action = agent.decide(agent.vision.preprocessing_args(duel.screen))
        return getattr(Action, agent.action_names[action])


class Play:
    """A duel as a page's source; see `web.PageSource`."""

    def __init__(self, opponents: Sequence[tuple[str, Path]], seed: int = 0) -> None:
        """Load the first opponent and the cartridge.

        Args:
            opponents: names and files to choose from; the first begins.
            seed: what the emulator's randomness comes from.

        Raises:
            UserError: the first cannot be loaded, or the two-player emulator is not installed.
        """
        self._opponents = list(opponents)
        self._chosen = 0
        self._opponent = Opponent(load(self._opponents[0][1]))
        self._duel = Duel(seed)
        self._move, self._serve, self._paused = 0, 0, False
        self._frames, self._answer = 0, Action.NOOP
        self._changed = asyncio.Event()
        self._broadcaster: Broadcaster | None = None
        self._problem = ""

    def handle(self, command: dict[str, Any]) -> None:
        """Take one of the page's commands.

        {"move": 1 | 0 | -1}, {"serve": 1}, {"pause": true | false}, {"rematch": 1} or {"opponent": number}.
        """
        match command:
            case {"move": int(move), **rest} if move in _MOVES and not rest:
                if move == self._move:
                    return
                self._move = move
            case {"serve": 1, **rest} if not rest:
                self._serve = _SERVE_FRAMES
            case {"pause": bool(paused), **rest} if not rest:
                self._paused = paused
            case {"rematch": 1, **rest} if not rest:
                self._restart()
            case {"opponent": int(number), **rest} if 0 <= number < len(self._opponents) and not rest:
                self._choose(number)
            case _:
                raise ValueError(command)
        self._changed.set()
        if "move" not in command and "serve" not in command:
            self._tell()

    def _choose(self, number: int) -> None:
        try:
            self._opponent = Opponent(load(self._opponents[number][1]))
        except UserError as error:
            self._problem = str(error)
            return
        self._chosen, self._problem = number, ""
        self._restart()

    def _restart(self) -> None:
        self._duel.restart()
        self._opponent.restart()
        self._paused, self._frames, self._serve = False, 0, 0

    def _tell(self) -> None:
        if self._broadcaster:
            self._broadcaster.tell(
                "status",
                {"paused": self._paused, "opponent": self._chosen, "over": self._duel.over,
                 "points": self._duel.points, "problem": self._problem},
            )  # fmt: skip

    async def run(self, broadcaster: Broadcaster) -> None:
        """Play frame after frame, 60 a second, as long as there are viewers."""
        self._broadcaster = broadcaster
        broadcaster.tell("hello", {"mode": "play", "opponents": [name for name, _ in self._opponents]})
        self._tell()
        due = time.monotonic()
        while True:
            await broadcaster.wait_for_viewers()
            self._changed.clear()
            if self._paused or self._duel.over:
                await self._changed.wait()
            elif not broadcaster.has_room:
                await asyncio.sleep(0.005)
            else:
                self._frame(broadcaster)
                now = time.monotonic()
                due = max(due + _PERIOD, now - _PERIOD)
                following = min(due, now + _LONGEST_PERIOD)
                await asyncio.sleep(_PERIOD / 2)
                # A key pressed or released should show at once: the next frame comes early, and those
                # after it too, until a little slowness has made up for it.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), max(0.0, following - time.monotonic()))

    def _frame(self, broadcaster: Broadcaster) -> None:
        duel = self._duel
        if self._frames % FRAMES_A_STEP == 0:
            self._answer = self._opponent.decide(duel)
        before = list(duel.points)
        duel.act(self._move, self._answer, serve=self._serve > 0)
        self._serve = max(0, self._serve - 1)
        self._frames += 1
        broadcaster.show(bytes([FRAME, *duel.points, 0]) + run_length_encoding(duel.picture()))
        if duel.points != before:
            self._tell()


def load(source: str | Path) -> Agent:
    """An agent that can be played against.

    Raises:
        UserError: there is none, or it has learned another game than Pong.
    """
    agent = Agent.load(source)
    if environment.rom(agent.game) != "pong":
        raise UserError(f"{source} plays {agent.game}: only in Pong can you play against it")
    return agent


def opponents(first: str | Path) -> list[tuple[str, Path]]:
    """Who there is to play against: `first`, the champion, all runs under runs/ and the stages of each.

    Runs and stages that cannot be read, as those of another version, are left out.
    """
    first = Path(first)
    found = [(str(first), first)]
    if str(first) != "champion":
        found.append(("champion", Path("champion")))
    folders = {file.parent for file in Path("runs").glob("*/config.json")}
    if (first / "config.json").is_file():
        folders.add(first)
    for folder in sorted(folders):
        with contextlib.suppress(UserError):
            if environment.rom(RunFolder(folder).config().environment) != "pong":
                continue
            if folder != first and (folder / "best.safetensors").is_file():
                found.append((str(folder), folder))
            for file in stages.files(RunFolder(folder)):
                with contextlib.suppress(UserError):
                    found.append((f"{folder}, {stages.label(file)}", file))
    return found
