"""Stages of a run: the agent as it was at spaced moments, to look back at and to play against.

The moments depend on frames and scores, never on the clock, so a run resumed keeps the same ones.
"""

from pathlib import Path

from pongrad.games.scores import reference
from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.network.agent import FORMAT, Agent
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder

FIRST_FRAMES = 100_000
FRAMES_FACTOR = 2.0
"""The first stage is the untrained agent, the next one is at 100,000 frames, then each at twice as many."""
SCORE_STEP, SCORE_SHARE = 2.0, 0.1
"""And one when 100 games are over, and then whenever their mean score is above the best stage's so far by so
many points, and by this share of it: scores of 20 and of 20,000 give about as many stages."""


class Stages:
    """Keeps the stages of a run while it trains."""

    def __init__(self, folder: RunFolder, start: Agent, progress: Progress) -> None:
        """Begin, or go on from where a run stands.

        Args:
            folder: the run's.
            start: the untrained agent that the run began with.
            progress: where it stands; stages from later moments, which will be played again, are forgotten.
        """
        self._folder = folder.path / "stages"
        self._folder.mkdir(exist_ok=True)
        self._best: float | None = None
        self._next_frames = FIRST_FRAMES
        for file in files(folder):
            about = storage.load(file, FORMAT)[1]["about"]
            if about["frames"] > progress.frames:
                file.unlink()
            else:
                self._noted(about["frames"], about["mean_score_100"])
        if not files(folder):
            self._keep(start, progress)

    def note(self, agent: Agent, progress: Progress) -> None:
        """Keep the agent if this is a moment to keep."""
        mean = progress.mean_score_100
        better = mean is not None and (self._best is None or mean >= self._best + self._score_step())
        if progress.frames >= self._next_frames or better:
            self._keep(agent, progress)

    def _score_step(self) -> float:
        """How much better than the best so far an agent must be to be kept."""
        best = self._best or 0.0
        return max(SCORE_STEP, abs(best) * SCORE_SHARE)

    def _keep(self, agent: Agent, progress: Progress) -> None:
        about = {**progress.about(), "mean_score": progress.mean_score(100)}
        agent.save(self._folder / f"{progress.frames:012}.safetensors", small=True, **about)
        self._noted(progress.frames, progress.mean_score_100)

    def _noted(self, frames: int, mean: float | None) -> None:
        while self._next_frames <= frames:
            self._next_frames = int(self._next_frames * FRAMES_FACTOR)
        if mean is not None:
            self._best = mean if self._best is None else max(self._best, mean)


def files(folder: RunFolder) -> list[Path]:
    """The stages of a run, youngest agent first."""
    return sorted((folder.path / "stages").glob("*.safetensors"))


def at_least_one(folder: RunFolder) -> list[Path]:
    """The same.

    Raises:
        UserError: there are none.
    """
    if found := files(folder):
        return found
    raise UserError(f"{folder.path} has no stages: it was trained by an older pongrad, train a new run")


def label(file: Path) -> str:
    """A stage's age and score, for people."""
    metadata = storage.load(file, FORMAT)[1]
    about = metadata["about"]
    age = f"{about['frames'] / 1e6:.1f} million frames" if about["frames"] else "untrained"
    mean = about["mean_score"]
    return age if mean is None else f"{age}, {reference(metadata['game']).written(mean)}"
