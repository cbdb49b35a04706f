"""The emulator: plays what Gymnasium's Atari environments play, faster, and from any game's value on."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import ale_py
import numpy as np
from numpy.typing import NDArray

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.ground.errors import UserError
from pongrad.ground.system import limited_memory

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

_OPTIONS = {
    "mode",
    "difficulty",
    "frameskip",
    "repeat_action_probability",
    "full_action_space",
    "max_num_frames_per_episode",
}
"""Gymnasium's keyword arguments that say what is played. The others say how it is looked at."""

_OWN_OPTIONS = {"noop_max", "fire_to_start"}
"""How a game begins: before the agent's first step come 1 to noop_max frames of NOOP, then FIRE.

Sticky actions make every game another one. Where there are none, and every step has as many frames, the NOOPs
do it. An agent learns to press FIRE like any action.
"""

_NOOP_MAX = 30
"""As many as DQN has (Mnih et al. 2015)."""

_BLOCK = 1024
"""Steps whose timings are computed at once, and kept: the generator takes long to start."""

_SKIP = 256
"""A timing is so many times the frames of a step, plus the sticky ones of them."""

_MOST_NOOPS = 600
"""Frames of NOOP at most."""

_LONGEST_SKIP = 60
"""Frames of a step at most."""

_SPARE_MEMORY = 2**28
"""Bytes that taking up a game may use; a damaged state can ask for thousands of millions."""

_EMULATOR_ERRORS = (RuntimeError, SystemError, ValueError, MemoryError, IndexError, OverflowError)
"""What the emulator has been seen to raise for damaged states, and what it may raise."""


