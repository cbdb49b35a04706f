"""Whether a Gymnasium environment is the game that an agent has learned."""

import inspect
from collections.abc import Iterator
from typing import Any

import ale_py
import gymnasium
import numpy as np
from gymnasium import wrappers

from pongrad.games import environment

_OTHER_GAME = (
    gymnasium.ActionWrapper,
    gymnasium.ObservationWrapper,
    wrappers.AtariPreprocessing,
    wrappers.FrameStackObservation,
    wrappers.MaxAndSkipObservation,
    wrappers.RepeatAction,
)
"""Wrappers that change what is seen or done."""


def differences(env: gymnasium.Env[Any, Any], game: str, shape: tuple[int, int]) -> Iterator[str]:
    """How an environment differs from a game, in words.

    How a game begins (pongrad's own options, such as noop_max) and how long it may last is not looked at.

    Args:
        env: any environment, wrapped or not.
        game: see `environment.name`.
        shape: rows and columns of the game's screen.

    Yields:
        A clause for each difference.
    """
    if not isinstance(env, gymnasium.Env):
        yield f"it is a {type(env).__name__}, not one environment as gymnasium.make makes it"
        return
    atari = isinstance(env.unwrapped, ale_py.AtariEnv)
    want, given = environment.spec(game), env.unwrapped.spec
    if atari != (environment.rom(game) is not None) or (given and given.entry_point != want.entry_point):
        yield f"it is {given.id if given else env.unwrapped}"
        return
    ours = _defaults(env) | want.kwargs | environment.parse(game)[1]
    actions = environment.action_names(game)
    if atari:
        theirs = _atari_arguments(env.unwrapped)
        ours["full_action_space"] = len(actions) == len(ale_py.Action.__members__)
        ours |= _choices(env.unwrapped, ours["mode"], ours["difficulty"], ours["frameskip"])
    elif given is None:
        yield "nothing says how it was made"
        return
    else:
        theirs = _defaults(env) | given.kwargs
        theirs.pop("render_mode", None)
    for name in sorted(theirs):
        if _plain(theirs[name]) != _plain(ours.get(name)):
            yield f"{name} is {theirs[name]}, not {ours.get(name)}"
    space, known = env.action_space, gymnasium.spaces.Discrete(len(actions), start=min(actions))
    if not isinstance(space, gymnasium.spaces.Discrete) or (space.n, space.start) != (known.n, known.start):
        yield f"its actions are {space}, not {known}"
    pictures = (*shape, 3), shape
    seen = env.observation_space
    if seen.shape not in pictures or seen.dtype != np.uint8:
        shows = f"{seen.dtype} {seen.shape}" if seen.shape else f"a {type(seen).__name__}"
        drawn = len(seen.shape or ()) < 2 and not atari
        how = ', as AddRenderObservation gives it with render_mode="rgb_array"' if drawn else ""
        yield f"it shows {shows}, not uint8 {(*shape, 3)}{how}"
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, _OTHER_GAME) and not isinstance(env, wrappers.AddRenderObservation):
            yield f"the wrapper {type(env).__name__} changes what is seen or done"
        env = env.env


def call(game: str) -> str:
    """The call of Gymnasium's that makes a game, as text."""
    game_id, options = environment.parse(game)
    if environment.rom(game):
        options = {name: options[name] for name in options.keys() & _parameters(ale_py.AtariEnv)}
    arguments = [repr(game_id), *(f"{name}={value!r}" for name, value in sorted(options.items()))]
    return f"gymnasium.make({', '.join(arguments)})"


def _atari_arguments(atari: ale_py.AtariEnv) -> dict[str, Any]:
    """What an Atari environment plays as it stands, by the names of its keyword arguments."""
    return {
        "game": atari._game,
        "repeat_action_probability": float(f"{atari.ale.getFloat('repeat_action_probability'):.6g}"),
        "full_action_space": len(atari._action_set) == len(ale_py.Action.__members__),
        "continuous": atari.continuous,
        "obs_type": atari._obs_type,
        **_choices(atari, atari._game_mode, atari._game_difficulty, atari._frameskip),
    }


def _choices(
    atari: ale_py.AtariEnv, mode: int | None, difficulty: int | None, frameskip: Any
) -> dict[str, Any]:
    """What these mean: None is what a cartridge begins with, and (4, 5) are always 4 frames."""
    low, high = (frameskip, frameskip + 1) if isinstance(frameskip, int) else frameskip
    return {
        "mode": atari.ale.getAvailableModes()[0] if mode is None else mode,
        "difficulty": difficulty or 0,
        "frameskip": low if high == low + 1 else frameskip,
    }


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind.__init__).parameters)


def _defaults(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """The keyword arguments of an environment's class that have a default."""
    every = _parameters(type(env.unwrapped)).values()
    return {each.name: each.default for each in every if each.default is not each.empty}


def _plain(value: Any) -> Any:
    """A value to compare: NumPy's as Python's, lists as tuples, six digits."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return float(f"{value:.6g}") if isinstance(value, float) else value
