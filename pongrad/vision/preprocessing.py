"""From screen to network input: crop, downsample, take away the background, see motion and relative offsets.

What remains of a Pong screen is about 30 pixels of 6,400, so it is kept as the sorted list of the pixels
that are on. With the default settings the meaning is that of `classic.preprocess`; this is the fast way to
the same numbers. Recipe `fast` sees a game's corners, two screens at once, and relative offsets between them;
`survey` finds its settings for any game.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.games.colours import CLASSES, packed, padded, reduced_colours
from pongrad.games.game import Game
from pongrad.ground.compiled import compiled
from pongrad.ground.errors import UserError
from pongrad.ground.storage import packed_text, unpacked_text
from pongrad.vision import relative_offsets
from pongrad.vision.inputs import Indices, Int64s, Values
from pongrad.vision.pixels import MOST_CORNERS, OFF, PreprocessingArgs, difference, side_by_side

UNKNOWN = 1
"""The number of an RGB colour that is not in the palette; the emulator has no such colour."""

PONG_FIELD, PONG_FIRST_FIELD = 34, 228
"""The emulator's numbers of the two colours that the article takes for background."""

InputArgs = tuple[bool, int, int, int]
"""What the network is given of two screens, see `observe`."""

ScreenBuffer = tuple[NDArray[np.uint16], NDArray[np.int64], Int64s, Int64s]
"""The pixels of two screens: uint16 [2, size], and how many, int64 [2]; then room for `relative_offsets`.

Row `step % 2` holds the pixels that are on in the screen of this step, the other those of the step before.
"""