class Emulator:
    """The Arcade Learning Environment, playing what `gymnasium.make(id)` plays, but faster and resumable.

    The emulator's own state leaves out which action is being repeated when an action is "sticky", and
    so play cannot resume from it exactly. Therefore stickiness is done here, with the very random numbers the
    emulator would have drawn, and so are steps of a random number of frames. Tested to be Gymnasium's
    environment, screen for screen and reward for reward.

    Attributes: see `environment.Environment`; the colours' numbers are the emulator's own.
    """

    has_palette = True

    def __init__(self, game: str) -> None:
        """Load the cartridge of this game, see `environment.name`.

        Raises:
            UserError: Gymnasium knows no such Atari game, or it does not take these options.
        """
        options = _options(game)
        skip = options["frameskip"]
        self._skips: tuple[int, int] = (skip, skip + 1) if isinstance(skip, int) else tuple(skip)
        self._repeat_action_probability: float = options["repeat_action_probability"]
        self._ale = _load_cartridge(game, options)
        self._act, self._get_screen = self._ale.act, self._ale.getScreen
        self.over: Callable[[], bool] = self._ale.game_over
        self.truncated: Callable[[], bool] = self._ale.game_truncated
        self.terminated: Callable[[], bool] = functools.partial(self._ale.game_over, with_truncation=False)
        self.lives: Callable[[], int] = self._ale.lives
        self.frames: Callable[[], int] = self._ale.getEpisodeFrameNumber
        full = options["full_action_space"]
        actions = self._ale.getLegalActionSet() if full else self._ale.getMinimalActionSet()
        self.action_names = {number: action.name for number, action in enumerate(actions)}
        self._joystick = _Joystick([action.value for action in actions])
        self._noop_max: int = options["noop_max"]
        self._fire_to_start: bool = options["fire_to_start"]
        self._start = self.save()
        self._first_screen = self._ale.getScreen()
        self.last_action = 0
        self.screen: NDArray[np.uint8] = self._first_screen.copy()
        self.greys: NDArray[np.uint8] | None = None
        self._first_grey = self._ale.getScreenGrayscale()

    def restore(self, game: Game) -> None:
        """Put the emulator where this game stands.

        The screen then shows the first picture of a new game; of any other it is stale until a step.
        """
        self._ale.restoreState(ale_py.ALEState(game.state or self._start))
        self.last_action = game.last_action
        if not game.state:
            self.screen[:] = self._first_screen
            if self.greys is not None:
                self.greys[:] = self._first_grey
            noops = _noops(game.env_seed, self._noop_max)
            for action in [ale_py.Action.NOOP] * noops + [ale_py.Action.FIRE] * self._fire_to_start:
                self._act(action)
                self._look()

    def check(self, game: Game) -> None:
        """Restore a game that comes from a file.

        The emulator reads a state as raw bytes and trusts them, so that a damaged one may crash the process:
        ask in one that can be spared.

        Raises:
            ValueError: the emulator cannot.
        """
        try:
            with limited_memory(_SPARE_MEMORY):
                self.restore(game)
        except _EMULATOR_ERRORS as error:
            raise ValueError(f"the emulator cannot restore game {game.number}") from error
        if game.last_action not in self.action_names:
            raise ValueError(f"game {game.number} with last_action {game.last_action}")
        if game.state and game.frames != self.frames():
            raise ValueError(f"game {game.number} with {game.frames} frames, not {self.frames()}")

    def save(self) -> bytes:
        """The emulator's state."""
        return self._ale.cloneState().serialize()

    def timings(self, game: Game) -> Iterator[int]:
        """For each of the game's next steps, its frames and for how many of them the last action goes on.

        Sticky actions: Machado et al. 2018, section 5. Each frame repeats the last one's action with some
        probability, so the new action comes with the first frame that does not.
        """
        first = game.step // _BLOCK
        block = functools.partial(_timings, game.env_seed, self._skips, self._repeat_action_probability)
        blocks = itertools.chain.from_iterable(map(block, itertools.count(first)))
        return itertools.islice(blocks, game.step - first * _BLOCK, None)

    def act(self, action: int, timing: int) -> float:
        """Play one step with an action of Gymnasium's numbering and read the screen.

        Args:
            action: the action asked for.
            timing: the step's, see `timings`.

        Returns:
            The reward.
        """
        joystick = self._joystick[self.last_action, action, timing]
        if timing % _SKIP < timing // _SKIP:
            self.last_action = action
        if self.greys is None:
            reward = sum(map(self._act, joystick))
            self._get_screen(self.screen)
            return reward
        reward = sum(map(self._act, joystick[:-1]))
        self._ale.getScreenGrayscale(self.greys[0])
        reward += self._act(joystick[-1])
        self._ale.getScreenGrayscale(self.greys[1])
        if len(joystick) == 1:
            self.greys[0] = self.greys[1]
        return reward

    def show_greys(self) -> None:
        """Read `greys` from now on, instead of `screen`."""
        if self.greys is None:
            self.greys = np.empty((2, *self._first_grey.shape), np.uint8)

    def _look(self) -> None:
        """Read what the screen shows."""
        if self.greys is None:
            self._get_screen(self.screen)
        else:
            self._ale.getScreenGrayscale(self.greys[0])
            self.greys[1] = self.greys[0]

    def film(self, action: int, timing: int) -> tuple[float, NDArray[np.uint8]]:
        """Do what `act` does and keep the picture of every frame.

        Returns:
            The reward, and the frames: uint8 [frames of a step, height, width, 3].
        """
        frames, reward = np.empty((timing // _SKIP, *self.screen.shape, 3), np.uint8), 0
        for frame, joystick in zip(frames, self._joystick[self.last_action, action, timing], strict=True):
            before = self.greys[1].copy() if self.greys is not None else None
            reward += self._act(joystick)
            self._ale.getScreenRGB(frame)
            self._look()
            if self.greys is not None and before is not None and len(frames) > 1:
                self.greys[0] = before
        if timing % _SKIP < timing // _SKIP:
            self.last_action = action
        return reward, frames

    def picture(self) -> NDArray[np.uint8]:
        """The screen in colours, uint8 [height, width, 3]."""
        return self._ale.getScreenRGB()


class _Joystick(dict[tuple[int, int, int], list[int]]):
    """What the joystick does in a step's frames, by the last action, the new one and the timing."""

    def __init__(self, codes: list[int]) -> None:
        super().__init__()
        self._codes = codes

    def __missing__(self, key: tuple[int, int, int]) -> list[int]:
        last_action, action, timing = key
        frames, sticky = divmod(timing, _SKIP)
        self[key] = [self._codes[last_action]] * sticky + [self._codes[action]] * (frames - sticky)
        return self[key]


def _noops(env_seed: int, most: int) -> int:
    """How many frames of NOOP a game begins with: as many as Gymnasium's `AtariPreprocessing` draws."""
    np_seed, _ = _seeds(env_seed)
    return int(np.random.Generator(np.random.PCG64(np_seed)).integers(1, most + 1)) if most else 0


def _seeds(env_seed: int) -> tuple[int, int]:
    """What `env.reset(seed=env_seed)` seeds the environment's own generator with, and the emulator's."""
    np_seed, ale_seed = np.random.SeedSequence(env_seed).generate_state(2)
    return int(np_seed), int(ale_seed)


@functools.lru_cache(1024)
def _timings(env_seed: int, skips: tuple[int, int], probability: float, block: int) -> list[int]:
    """`Emulator.timings` of a game's `block`-th `_BLOCK` steps.

    Gymnasium draws the number of a step's frames, where it is random, from a generator of its own. The
    emulator's generator is a Mersenne Twister, seeded as `env.reset(seed=env_seed)` does it, that draws
    twice a frame, once for each of two players.
    """
    np_seed, ale_seed = _seeds(env_seed)
    steps = (block + 1) * _BLOCK
    if skips[1] == skips[0] + 1:
        frames = np.full(steps, skips[0])
    else:
        frames = np.random.Generator(np.random.PCG64(np_seed)).integers(*skips, steps)
    twister = np.random.MT19937()
    twister._legacy_seeding(ale_seed)
    played = int(frames[: block * _BLOCK].sum())
    frames = frames[block * _BLOCK :]
    twister.random_raw(2 * played, output=False)
    repeats = twister.random_raw(2 * int(frames.sum()))[::2] / 2.0**32 < probability
    starts = np.cumsum(frames) - frames
    first_new = np.append(np.flatnonzero(~repeats), len(repeats))
    sticky = np.minimum(first_new[np.searchsorted(first_new, starts)] - starts, frames)
    return (_SKIP * frames + sticky).tolist()


def _load_cartridge(game: str, options: dict[str, Any]) -> ale_py.ALEInterface:
    """An emulator at the start of a game that plays frame by frame; takes about 0.1 s."""
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 0)
    ale.setInt("frame_skip", 1)
    ale.setFloat("repeat_action_probability", 0.0)
    if options["max_num_frames_per_episode"] is not None:
        ale.setInt("max_num_frames_per_episode", options["max_num_frames_per_episode"])
    path = ale_py.roms.get_rom_path(environment.rom(game) or "")
    assert path is not None, "a game in Gymnasium's registry is in ale-py"
    ale.loadROM(path)
    for option, there_are, choose in (
        ("mode", ale.getAvailableModes(), ale.setMode),
        ("difficulty", ale.getAvailableDifficulties(), ale.setDifficulty),
    ):
        if options[option] is not None:
            if options[option] not in there_are or type(options[option]) is not int:
                raise UserError(
                    f"{game}: there is no {option} {options[option]}, only {', '.join(map(str, there_are))}"
                )
            choose(options[option])
    ale.reset_game()
    return ale


def _options(game: str) -> dict[str, Any]:
    """What an Atari game's registration and its options say of how it is played.

    Raises:
        UserError: they make no sense.
    """
    _, given = environment.parse(game)
    known = _OPTIONS | _OWN_OPTIONS
    if wrong := given.keys() - known:
        raise UserError(
            f"{game}: no option {', '.join(sorted(wrong))}; Atari games take {', '.join(sorted(known))}"
        )
    usual = {"mode": None, "difficulty": None, "frameskip": 4, "repeat_action_probability": 0.25}
    usual |= {"full_action_space": False, "max_num_frames_per_episode": None}
    options = usual | environment.spec(game).kwargs | given
    skip = options["frameskip"]
    low, high = (skip, skip + 1) if type(skip) is int else skip if _is_pair(skip) else (0, 0)
    if not 0 < low < high <= _LONGEST_SKIP + 1:
        raise UserError(
            f"{game}: frameskip must be a number of frames from 1 to {_LONGEST_SKIP}, or (low,high)"
        )
    if (
        not _is_number(options["repeat_action_probability"])
        or not 0 <= options["repeat_action_probability"] < 1
    ):
        raise UserError(f"{game}: repeat_action_probability must be a number from 0 to below 1")
    always_alike = options["repeat_action_probability"] == 0 and high == low + 1
    options = {"noop_max": _NOOP_MAX if always_alike else 0, "fire_to_start": False} | options
    if type(options["noop_max"]) is not int or not 0 <= options["noop_max"] <= _MOST_NOOPS:
        raise UserError(f"{game}: noop_max must be a number of frames from 0 to {_MOST_NOOPS}")
    for name in ("full_action_space", "fire_to_start"):
        if type(options[name]) is not bool:
            raise UserError(f"{game}: {name} must be true or false")
    limit = options["max_num_frames_per_episode"]
    if limit is not None and (type(limit) is not int or not 0 < limit < 2**31):
        raise UserError(f"{game}: max_num_frames_per_episode must be a number of frames")
    return options


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(each) is int for each in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
