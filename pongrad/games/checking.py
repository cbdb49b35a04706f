"""Whether a Gymnasium environment is the game that an agent has learned."""

import inspect
from collections.abc import Iterator
from typing import Any

import gymnasium
from gymnasium import wrappers

from pongrad.games import environment

_HOW_IT_IS_SHOWN = {"render_mode", "sound_obs", "max_num_frames_per_episode"}
"""Keyword arguments that make no other game of it."""

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

    Args:
        env: any environment, wrapped or not.
        game: see `environment.name`.
        shape: rows and columns of the game's screen.

    Yields:
        A clause for each difference.
    """
    want, given = environment.spec(game), env.spec
    if given is None:
        yield "it was not made by gymnasium.make, so nobody can tell"
        return
    if given.entry_point != want.entry_point:
        yield f"it is {given.id}"
        return
    theirs, ours = _arguments(env, given.kwargs), _arguments(env, want.kwargs | environment.parse(game)[1])
    for name in sorted(theirs.keys() & ours.keys()):
        if theirs[name] != ours[name]:
            yield f"{name} is {theirs[name]}, not {ours[name]}"
    actions = len(environment.action_names(game))
    if env.action_space != gymnasium.spaces.Discrete(actions, start=min(environment.action_names(game))):
        yield f"its actions are {env.action_space}, not {actions} discrete ones"
    space = env.observation_space
    if space.shape not in ((*shape, 3), shape) or str(space.dtype) != "uint8":
        yield f"it shows {space.dtype} {space.shape}, not uint8 {(*shape, 3)}"
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, _OTHER_GAME) and not isinstance(env, wrappers.AddRenderObservation):
            yield f"the wrapper {type(env).__name__} changes what is seen or done"
        env = env.env


def _arguments(env: gymnasium.Env[Any, Any], given: dict[str, Any]) -> dict[str, Any]:
    """All keyword arguments of an environment's class, with those that were given."""
    parameters = inspect.signature(type(env.unwrapped).__init__).parameters.values()
    values = {each.name: each.default for each in parameters if each.default is not each.empty} | given
    ale = getattr(env.unwrapped, "ale", None)
    if ale:  # None is the first one that the cartridge has
        usual = {"mode": ale.getAvailableModes()[0], "difficulty": ale.getAvailableDifficulties()[0]}
        values |= {name: number for name, number in usual.items() if values.get(name) is None}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if name not in _HOW_IT_IS_SHOWN}
