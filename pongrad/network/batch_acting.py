"""Acting with a convolutional network: several games side by side, so that one product serves all.

A batch always has `ROWS` rows, also for a single game, and a game has the same row whatever plays it: so a
row's numbers are the same to the last bit.
"""

import numpy as np

from pongrad.games.randomness import uniform
from pongrad.ground.compiled import compiled
from pongrad.network.exploration import Held
from pongrad.network.layers import Array
from pongrad.network.network import Network
from pongrad.network.policy import choose_action
from pongrad.vision.frames import SIDE, STACK, Frames, FrameStack, Grey

ROWS = 8
"""Games side by side."""


class FrameBuffer:
    """The last four frames of the games played side by side.

    Attributes:
        frames: uint8 [ROWS, 4, 84, 84], oldest first.
    """

    def __init__(self, vision: FrameStack) -> None:
        """Start with the background: there is no work in rows without a game."""
        self.frames: Grey = np.empty((ROWS, STACK, SIDE, SIDE), np.uint8)
        self.frames[:] = vision.background_frame
        self._newest = np.arange(STACK - 1, ROWS * STACK, STACK)

    def add(self, row: int, frame: Grey, step: int) -> None:
        """Add what is seen at a game's step; before the second step there is nothing else."""
        stack = self.frames[row]
        if step == 0:
            stack[:] = frame
        else:
            stack[:-1] = stack[1:]
            stack[-1] = frame

    @property
    def inputs(self) -> Frames:
        """What the network is given, ROWS steps; views."""
        return Frames(self.frames.reshape(-1, SIDE, SIDE), self._newest)

    def stands_still(self, row: int, step: int) -> bool:
        """Whether nothing has moved since the step before, see `acting.stands_still`."""
        return step > 0 and np.array_equal(self.frames[row, -1], self.frames[row, -2])


def logits(network: Network, frame_buffer: FrameBuffer, count: int) -> Array:
    """The network's first `count` outputs for each row, [ROWS, count]."""
    return network.forward(frame_buffer.inputs)[:, :count]


@compiled()
def choose(logits: Array, stream: np.uint64, step: int, likeliest: bool, held: Held) -> tuple[int, float]:
    """The index of the action at a game's step, and the logarithm of its probability; logits [count]."""
    return choose_action(logits, uniform(stream, np.uint64(step)), likeliest, held)
