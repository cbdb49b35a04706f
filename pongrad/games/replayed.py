"""Any Gymnasium environment with discrete actions, seen as pixels.

Such an environment has no state that could be taken out of it. A game's state is the actions so far, and
a process that does not hold the environment plays them again; a checksum tells whether it went the same way.
"""

import itertools
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.games.colours import grey, padded, reduced_colours, stride_for
from pongrad.games.environment import NotDeterministic
from pongrad.games.game import Game
from pongrad.ground.errors import UserError
from pongrad.ground.system import restart_limit

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # Pygame draws pictures, and opens no windows

_KEPT = 128
"""Environments that are kept, each where its game stands."""

_MOST_ACTIONS = 255
"""An action is written as one byte."""

_SMALLEST, _LARGEST = 8, 960
"""Sides of a picture."""


class _Live:
    """An environment, and what has been played in it since its reset.

    It is rendered once at every reset and step, also when a game is played again: rendering may change it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        """Begin with no game; `name` is for messages."""
        self.env = env
        self.actions = bytearray()
        self.checksum = 0
        self.terminated = self.truncated = False
        self.over = True
        self.picture = np.zeros((0, 0, 3), np.uint8)
        self._shows = _is_picture(env.observation_space)
        self._name = name

    def reset(self, seed: int) -> None:
        """Begin the game of this seed."""
        self.actions.clear()
        self.terminated = self.truncated = self.over = False
        observation, _ = self._call("reset", seed=seed)
        self.checksum = 0
        self._note(observation)

    def step(self, action: int) -> float:
        """Play the action of this index; return the reward."""
        first_action = int(self.env.action_space.start)  # type: ignore[attr-defined]
        observation, reward, terminated, truncated, _ = self._call("step", first_action + action)
        self.terminated, self.truncated = bool(terminated), bool(truncated)
        self.over = self.terminated or self.truncated
        self.actions.append(action)
        reward = float(reward)
        self._note(observation, reward, self.terminated, self.truncated)
        return reward

    def _note(self, observation: Any, *rest: Any) -> None:
        self.picture = self._picture(observation)
        self.checksum = _checksum(self.checksum, (observation, *rest, self.picture))

    def _picture(self, observation: Any) -> NDArray[np.uint8]:
        """A copy of what is to be seen: uint8 [height, width, 3]."""
        picture = np.array(observation if self._shows else self._call("render"))
        if picture.ndim == 2:
            picture = np.repeat(picture[..., np.newaxis], 3, axis=2)
        changed = self.picture.size and picture.shape != self.picture.shape
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or changed:
            raise UserError(
                f"{self._name} shows {picture.dtype} {picture.shape}: pongrad looks at pictures of one size, "
                "uint8 [height, width, 3]"
            )
        return picture

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        try:
            return getattr(self.env, method)(*args, **options)
        except Exception as error:  # whatever an environment raises is the user's to know
            raise UserError(f"{self._name}: its {method} raises {_line(error)}") from error


class Replayed:
    """A Gymnasium environment that is not an Atari game.

    Its pixels are its observations, where these are pictures, else its rendering. A step is a frame.

    Attributes: see `environment.Environment`; for the colours' numbers see `reduced_colours`.
    """

    has_palette = False

    def __init__(self, game: str) -> None:
        """Make the environment of this game, see `environment.name`.

        Raises:
            UserError: it cannot be made, or has no discrete actions or nothing to see.
        """
        self._game = game
        env = self._make()
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UserError(
                f"{game} has actions {space}: pongrad learns discrete ones only, such as Discrete(3)"
            )
        if not 2 <= space.n <= _MOST_ACTIONS:
            raise UserError(f"{game} has {space.n} actions: pongrad learns 2 to {_MOST_ACTIONS}")
        self._first_action = int(space.start)
        self.action_names = {self._first_action + i: f"{self._first_action + i}" for i in range(int(space.n))}
        if not _is_picture(env.observation_space) and env.render_mode != "rgb_array":
            raise UserError(
                f"{game} has nothing to see: its observations are no pictures, and it has no render mode "
                "rgb_array"
            )
        self._live = _Live(env, game)
        self._live.reset(0)
        self._environments = OrderedDict({0: self._live})
        height, width, _ = self._live.picture.shape
        if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
            raise UserError(
                f"{game} shows {height} x {width} pixels: pongrad looks at {_SMALLEST} to {_LARGEST} each way"
            )
        self.screen = np.zeros((height, padded(width)), np.uint8)
        self.greys: NDArray[np.uint8] | None = None
        self._stride = stride_for(height, width)
        self.last_action = 0
        self.over: Callable[[], bool] = lambda: self._live.over
        self.terminated: Callable[[], bool] = lambda: self._live.terminated
        self.truncated: Callable[[], bool] = lambda: self._live.truncated
        self.lives: Callable[[], int] = lambda: 0
        self.frames: Callable[[], int] = lambda: len(self._live.actions)

    def restore(self, game: Game) -> None:
        """Put the environment where this game stands; see `environment.Environment`.

        Raises:
            NotDeterministic: it has gone another way when it was played again.
            UserError: its `reset` or `step` raises.
        """
        actions, checksum = game.state[4:], int.from_bytes(game.state[:4], "little")
        self._live = live = self._environment(game.env_seed)
        if not game.state or live.over or not actions.startswith(live.actions):
            live.reset(game.env_seed)
        for action in actions[len(live.actions) :]:
            if live.over:
                raise NotDeterministic
            live.step(action)
        restart_limit()  # one task may have many long games played again
        if game.state and live.checksum != checksum:
            raise NotDeterministic
        if not game.state:
            self._look()

    def check(self, game: Game) -> None:
        """Look at a game that comes from a file.

        Raises:
            ValueError: it holds actions that there are not, or another number of steps than actions.
        """
        if game.state and max(game.state[4:], default=0) >= len(self.action_names):
            raise ValueError(f"game {game.number} has actions that {self._game} has not")
        played = max(len(game.state) - 4, 0)
        if not game.step == game.frames == played:
            raise ValueError(f"game {game.number} has {played} actions after {game.step} steps")

    def save(self) -> bytes:
        """The game's state: a checksum of all that the environment gave, and the actions."""
        return self._live.checksum.to_bytes(4, "little") + self._live.actions

    def timings(self, game: Game) -> Iterator[int]:
        """Nothing that `act` needs."""
        return itertools.repeat(0)

    def act(self, action: int, timing: int) -> float:
        """Play one step and read the screen; return the reward."""
        reward = self._live.step(action - self._first_action)
        self._look()
        return reward

    def film(self, action: int, timing: int) -> tuple[float, NDArray[np.uint8]]:
        """Do what `act` does; return the reward and the picture, uint8 [1, height, width, 3]."""
        reward = self.act(action, timing)
        return reward, self.picture()[np.newaxis]

    def picture(self) -> NDArray[np.uint8]:
        """The screen in colours, uint8 [height, width, 3]."""
        return self._live.picture

    def show_greys(self) -> None:
        """Read `greys` from now on, instead of `screen`."""
        if self.greys is None:
            self.greys = np.empty((2, *self._live.picture.shape[:2]), np.uint8)

    def _look(self) -> None:
        if self.greys is not None:
            self.greys[:] = grey(self._live.picture)
            return
        looked_at = slice(None, None, self._stride)
        picture = self._live.picture[looked_at, looked_at]
        self.screen[looked_at, looked_at][:, : picture.shape[1]] = reduced_colours(picture)

    def _environment(self, seed: int) -> _Live:
        """The environment that plays the game of this seed, or one that is free for it."""
        if seed not in self._environments:
            ended = next((other for other, live in self._environments.items() if live.over), None)
            if ended is not None:
                live = self._environments.pop(ended)
            elif len(self._environments) < _KEPT:
                live = _Live(self._make(), self._game)
            else:
                live = self._environments.popitem(last=False)[1]
                live.over = True
            self._environments[seed] = live
        self._environments.move_to_end(seed)
        return self._environments[seed]

    def _make(self) -> gymnasium.Env[Any, Any]:
        game_id, options = environment.parse(self._game)
        try:
            modes = getattr(_class(environment.spec(self._game)), "metadata", {}).get("render_modes", ())
            with_pictures: dict[str, Any] = {"render_mode": "rgb_array"} if "rgb_array" in modes else {}
            return gymnasium.make(game_id, **with_pictures, **options)
        except Exception as error:  # whatever an environment raises is the user's to know
            raise UserError(f"{self._game} cannot be made: {_line(error)}") from error


def _class(known: gymnasium.envs.registration.EnvSpec) -> Any:
    entry = known.entry_point
    return gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    """Whether an observation is [height, width] or [height, width, 3] of uint8, in the full range."""
    if not isinstance(space, gymnasium.spaces.Box) or space.dtype != np.uint8 or space.high.max() != 255:
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] == 3)


def _checksum(before: int, value: Any) -> int:
    """A checksum of what an environment gave, continued from another."""
    if isinstance(value, np.ndarray):
        return zlib.crc32(np.ascontiguousarray(value).data if value.size else b"", before)
    if isinstance(value, dict):
        value = tuple(value[key] for key in sorted(value))
    if isinstance(value, tuple | list):
        for each in value:
            before = _checksum(before, each)
        return before
    return zlib.crc32(repr(value).encode(), before)


def _line(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
