"""Games as values: a serialisable snapshot of a game between two steps, which any process can resume."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pongrad.games.randomness import Purpose, seed_sequence


class Game(NamedTuple):
    """One game between two steps, and all that decides how it goes on but the agent.

    Attributes:
        id: what is played, see `environment.name`.
        seed, purpose, number: what all its randomness comes from.
        step: steps played; the attributes below are empty at step 0.
        frames: frames played; what a frame is, the environment says: of Atari a 60th of a second.
        state: the environment's state.
        last_action: the joystick's action on the last frame.
        before, now: what has been seen, as bytes: arrays would take long to be sent to another process. The
            codes of the pixels that are on in the screen before the last and in the last, uint16; or nothing
            and the last four frames, uint8.
        won, lost: points so far.
        terminated: whether it has ended by its own rules.
        truncated: whether it has been cut off, at a limit.
        restarts: how often it has begun again, because the environment is not deterministic.
    """

    id: str
    seed: int
    purpose: Purpose
    number: int
    step: int = 0
    frames: int = 0
    state: bytes = b""
    last_action: int = 0
    before: bytes = b""
    now: bytes = b""
    won: float = 0
    lost: float = 0
    terminated: bool = False
    truncated: bool = False
    restarts: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.terminated or self.truncated

    @property
    def score(self) -> float:
        """Points won minus points lost."""
        return self.won - self.lost

    def successor(self, stride: int) -> "Game":
        """The game numbered `stride` after this one, before its first step."""
        return Game(self.id, self.seed, self.purpose, self.number + stride)

    def restarted(self) -> "Game":
        """The same game before its first step."""
        return self.successor(0)._replace(restarts=self.restarts + 1)

    def numbers(self) -> dict[str, Any]:
        """All but the arrays, as JSON can hold it; see `from_parts`."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All but the numbers, as arrays; see `from_parts`."""
        return {
            "state": np.frombuffer(self.state, np.uint8),
            "before": np.frombuffer(self.before, np.uint8),
            "now": np.frombuffer(self.now, np.uint8),
        }

    @staticmethod
    def from_parts(numbers: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Game":
        """The game that was taken apart by `numbers` and `arrays`.

        Raises:
            KeyError, TypeError, ValueError: they are not of a game.
        """
        if set(numbers) != set(_NUMBERS):
            raise ValueError(f"a game has {sorted(numbers)}, want {sorted(_NUMBERS)}")
        game = Game(
            **numbers | {"purpose": Purpose(numbers["purpose"])},
            state=arrays["state"].tobytes(),
            before=arrays["before"].tobytes(),
            now=arrays["now"].tobytes(),
        )
        types = {name: (array.dtype, array.ndim) for name, array in arrays.items()}
        if types != {name: (array.dtype, 1) for name, array in Game("", 0, Purpose(0), 0).arrays().items()}:
            raise ValueError(f"a game's arrays are {types}")
        return game

    def check(self) -> None:
        """Raise ValueError if it cannot be a game under way.

        The player trusts these numbers: steps are random numbers to draw. `Environment.check` says whether
        the environment can restore the state, and the vision's `check_seen` whether it may have seen that.
        """
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= largest:
                raise ValueError(f"game with {name} {value!r}, want a number from 0 to {largest}")
        for points in (self.won, self.lost):
            if type(points) not in (int, float) or not 0 <= points < math.inf:
                raise ValueError(f"game with {points!r} points")
        under_way = self.terminated is False and self.truncated is False
        if not under_way or (self.step == 0) != (not self.state):
            raise ValueError(f"game {self.number} is over or has no state")

    @property
    def env_seed(self) -> int:
        """It is the game that `env.reset(seed=env_seed)` starts."""
        return self._seeds()[0]

    @property
    def stream(self) -> np.uint64:
        """The key of the random stream its actions are drawn from, see `randomness.uniform`."""
        return self._seeds()[1]

    def _seeds(self) -> tuple[int, np.uint64]:
        return _seeds_of(self.seed, self.purpose, self.number)


@functools.lru_cache(1024)
def _seeds_of(seed: int, purpose: Purpose, number: int) -> tuple[int, np.uint64]:
    sequence = seed_sequence(seed, purpose, number)
    return int(sequence.generate_state(1)[0]), sequence.generate_state(2, np.uint64)[1]


_NUMBERS = (
    "id",
    "seed",
    "purpose",
    "number",
    "step",
    "frames",
    "last_action",
    "won",
    "lost",
    "terminated",
    "truncated",
    "restarts",
)
_LARGEST = {"number": 2**32, "step": 2**24, "frames": 2**32, "last_action": 2**16, "restarts": 2**32}
"""What a game's numbers may be at most."""
