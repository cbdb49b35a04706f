"""A reward for what is new, where a game gives none: exploration by counting.

Where no step of an update is rewarded, no action is better than another, and random play may hardly ever come
to a reward: in Freeway it seldom crosses the road. So a step is rewarded for leading to what is rarely seen:

    b(x) = mean over the inputs i that are on in x of  1 / sqrt(1 + n_i),    r = b / mean(b) - 1

n_i counts the steps of earlier such updates in which input i was on. Bellemare et al. 2016 give 1 / sqrt(n)
for counts of screens; counting inputs, which screens share, follows Martin et al. 2017, "Count-Based
Exploration in Feature Space for Reinforcement Learning".
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pongrad.playing.rollout import Rollout, join
from pongrad.vision.inputs import Inputs


class Novelty:
    """Counts inputs, and rewards steps for new ones.

    Attributes:
        counts: int64 [inputs], n_i; a checkpoint keeps it.
    """

    def __init__(self, size: int) -> None:
        """Start with `size` inputs, none of which has been seen."""
        self.counts = np.zeros(size, np.int64)

    def rewards(self, rollouts: Sequence[Rollout]) -> list[NDArray[np.float64]]:
        """How much newer than the others each step's next observation is, [steps] for each rollout.

        Then they are counted.
        """
        parts = [(rollout.inputs.slice(1, len(rollout)), rollout.next_observation) for rollout in rollouts]
        seen: Inputs = join([part for pair in parts for part in pair])
        bonuses = self.bonuses(seen)
        self.counts += np.bincount(seen.pixels, minlength=len(self.counts))
        return np.split(
            bonuses / max(bonuses.mean(), 1e-12) - 1, np.cumsum([len(rollout) for rollout in rollouts])[:-1]
        )

    def bonuses(self, inputs: Inputs) -> NDArray[np.float64]:
        """b(x) of each step, [steps]; 0 where no input is on."""
        on = np.diff(inputs.offsets)
        newness = 1 / np.sqrt(1 + self.counts[inputs.pixels])
        sums = np.bincount(np.repeat(np.arange(len(inputs)), on), newness, len(inputs))
        return sums / np.maximum(on, 1)
