"""How far a run has come, and all that is needed to resume it exactly."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np

from pongrad.games.game import Game
from pongrad.ground.storage import Tensors
from pongrad.vision.frames import FrameStack
from pongrad.vision.preprocessing import Vision


@dataclass
class Progress:
    """How far a training run has come.

    Attributes:
        update: updates of the weights.
        frames: frames played.
        games: games finished.
        seconds: since the start of the process, over all sessions of the run.
        scores: of the last 100 finished games, in the order in which they finished.
        best_mean_score_100: the best mean of 100 finished games so far.
        beat_frames, beat_seconds: when the mean of the last 100 finished games first passed the game's
            reference, see `scores.Reference`.
    """

    update: int = 0
    frames: int = 0
    games: int = 0
    seconds: float = 0.0
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    best_mean_score_100: float | None = None
    beat_frames: int | None = None
    beat_seconds: float | None = None

    def mean_score(self, last: int) -> float | None:
        """The mean score of the last so many finished games, or of all if they are fewer."""
        scores = list(self.scores)[-last:]
        return sum(scores) / len(scores) if scores else None

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Progress":
        """The progress that was written to a checkpoint.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        progress = Progress(**{**value, "scores": deque(value["scores"], maxlen=100)})
        for name, kind in get_type_hints(Progress).items():
            number, least = getattr(progress, name), -(2**53) if name == "best_mean_score_100" else 0
            if name != "scores" and not (
                isinstance(number, kind) and (number is None or least <= number < 2**53)
            ):
                raise ValueError(f"{name} is {number!r}")
        if not all(type(score) in (int, float) and abs(score) < 2**53 for score in progress.scores):
            raise ValueError("scores that no game has")
        return progress

    def about(self) -> dict[str, Any]:
        """What is written into an agent's file about the moment it is from."""
        moment = {"update": self.update, "frames": self.frames, "games": self.games}
        return {**moment, "mean_score_100": self.mean_score_100}

    @property
    def mean_score_100(self) -> float | None:
        """The mean score of the last 100 finished games; None before there are 100."""
        return self.mean_score(100) if len(self.scores) == 100 else None


@dataclass
class Checkpoint:
    """All that is needed to resume a run as if it had never stopped; taken between two updates.

    Attributes:
        hyperparameters: what decides what is learned, as `Recipe.hyperparameters` has it.
        progress: how far the run has come; every schedule follows from it.
        weights: what has been learned.
        weights_before: the weights one update earlier; the next rollout is played with them.
        learner: what the learner remembers, see `learners.Learner`.
        games: as they stand.
    """

    hyperparameters: dict[str, Any]
    progress: Progress
    weights: Tensors
    weights_before: Tensors
    learner: Tensors
    games: list[Game]

    def check(self, first: "Checkpoint", vision: Vision | FrameStack) -> None:
        """Raise ValueError if the run cannot resume from it.

        Args:
            first: what the run began with, which must be of the same kind.
            vision: the agent's.
        """
        if self.hyperparameters != first.hyperparameters:
            raise ValueError("it is of another run than config.json")
        _check_alike("weights", self.weights, first.weights)
        _check_alike("weights before", self.weights_before, first.weights)
        _check_alike("learner state", self.learner, first.learner)
        for name, array in self.learner.items():
            if (array < 0).any() or (array.dtype.kind == "i" and (array >= 2**53).any()):
                raise ValueError(f"learner state {name} that no run comes to")
        if len(self.games) != len(first.games):
            raise ValueError(f"{len(self.games)} games, want {len(first.games)}")
        for game, start in zip(self.games, first.games, strict=True):
            game.check()
            vision.check_seen(game)
            if (game.id, game.seed, game.purpose) != (start.id, start.seed, start.purpose):
                raise ValueError(f"{game.id} from seed {game.seed}, want {start.id} from seed {start.seed}")
            if game.number % len(first.games) != start.number:
                raise ValueError(f"game {game.number} in the slot of game {start.number}")


def _check_alike(what: str, tensors: Tensors, like: Tensors) -> None:
    """Raise ValueError if these have other names, shapes or types, or numbers that are not finite."""
    if tensors.keys() != like.keys():
        raise ValueError(f"{what} {sorted(tensors)}, want {sorted(like)}")
    for name, array in tensors.items():
        if (array.shape, array.dtype) != (like[name].shape, like[name].dtype):
            want = f"{like[name].dtype} {like[name].shape}"
            raise ValueError(f"{what} {name} is {array.dtype} {array.shape}, want {want}")
        if not np.isfinite(array).all():
            raise ValueError(f"{what} {name} has numbers that are not finite")