@dataclass(frozen=True)
class Vision:
    """How an agent looks at the screen; the defaults are the article's, for Pong.

    Attributes:
        height, width: of the screen.
        top, bottom: the rows looked at, `top` included, `bottom` not.
        stride: keep every `stride`-th pixel of a row and of a column; 1, 2, 4 or 8.
        background: uint8 [rows, columns] as bytes, the colour of every kept place that counts as background.
        classes: uint8 [256] as bytes, the class of each colour; `OFF` where it is background everywhere.
        palette: the colours' numbers as (red * 65536 + green * 256 + blue, number), ascending; empty: see
            `reduced_colours`.
        offsets: whether the network is given the corners of this screen and of the one before, and their
            relative offsets (see `relative_offsets`), instead of which pixels changed between them.
    """

    height: int = 210
    width: int = 160
    top: int = 35
    bottom: int = 195
    stride: int = 2
    background: bytes = bytes([PONG_FIELD]) * 6400
    classes: bytes = bytes(OFF if colour == PONG_FIRST_FIELD else 0 for colour in range(256))
    palette: tuple[tuple[int, int], ...] = ((0x6D762B, PONG_FIRST_FIELD), (0x904811, PONG_FIELD))
    offsets: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if it would look outside the screen, or at more than 16 bits can number."""
        fits = 0 <= self.top < self.bottom <= self.height and self.stride in (1, 2, 4, 8) and self.width > 0
        if not fits or CLASSES * self.pixels > 2**16 or self.size > 2**16:
            raise ValueError(f"{self} does not fit a screen")
        if len(self.background) != self.pixels or len(self.classes) != 256:
            raise ValueError(f"a background of {len(self.background)} pixels, want {self.pixels}")
        if not set(self.classes) <= {*range(CLASSES), OFF}:
            raise ValueError("classes of colours that there are not")
        if any(not 0 <= number < 256 for _, number in self.palette):
            raise ValueError("a palette with numbers that are no colours")

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Vision({rows} x {columns} of {self.height} x {self.width}, {self.size} inputs)"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the processed screen: (80, 80)."""
        return len(range(self.top, self.bottom, self.stride)), padded(self.width) // self.stride

    @property
    def pixels(self) -> int:
        """Pixels of the processed screen."""
        rows, columns = self.shape
        return rows * columns

    @property
    def channels(self) -> int:
        """Pixels of the network's input for each of a screen's: 1, or 2 if it is given two screens."""
        return 1 + self.offsets

    @cached_property
    def class_count(self) -> int:
        """How many classes of colours there are."""
        return 1 + max((kind for kind in self.classes if kind != OFF), default=0)

    @cached_property
    def size(self) -> int:
        """How many inputs the network has: pixels, relative offsets in space, relative offsets in time."""
        if not self.offsets:
            return self.pixels
        return 2 * self.pixels + sum(relative_offsets.sizes(*self.shape, self.class_count))

    @property
    def most_inputs(self) -> int:
        """How many inputs can be on at once."""
        if not self.offsets:
            return 2 * self.pixels
        points = relative_offsets.MOST_POINTS
        _, in_time = relative_offsets.sizes(*self.shape, self.class_count)
        in_time = min(in_time, points * MOST_CORNERS)
        return 2 * MOST_CORNERS + points * (points - 1) // 2 + in_time

    @property
    def most_pixels(self) -> int:
        """How many pixels of a screen can be kept at once."""
        return min(self.pixels, MOST_CORNERS) if self.offsets else self.pixels

    @property
    def input_args(self) -> InputArgs:
        """What the network is given of two screens, as `observe` takes it."""
        return self.offsets, *self.shape, self.class_count

    def new_screen(self) -> NDArray[np.uint8]:
        """Room for a screen of colours' numbers: uint8 [height, width], a row a whole number of words."""
        return np.zeros((self.height, padded(self.width)), np.uint8)

    def preprocessing_args(self, screen: NDArray[np.uint8]) -> PreprocessingArgs:
        """This vision on a screen of colours' numbers, see `new_screen`.

        What the array holds counts when the pixels are looked for.

        Raises:
            UserError: the screen is of another size.
        """
        if screen.shape != (self.height, padded(self.width)):  # the compiled loops trust it
            raise UserError(
                f"the agent looks at {self.height} x {self.width} pixels, and the game shows "
                f"{screen.shape[0]} x {screen.shape[1]}: take an agent that was trained on it"
            )
        words, mask = self._background_words
        return (
            screen.view(np.uint64),
            words,
            mask,
            self._classes,
            self.top,
            self.stride,
            self.offsets,
        )

    def preprocessing_args_rgb(self, observation: NDArray[np.uint8]) -> PreprocessingArgs:
        """This vision on a copy of Gymnasium's screen, uint8 [height, width, 3] or [height, width]."""
        screen = self.new_screen()
        rows, columns = slice(self.top, self.bottom, self.stride), slice(0, self.width, self.stride)
        screen[rows, columns] = self.colour_numbers(observation[rows, columns])
        return self.preprocessing_args(screen)

    def colour_numbers(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The number of every colour of a picture, uint8 [height, width, 3] or [height, width]."""
        if not self.palette:
            return reduced_colours(picture)
        colours, numbers = np.array(self.palette).T
        rgb = packed(picture)
        place = np.searchsorted(colours, rgb).clip(max=len(colours) - 1)
        return np.where(colours[place] == rgb, numbers[place], UNKNOWN).astype(np.uint8)

    @cached_property
    def _background_words(self) -> tuple[NDArray[np.uint64], np.uint64]:
        rows, columns = self.shape
        wide = np.zeros((rows, columns * self.stride), np.uint8)
        wide[:, :: self.stride] = np.frombuffer(self.background, np.uint8).reshape(rows, columns)
        mask = np.zeros(8, np.uint8)
        mask[:: self.stride] = 255
        return wide.view(np.uint64), mask.view(np.uint64)[0]

    @cached_property
    def _classes(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.classes, np.uint8)

    def check_seen(self, game: Game) -> None:
        """Raise ValueError unless a game has seen what it may: codes of pixels that are on, ascending."""
        for codes in (game.before, game.now):
            places, kinds = np.divmod(np.frombuffer(codes, np.uint16).astype(np.int64), CLASSES)
            ascending = (np.diff(places, prepend=-1) > 0).all() and len(places) <= self.most_pixels
            if not ascending or (places >= self.pixels).any() or (kinds >= self.class_count).any():
                raise ValueError(f"game {game.number} has pixels that are not on a screen")

    def description(self) -> dict[str, Any]:
        """All of it as JSON can hold it; see `from_description`."""
        return {
            name: packed_text(value) if isinstance(value, bytes) else value
            for name, value in asdict(self).items()
        }

    @staticmethod
    def from_description(description: dict[str, Any]) -> "Vision":
        """The vision that was described.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        parts = dict(description)
        for name, most in (("background", 2**16), ("classes", 256)):
            parts[name] = unpacked_text(parts[name], most)
        parts["palette"] = tuple((colour, number) for colour, number in parts["palette"])
        usual = Vision()
        if unknown := parts.keys() - asdict(usual).keys():
            raise ValueError(f"a vision with {', '.join(sorted(unknown))}, perhaps of a later version")
        for name, value in parts.items():  # `policy_step` is compiled for these types
            if type(value) is not type(getattr(usual, name)):
                raise TypeError(f"a vision with {name} {value!r}")
        if not all(type(each) is int for pair in parts["palette"] for each in pair):
            raise TypeError(f"a vision with palette {parts['palette']!r}")
        return Vision(**parts)


def new_screen_buffer(vision: Vision) -> ScreenBuffer:
    """Room for the pixels of two screens."""
    return (
        np.zeros((2, vision.pixels), np.uint16),
        np.zeros(2, np.int64),
        np.zeros((3, relative_offsets.MOST_POINTS), np.int64),
        np.zeros(vision.size, np.int64),
    )


@compiled()
def observe(
    input_args: InputArgs, screen_buffer: ScreenBuffer, step: int, indices: Indices, values: Values
) -> tuple[int, bool]:
    """Write the network's sparse input at a game's step.

    Args:
        input_args: what the network is given of two screens, see `Vision.input_args`:
            offsets: whether it is both side by side and their relative offsets, or their difference;
            rows, columns: of a screen;
            classes: of colours.
        screen_buffer: the pixels of the screen of this step and of the one before.
        step: counts the game's steps.
        indices: uint16, receives the inputs that are not zero.
        values: int8, receives their values.

    Returns:
        How many inputs are not zero, and whether the screen was crowded: it had as many corners as can be, or
        its points were gathered from far.
    """
    offsets, rows, columns, classes = input_args
    seen, counts, points, given = screen_buffer
    now = seen[step % 2, : counts[step % 2]]
    before = seen[1 - step % 2, : counts[1 - step % 2]]
    if offsets:
        before = before if step > 0 else before[:0]  # a game's first step has no screen before
        count = side_by_side(before, now, rows * columns, indices, values)
        first = 2 * rows * columns
        more, crowded = relative_offsets.relative_offsets(
            now, before, rows, columns, classes, first, points, given, indices[count:], values[count:]
        )
        return count + more, crowded or len(now) == MOST_CORNERS
    return (difference(before, now, indices, values) if step > 0 else 0), False
