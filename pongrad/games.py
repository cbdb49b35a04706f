"""The emulator, and games as values.

A `Game` is all there is to know about a game between two steps. Whoever holds the value can play on
from it, any time, in any process, and will see what anybody else would have seen.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum

import ale_py
import gymnasium
import numpy as np
from numpy.typing import NDArray

from pongrad.errors import UserError
from pongrad.vision import Pixels

gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

FRAMES_A_STEP = 4
SCREEN = (210, 160)


class Purpose(IntEnum):
    """What random numbers are for; streams of different purposes never meet."""

    WEIGHTS = 0
    TRAINING = 1
    EVALUATION = 2
    BENCHMARK = 3


def seed_sequence(seed: int, purpose: Purpose, number: int = 0) -> np.random.SeedSequence:
    """The source of all randomness of thing `number` (a game, say) made for `purpose` under a run's seed."""
    return np.random.SeedSequence(seed, spawn_key=(purpose, number))


def no_pixels() -> Pixels:
    """An empty screen."""
    return np.empty(0, np.uint16)


@dataclass(frozen=True, eq=False)
class Game:
    """One game between two steps.

    A slot holds one game after the other: `number`, `number + slots`, ...; the emulator and its random
    generator go on from one to the next, as `env.reset()` does it.

    Attributes:
        id: the Gymnasium id of the cartridge.
        seed, purpose, number: what all its randomness comes from.
        emulator: the emulator's state with its random generator; None before a slot's first game.
        before, now: the pixels that were on in the previous and in the last screen; empty at step 0.
        step: steps played.
        won, lost: points so far.
        over: whether it has ended.
    """

    id: str
    seed: int
    purpose: Purpose
    number: int
    emulator: bytes | None = None
    before: Pixels = field(default_factory=no_pixels)
    now: Pixels = field(default_factory=no_pixels)
    step: int = 0
    won: int = 0
    lost: int = 0
    over: bool = False

    @property
    def score(self) -> int:
        """Points won minus points lost."""
        return self.won - self.lost

    @property
    def stream(self) -> np.uint64:
        """The key of the random stream its actions are drawn from, see `kernels.uniform`."""
        sequence = seed_sequence(self.seed, self.purpose, self.number)
        return sequence.generate_state(1, np.uint64)[0]

    def next(self, slots: int) -> "Game":
        """The slot's next game, not started."""
        fresh = Game(self.id, self.seed, self.purpose, self.number + slots)
        return replace(fresh, emulator=self.emulator)


class Emulator:
    """The Arcade Learning Environment set up as Gymnasium's `gymnasium.make(id)` sets it up, but faster.

    It skips frames and repeats actions inside the emulator and gives the screen as palette indices, one
    byte a pixel. Tested to be Gymnasium's environment, screen for screen and reward for reward.
    """

    def __init__(self, game_id: str) -> None:
        """Load the cartridge of this id.

        Raises:
            UserError: Gymnasium knows no such Atari game.
        """
        options = _options(game_id)
        self.ale = ale_py.ALEInterface()
        self.ale.setInt("frame_skip", options["frameskip"])
        self.ale.setFloat("repeat_action_probability", options["repeat_action_probability"])
        self.ale.setInt("max_num_frames_per_episode", options["max_num_frames_per_episode"])
        self._rom = ale_py.roms.get_rom_path(options["game"])
        self.ale.loadROM(self._rom)
        self._actions = self.ale.getMinimalActionSet()
        self.screen: NDArray[np.uint8] = np.zeros(SCREEN, np.uint8)  # palette indices, read after each step

    def seed(self, seed: int) -> None:
        """Reload the cartridge with this seed, as `env.reset(seed=seed)` does; takes about 0.1 s."""
        ale_seed = np.random.SeedSequence(seed).generate_state(2)[1]
        self.ale.setInt("random_seed", ale_seed.astype(np.int32))
        self.ale.loadROM(self._rom)

    def restore(self, game: Game) -> None:
        """Put the emulator where this game stands; a game not started is started.

        After it the screen shows the first picture of a game just started; of any other game it is stale
        until the next step.
        """
        if game.emulator is not None:
            state = ale_py.ALEState.__new__(ale_py.ALEState)
            state.__setstate__(game.emulator)
            self.ale.restoreState(state)
        else:
            sequence = seed_sequence(game.seed, game.purpose, game.number)
            self.seed(int(sequence.generate_state(1)[0]))
        if game.step == 0:
            self.ale.reset_game()
            self.ale.getScreen(self.screen)

    def save(self) -> bytes:
        """The emulator's state with its random generator."""
        return self.ale.cloneState(include_rng=True).__getstate__()

    def act(self, action: int) -> float:
        """Play one step with an action of Gymnasium's numbering, read the screen; returns the reward."""
        reward = self.ale.act(self._actions[action])
        self.ale.getScreen(self.screen)
        return reward

    @property
    def over(self) -> bool:
        """Whether the game has ended, or been cut off at Gymnasium's limit of 108,000 frames."""
        return self.ale.game_over()


def _options(game_id: str) -> dict:
    """What Gymnasium's registry says of an Atari environment."""
    try:
        spec = gymnasium.spec(game_id)
    except gymnasium.error.Error:
        spec = None
    if spec is None or "repeat_action_probability" not in spec.kwargs:
        raise UserError(f"unknown game {game_id!r}: give an Atari id such as ALE/Pong-v5")
    return spec.kwargs
