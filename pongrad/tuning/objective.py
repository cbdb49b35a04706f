"""What a trial is measured by: the area under its learning curve, as a mean score over the frames.

An agent that learns sooner and one that ends stronger both have more of it, in the unit of the game's score.
"""

import numpy as np

MILESTONES = 10
"""So often a trial says how well it does, and may be pruned."""


def milestones(frames: int) -> list[int]:
    """The frames at which a trial that plays so many reports, the last of them its end."""
    return sorted({max(1, round(frames * i / MILESTONES)) for i in range(1, MILESTONES + 1)})


class Curve:
    """A training's score against its frames, straight between two updates."""

    def __init__(self, random_score: float | None) -> None:
        """Begin with a score.

        Args:
            random_score: what the game's random play has, which counts until a game has ended; None: not
                known, and the first score counts from the beginning.
        """
        self._random = random_score
        self._frames = [0]
        self._scores: list[float | None] = [None]

    def add(self, frames: int, score: float | None) -> None:
        """Note the score after so many frames; None: no game has ended so far."""
        self._frames.append(frames)
        self._scores.append(score)

    def mean(self, until: int) -> float | None:
        """The mean score over the first so many frames; None if nothing is known of it.

        After its last point the curve is level.
        """
        first = next((score for score in self._scores if score is not None), None)
        before = first if self._random is None else self._random
        if before is None:
            return None
        scores = [before if score is None else score for score in self._scores]
        inside = [
            (frames, score) for frames, score in zip(self._frames, scores, strict=True) if frames < until
        ]
        end = float(np.interp(until, self._frames, scores))
        x, y = zip(*inside, (until, end), strict=True)
        return float(np.trapezoid(y, x)) / until
