"""Environments: what the rest needs of one, and which class plays which Gymnasium id.

A game is named as `ID` or `ID option=value ...`, its Gymnasium id and the keyword arguments of
`gymnasium.make`; `name` and `parse` turn one form into the other.
"""

import ast
import functools
import importlib
import importlib.metadata
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import ale_py
import gymnasium
import numpy as np
from numpy.typing import NDArray

from pongrad.games.game import Game
from pongrad.ground.errors import UserError

gymnasium.register_envs(ale_py)


class Environment(Protocol):
    """Plays games, from any game's value on.

    Attributes:
        screen: uint8 [height, width in whole words of eight], the number of every pixel's colour.
        greys: uint8 [2, height, width], the last two frames of the last step in grey, the same twice where it
            has one; None until `show_greys`.
        has_palette: whether the colours' numbers are the environment's own, else those of `reduced_colours`.
        action_names: what the actions are called, by Gymnasium's numbers.
        last_action: the joystick's action on the last frame.
        frames: frames since the game's start.
        lives: how many are left; 0 where the game has none.
        over, terminated, truncated: say whether the game has ended at all, by its own rules, by a limit.
    """

    screen: NDArray[np.uint8]
    greys: NDArray[np.uint8] | None
    has_palette: bool
    action_names: dict[int, str]
    last_action: int
    over: Callable[[], bool]
    terminated: Callable[[], bool]
    truncated: Callable[[], bool]
    lives: Callable[[], int]
    frames: Callable[[], int]

    def restore(self, game: Game) -> None:
        """Put the environment where this game stands.

        The screen then shows the first picture of a new game; of any other it is stale until a step.

        Raises:
            NotDeterministic: the game has gone another way when it was played again.
        """

    def check(self, game: Game) -> None:
        """Restore a game that comes from a file.

        Raises:
            ValueError: it cannot be restored.
        """

    def show_greys(self) -> None:
        """Read `greys` from now on, instead of `screen`: which takes ten times as long."""

    def save(self) -> bytes:
        """The game's state, for `Game.state`."""

    def timings(self, game: Game) -> Iterator[int]:
        """What `act` is to be given at each of the game's next steps, without end."""

    def act(self, action: int, timing: int) -> float:
        """Play one step, with an action of Gymnasium's numbering, and read the screen; return the reward."""

    def film(self, action: int, timing: int) -> tuple[float, NDArray[np.uint8]]:
        """Do what `act` does; return the reward and the pictures, uint8 [frames, height, width, 3]."""

    def picture(self) -> NDArray[np.uint8]:
        """The screen in colours, uint8 [height, width, 3]."""


class NotDeterministic(Exception):
    """A game that was played again with the same actions has gone another way."""


def resume(environment: Environment, game: Game) -> Game:
    """Put an environment where a game stands; returns it, restarted if it goes another way than it went."""
    try:
        environment.restore(game)
    except NotDeterministic:
        game = game.restarted()
        environment.restore(game)
    return game


def after(environment: Environment, game: Game, **changes: Any) -> Game:
    """The game as it stands in the environment that has played it on; `changes`: what that does not know.

    Raises:
        UserError: the environment has given rewards that are not finite numbers.
    """
    game = game._replace(
        frames=environment.frames(),
        state=environment.save(),
        last_action=environment.last_action,
        terminated=environment.terminated(),
        truncated=environment.truncated(),
        **changes,
    )
    if not math.isfinite(game.score):
        raise UserError(f"{game.id} gives rewards that are not finite numbers: it cannot be learned")
    return game


def make(game: str) -> Environment:
    """The environment that plays this game.

    Raises:
        UserError: there is none, or it cannot be learned from pixels and with discrete actions.
    """
    from pongrad.games.emulator import Emulator
    from pongrad.games.replayed import Replayed

    return Emulator(game) if rom(game) else Replayed(game)


@functools.cache
def action_names(game: str) -> dict[int, str]:
    """What the actions of a game are called, by Gymnasium's numbers.

    Raises:
        UserError: see `make`.
    """
    return make(game).action_names


def name(game_id: str, options: Iterable[str]) -> str:
    """A game's name, from its Gymnasium id and its options as they are written, "mode=1".

    Raises:
        UserError: an option is not written so, or is given twice.
    """
    written: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not key.isidentifier() or not equals or not value or " " in option:
            raise UserError(f"--env-options {option!r}: write each as name=value, without spaces")
        if key in written:
            raise UserError(f"--env-options gives {key} twice: give it once")
        written[key] = value
    return " ".join([game_id, *(f"{key}={value}" for key, value in sorted(written.items()))])


def parse(game: str) -> tuple[str, dict[str, Any]]:
    """The Gymnasium id and the keyword arguments of a game's name."""
    game_id, *options = game.split(" ")
    return game_id, {key: _value(value) for key, _, value in (option.partition("=") for option in options)}


def _value(text: str) -> Any:
    usual = {"true": True, "false": False, "none": None}
    if text.lower() in usual:
        return usual[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return text


def spec(game: str) -> gymnasium.envs.registration.EnvSpec:
    """What Gymnasium's registry says of a game's environment.

    Raises:
        UserError: it knows none of this id.
    """
    game_id, _ = parse(game)
    try:
        module, _, plain = game_id.rpartition(":")
        if module and not _registers(module):
            raise ValueError(f"{module} is not an installed package that requires Gymnasium")
        if module:
            importlib.import_module(module)
        return gymnasium.spec(plain)
    except Exception as error:  # whatever importing a module raises
        why = str(error).split("\n")[0].rstrip(".")
        raise UserError(
            f"unknown game {game_id!r} ({why}): give a Gymnasium id such as ALE/Breakout-v5"
        ) from error


def _registers(module: str) -> bool:
    """Whether a module may be imported for the environments that it registers.

    An agent's file names one too, and loading a file must not run code that has nothing to do with it. So it
    has to be of an installed package that requires Gymnasium, other than this one.
    """
    owners = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
    needs = [need for owner in owners for need in importlib.metadata.requires(owner) or []]
    return "pongrad" not in owners and any(need.lower().startswith("gymnasium") for need in needs)


def rom(game: str) -> str | None:
    """The name of an Atari game's cartridge, "pong"; None for all other environments.

    Raises:
        UserError: Gymnasium knows no such environment.
    """
    known = spec(game)
    return known.kwargs["game"] if "ale_py" in str(known.entry_point) else None
