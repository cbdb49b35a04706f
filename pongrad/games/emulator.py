"""The emulator: plays what Gymnasium's Atari environments play, faster, and from any game's value on."""

import contextlib
import functools
import itertools
import resource
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium
import numpy as np
import psutil
from numpy.typing import NDArray

from pongrad.games.game import SCREEN, Game
from pongrad.ground.errors import UserError

gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


_BLOCK = 1024
"""Steps whose sticky frames are computed at once, and kept: the generator takes long to start."""

_SPARE_MEMORY = 2**28
"""Bytes that taking up a game may use; a damaged state can ask for thousands of millions."""

_EMULATOR_ERRORS = (RuntimeError, SystemError, ValueError, MemoryError, IndexError, OverflowError)
"""What the emulator has been seen to raise for damaged states, and what it may raise."""


class Emulator:
    """The Arcade Learning Environment, playing what `gymnasium.make(id)` plays, but faster and resumable.

    The emulator's own state leaves out which action is being repeated when an action is "sticky", and
    so play cannot resume from it exactly. Therefore stickiness is done here, with the very random numbers the
    emulator would have drawn. Tested to be Gymnasium's environment, screen for screen and reward for
    reward.

    Attributes:
        screen: uint8 [210, 160], the palette index of every pixel.
        last_action: the joystick's action on the last frame.
        action_names: what the cartridge's actions are called, in Gymnasium's order.
        over: says whether the game has ended, or been cut off at Gymnasium's limit of 108,000 frames.
        terminated, truncated: say whether it has ended by its own rules, and whether it has been cut off.
    """

    def __init__(self, game_id: str) -> None:
        """Load the cartridge of this id.

        Raises:
            UserError: Gymnasium knows no such Atari game.
        """
        options = environment_options(game_id)
        self._frame_skip: int = options["frameskip"]
        self._repeat_action_probability: float = options["repeat_action_probability"]
        self._ale = _load_cartridge(options)
        self._act, self._get_screen = self._ale.act, self._ale.getScreen
        self.over: Callable[[], bool] = self._ale.game_over
        self.truncated: Callable[[], bool] = self._ale.game_truncated
        self.terminated: Callable[[], bool] = functools.partial(self._ale.game_over, with_truncation=False)
        actions = self._ale.getMinimalActionSet()
        self.action_names = tuple(action.name for action in actions)
        codes = [action.value for action in actions]
        self._joystick = {  # of a step's frames, by the last action, the new one and the sticky frames
            (last_action, action, sticky): [codes[last_action]] * sticky
            + [codes[action]] * (self._frame_skip - sticky)
            for last_action, action in itertools.product(range(len(actions)), repeat=2)
            for sticky in range(self._frame_skip + 1)
        }
        self._start = self.save()
        self._first_screen = self._ale.getScreen()
        self.last_action = 0
        self.screen: NDArray[np.uint8] = self._first_screen.copy()

    def restore(self, game: Game) -> None:
        """Put the emulator where this game stands.

        The screen then shows the first picture of a new game; of any other it is stale until a step.
        """
        self._ale.restoreState(ale_py.ALEState(game.emulator or self._start))
        self.last_action = game.last_action
        if not game.emulator:
            self.screen[:] = self._first_screen

    def check(self, game: Game) -> None:
        """Restore a game that comes from a file.

        The emulator reads a state as raw bytes and trusts them, so that a damaged one may crash the process:
        ask in one that can be spared.

        Raises:
            ValueError: the emulator cannot.
        """
        limits = resource.getrlimit(resource.RLIMIT_AS)
        most = psutil.Process().memory_info().vms + _SPARE_MEMORY
        with contextlib.suppress(OSError, ValueError):  # not every system can
            resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
        try:
            self.restore(game)
        except _EMULATOR_ERRORS as error:
            raise ValueError(f"the emulator cannot restore game {game.number}") from error
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)

    def save(self) -> bytes:
        """The emulator's state."""
        return self._ale.cloneState().serialize()

    def sticky_frames(self, game: Game, steps: int) -> bytes:
        """For each of the game's next steps, for how many frames the action before it goes on.

        Sticky actions: Machado et al. 2018, section 5. Each frame repeats the last one's action with some
        probability, so the new action comes with the first frame that does not.
        """
        first, last = game.step // _BLOCK, (game.step + steps - 1) // _BLOCK
        blocks = [
            _delays(game.env_seed, self._frame_skip, self._repeat_action_probability, block)
            for block in range(first, last + 1)
        ]
        start = game.step - first * _BLOCK
        return b"".join(blocks)[start : start + steps]

    def act(self, action: int, sticky: int) -> int:
        """Play one step with an action of Gymnasium's numbering and read the screen.

        Args:
            action: the action asked for.
            sticky: for how many frames of the step the last action goes on.

        Returns:
            The reward.
        """
        reward = sum(map(self._act, self._joystick[self.last_action, action, sticky]))
        if sticky < self._frame_skip:
            self.last_action = action
        self._get_screen(self.screen)
        return reward

    def film(self, action: int, sticky: int) -> tuple[int, NDArray[np.uint8]]:
        """Do what `act` does and keep the picture of every frame.

        Returns:
            The reward, and the frames: uint8 [frames of a step, 210, 160, 3].
        """
        frames, reward = np.empty((self._frame_skip, *SCREEN, 3), np.uint8), 0
        for frame, joystick in zip(frames, self._joystick[self.last_action, action, sticky], strict=True):
            reward += self._act(joystick)
            self._ale.getScreenRGB(frame)
        if sticky < self._frame_skip:
            self.last_action = action
        self._get_screen(self.screen)
        return reward, frames


