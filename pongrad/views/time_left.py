"""How much longer a training run will take, and what ends it then."""

import math
from collections.abc import Sequence

import numpy as np

from pongrad.learning.recipes import Recipe
from pongrad.runs.checkpoint import Progress

SHARE = 0.25
"""The slope of the curve is that of this last part of the run."""

FEWEST = 20
"""Updates that a slope is told from, at least."""


def time_left(
    config: Recipe, progress: Progress, frames_per_second: float, curve: Sequence[tuple[float, float]]
) -> tuple[float, str] | None:
    """Seconds to the run's end, and what is taken to end it: the soonest of its limits.

    Args:
        config: the recipe, with its limits.
        progress: how far it has come.
        frames_per_second: now.
        curve: of each update with 100 finished games, its seconds and their mean score.

    Returns:
        None: nothing can be said.
    """
    ends = [((config.frames - progress.frames) / frames_per_second, f"to {config.frames:,} frames")]
    if config.minutes is not None:
        ends.append((60 * config.minutes - progress.seconds, f"of {config.minutes:g} minutes"))
    if math.isfinite(config.target_score) and (slope := _slope(curve, progress.seconds)) > 0:
        seconds = (config.target_score - curve[-1][1]) / slope
        ends.append((seconds, f"to a score of {config.target_score:g}, if it goes on rising as it does"))
    seconds, why = min(ends)
    return (max(seconds, 0.0), why) if math.isfinite(seconds) else None


def _slope(curve: Sequence[tuple[float, float]], seconds: float) -> float:
    """Points a second over the last part of the run, by least squares; 0 where too little is known."""
    last = [point for point in curve if point[0] >= (1 - SHARE) * seconds]
    if len(last) < FEWEST:
        return 0.0
    times, scores = np.array(last).T
    return float(np.polyfit(times - times[0], scores, 1)[0]) if times[-1] > times[0] else 0.0
