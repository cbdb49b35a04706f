"""Dense frames, the input of a convolutional network: the last four screens in grey, 84 x 84.

They are those of DQN (Mnih et al. 2015): each is the brighter of a step's last two frames, pixel by pixel,
for some games draw things in every second frame only. It is shrunk to 84 x 84 pixels, each the mean of the
area that it covers. At a game's first step all four are its first screen. What is given to the network is
[84, 84, 4], oldest first, and less the background: (frame - background) / 255, from -1 to 1.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.games.game import Game
from pongrad.ground.compiled import compiled
from pongrad.ground.errors import UserError
from pongrad.ground.storage import packed_text, unpacked_text

SIDE = 84
"""Rows and columns of a frame."""

STACK = 4
"""So many frames are an input."""

SHAPE = (SIDE, SIDE, STACK)
"""Rows, columns and channels of the network's input."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """A batch of inputs, which share their frames.

    Attributes:
        frames: uint8 [frames, 84, 84].
        newest: int64 [steps]; input t is `frames[newest[t] - 3 : newest[t] + 1]`.
    """

    frames: Grey
    newest: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.newest)

    def __repr__(self) -> str:
        return f"Frames({len(self)} steps)"

    @staticmethod
    def join(parts: Sequence["Frames"]) -> "Frames":
        """All steps of all parts, in order."""
        first = np.cumsum([0, *(len(part.frames) for part in parts[:-1])])
        newest = np.concatenate([part.newest + start for part, start in zip(parts, first, strict=True)])
        return Frames(np.concatenate([part.frames for part in parts]), newest)

    def slice(self, start: int, end: int) -> "Frames":
        """Steps `start` to `end`, `end` not included, and only the frames they need, as views."""
        newest = self.newest[start:end]
        first = int(newest.min(initial=len(self.frames))) - STACK + 1
        last = int(newest.max(initial=first))
        return Frames(self.frames[first : last + 1], newest - first)

    def take(self, steps: NDArray[np.int64]) -> "Frames":
        """These steps, in this order."""
        return Frames(self.frames, self.newest[steps])

    def to_bytes(self) -> tuple[bytes, ...]:
        """All of it, for `from_bytes`."""
        return self.frames.tobytes(), self.newest.tobytes()

    @staticmethod
    def from_bytes(frames: bytes, newest: bytes) -> "Frames":
        """The batch that `to_bytes` has written; its arrays are read-only views."""
        return Frames(
            np.frombuffer(frames, np.uint8).reshape(-1, SIDE, SIDE), np.frombuffer(newest, np.int64)
        )


@dataclass(frozen=True)
class FrameStack:
    """How an agent with a convolutional network looks at the screen.

    Attributes:
        height, width: of the screen.
        background: uint8 [84, 84] as bytes, the most frequent grey of each place.
    """

    height: int = 210
    width: int = 160
    background: bytes = bytes(SIDE * SIDE)

    def __post_init__(self) -> None:
        """Raise ValueError if no screen is of this size, or no background."""
        fits = 0 < self.height <= _LARGEST and 0 < self.width <= _LARGEST
        if not fits or len(self.background) != SIDE * SIDE:
            raise ValueError(f"{self} does not fit a screen")

    def __repr__(self) -> str:
        return f"FrameStack({STACK} x {SIDE} x {SIDE} of {self.height} x {self.width})"

    @property
    def size(self) -> int:
        """How many numbers the network is given."""
        return SIDE * SIDE * STACK

    @property
    def background_frame(self) -> Grey:
        """The background, [84, 84]."""
        return np.frombuffer(self.background, np.uint8).reshape(SIDE, SIDE)

    def frame(self, greys: Grey, out: Grey) -> None:
        """Write to `out` [84, 84] what is seen of two screens in grey [2, height, width].

        Raises:
            UserError: the screens are of another size.
        """
        if greys.shape != (2, self.height, self.width):  # the compiled loop trusts it
            raise UserError(
                f"the agent looks at {self.height} x {self.width} pixels, and the game shows "
                f"{greys.shape[1]} x {greys.shape[2]}"
            )
        _shrink(greys, *_areas(self.height), *_areas(self.width), out)

    def check_seen(self, game: Game) -> None:
        """Raise ValueError unless a game has seen what it may: four frames, before its start nothing."""
        want = self.size if game.step else 0
        if game.before or len(game.now) != want:
            raise ValueError(f"game {game.number} with {len(game.now)} bytes of frames, want {want}")

    def description(self) -> dict[str, Any]:
        """All of it as JSON can hold it; see `from_description`."""
        return asdict(self) | {"background": packed_text(self.background)}

    @staticmethod
    def from_description(description: dict[str, Any]) -> "FrameStack":
        """The vision that was described.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        background = unpacked_text(description["background"], SIDE * SIDE)
        vision = FrameStack(**description | {"background": background})
        if type(vision.height) is not int or type(vision.width) is not int:
            raise TypeError(f"a screen of {vision.height!r} x {vision.width!r}")
        return vision


_LARGEST = 2**12
"""Sides of a screen."""


@functools.cache
def _areas(size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which rows (or columns) of a screen of this size each of 84 covers, and by which share of itself.

    Returns:
        The first that each covers [84], and the shares of it and of those after it [84, most].
    """
    edges = np.arange(SIDE + 1) * size / SIDE
    first = np.minimum(np.floor(edges[:-1] + 1e-9).astype(np.int64), size - 1)
    most = int(np.max(np.ceil(edges[1:] - 1e-9) - first))
    places = first[:, np.newaxis] + np.arange(most)
    covered = np.minimum(places + 1, edges[1:, np.newaxis]) - np.maximum(places, edges[:-1, np.newaxis])
    shares = np.maximum(covered, 0) * SIDE / size
    first = np.minimum(first, size - most)  # so that all places are on the screen
    shares = np.array(
        [np.roll(share, place[0] - start) for share, place, start in zip(shares, places, first, strict=True)]
    )
    return first, shares.astype(np.float32)


@compiled(nogil=True)
def _shrink(
    greys: Grey,
    first_row: NDArray[np.int64],
    row_shares: NDArray[np.float32],
    first_column: NDArray[np.int64],
    column_shares: NDArray[np.float32],
    out: Grey,
) -> None:
    """Write the mean brightness of each area, of the brighter of two screens; see `_areas`."""
    width = greys.shape[2]
    line = np.empty(width, np.float32)
    for row in range(out.shape[0]):
        line[:] = 0
        for k in range(row_shares.shape[1]):
            share = row_shares[row, k]
            a, b = greys[0, first_row[row] + k], greys[1, first_row[row] + k]
            for column in range(width):
                line[column] += share * np.float32(max(a[column], b[column]))
        for column in range(out.shape[1]):
            mean = np.float32(0.5)  # rounds to the nearest number
            for k in range(column_shares.shape[1]):
                mean += column_shares[column, k] * line[first_column[column] + k]
            out[row, column] = np.uint8(mean)