@functools.cache
def action_names(game_id: str) -> tuple[str, ...]:
    """What the actions of a game are called, in Gymnasium's order: the emulator's minimal action set.

    Loading the cartridge takes 0.1 s, once a game.

    Raises:
        UserError: Gymnasium knows no such Atari game.
    """
    return Emulator(game_id).action_names


@functools.lru_cache(1024)
def _delays(env_seed: int, frame_skip: int, probability: float, block: int) -> bytes:
    """`Emulator.sticky_frames` of a game's `block`-th `_BLOCK` steps.

    The emulator's generator is a Mersenne Twister, seeded as `env.reset(seed=env_seed)` does it, that draws
    twice a frame, once for each of two players.
    """
    twister = np.random.MT19937()
    twister._legacy_seeding(int(np.random.SeedSequence(env_seed).generate_state(2)[1]))
    draws = 2 * frame_skip * _BLOCK
    twister.random_raw(draws * block, output=False)
    repeats = twister.random_raw(draws)[::2] / 2.0**32 < probability
    first_repeats = repeats.reshape(_BLOCK, frame_skip).cumprod(axis=1, dtype=np.uint8)
    return first_repeats.sum(axis=1, dtype=np.uint8).tobytes()


def _load_cartridge(options: dict[str, Any]) -> ale_py.ALEInterface:
    """An emulator at the start of a game that plays frame by frame; takes about 0.1 s."""
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 0)
    ale.setInt("frame_skip", 1)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("max_num_frames_per_episode", options["max_num_frames_per_episode"])
    rom = ale_py.roms.get_rom_path(options["game"])
    assert rom is not None, "a game in Gymnasium's registry is in ale-py"
    ale.loadROM(rom)
    ale.reset_game()
    return ale


def environment_options(game_id: str) -> dict[str, Any]:
    """What Gymnasium's registry says of an Atari environment.

    Raises:
        UserError: it knows no such Atari game.
    """
    try:
        spec = gymnasium.spec(game_id)
    except gymnasium.error.Error:
        spec = None
    if spec is None or not isinstance(spec.kwargs.get("frameskip"), int):
        raise UserError(f"unknown game {game_id!r}: give an Atari id such as ALE/Pong-v5")
    return spec.kwargs
