"""A run's folder: what is in which file, and how a run is taken up again.

config.json          the recipe and its hyperparameters, and the versions that ran it
metrics.jsonl        one line an update
tensorboard/         the same for TensorBoard
checkpoints/         all that is needed to go on; the last three are kept
best.safetensors     the agent with the best mean score of 100 games
beat.safetensors     the agent that first beat the computer
stages/              the agent at spaced moments, small; see `stages.py`
learning_curve.png   a picture of it all
summary.json         the result
"""

import contextlib
import json
import os
import platform
from collections import deque
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pongrad import storage
from pongrad.agent import Agent
from pongrad.errors import UserError
from pongrad.games import Game
from pongrad.recipes import RECIPES, Recipe
from pongrad.storage import Tensors

CHECKPOINT_FORMAT = "pongrad-checkpoint-2"
CHECKPOINTS_KEPT = 3
PACKAGES = ("pongrad", "ale-py", "gymnasium", "numpy", "numba")


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
        beat_frames, beat_seconds: when the mean of the last 100 finished games first passed 0.
    """

    update: int = 0
    frames: int = 0
    games: int = 0
    seconds: float = 0.0
    scores: deque[int] = field(default_factory=lambda: deque(maxlen=100))
    best_mean_score_100: float | None = None
    beat_frames: int | None = None
    beat_seconds: float | None = None

    def mean_score(self, last: int) -> float | None:
        """The mean score of the last so many finished games, or of all if they are fewer."""
        scores = list(self.scores)[-last:]
        return sum(scores) / len(scores) if scores else None

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
    """All that is needed to go on with a run as if it had never stopped; taken between two updates."""

    progress: Progress
    weights: Tensors
    optimiser: Tensors
    games: list[Game]


class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensorboard: Any = None

    def __repr__(self) -> str:
        return f"RunFolder({self.path})"

    @staticmethod
    def create(config: Recipe) -> "RunFolder":
        """A folder for a new run, with its configuration in it.

        Raises:
            UserError: the folder holds a run already, or cannot be written to.
        """
        path = config.run
        if path is None:
            name, number = f"{config.recipe}-seed{config.seed}", 2
            path = Path("runs", name)
            while path.exists():
                path = Path("runs", f"{name}-{number}")
                number += 1
        try:
            if (path / "config.json").exists():
                raise UserError(f"{path} holds a run already: add --resume, or give another --run")
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {path}: {error.strerror}; give another --run") from error
        folder = RunFolder(path)
        folder.write_config(config)
        return folder

    @staticmethod
    def open(path: Path | None) -> "RunFolder":
        """The folder of an earlier run; None: the newest under runs/.

        Raises:
            UserError: there is no run.
        """
        if path is None:
            configs = sorted(Path("runs").glob("*/config.json"), key=lambda file: file.stat().st_mtime)
            if not configs:
                raise UserError("there is no run under runs/ to resume: name its folder with --run")
            path = configs[-1].parent
        if not os.path.isfile(path / "config.json"):
            raise UserError(f"there is no run in {path} to resume: name another folder with --run")
        return RunFolder(path)

    def write_config(self, config: Recipe) -> None:
        """Write how the run is made and when it is to stop; a resumed run may have been given a later end."""
        of_the_session = ("run", "resume", "live")
        settings = {name: value for name, value in asdict(config).items() if name not in of_the_session}
        versions = {package: version(package) for package in PACKAGES}
        versions["python"] = platform.python_version()
        storage.write_json(self.path / "config.json", {**settings, "versions": versions})

    def config(self) -> Recipe:
        """The configuration the run was started with."""
        file = self.path / "config.json"
        try:
            settings = json.loads(file.read_text())
            del settings["versions"]
            config = RECIPES[settings["recipe"]](**settings, run=self.path)
            config.check()
            return config
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file} is damaged ({error}): start a new run") from error

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove all but the newest three."""
        tensors = {f"weights.{name}": array for name, array in checkpoint.weights.items()}
        tensors |= {f"optimiser.{name}": array for name, array in checkpoint.optimiser.items()}
        progress = {**asdict(checkpoint.progress), "scores": list(checkpoint.progress.scores)}
        for i, game in enumerate(checkpoint.games):
            tensors |= {f"games.{i}.{name}": array for name, array in game.arrays().items()}
        games = [game.numbers() for game in checkpoint.games]
        metadata = {"format": CHECKPOINT_FORMAT, "progress": progress, "games": games}
        folder = self.path / "checkpoints"
        storage.save(folder / f"{checkpoint.progress.update:08d}.safetensors", tensors, metadata)
        for old in sorted(folder.glob("*.safetensors"))[:-CHECKPOINTS_KEPT]:
            old.unlink(missing_ok=True)

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint; None if the run was stopped before its first.

        Raises:
            UserError: it is damaged.
        """
        files = sorted((self.path / "checkpoints").glob("*.safetensors"))
        if not files:
            return None
        tensors, metadata = storage.load(files[-1], CHECKPOINT_FORMAT)
        try:
            progress = Progress(**metadata["progress"])
            progress.scores = deque(progress.scores, maxlen=100)
            games = [
                Game.from_parts(numbers, _with_prefix(tensors, f"games.{i}."))
                for i, numbers in enumerate(metadata["games"])
            ]
            return Checkpoint(
                progress, _with_prefix(tensors, "weights."), _with_prefix(tensors, "optimiser."), games
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{files[-1]} is damaged ({error}): delete it to use the one before") from error

    def save_agent(self, name: str, agent: Agent, about: dict[str, Any]) -> None:
        """Write `best.safetensors` or `beat.safetensors`; `about` says what moment the agent is from."""
        agent.save(self.path / name, **about)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, up to one that a crash left unfinished."""
        lines: list[dict[str, Any]] = []
        if (file := self.path / "metrics.jsonl").exists():
            with contextlib.suppress(json.JSONDecodeError):
                for line in file.read_text().splitlines():
                    lines.append(json.loads(line))
        return lines

    def rewind_metrics(self, progress: Progress) -> None:
        """Forget the metrics of later updates, which a resumed run will play again."""
        kept = [line for line in self.metrics() if line["update"] <= progress.update]
        storage.write(self.path / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in kept).encode())
        from tensorboardX import SummaryWriter

        self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=progress.frames + 1)

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Add one update's line to metrics.jsonl and to TensorBoard (against frames)."""
        try:
            with open(self.path / "metrics.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self.path}/metrics.jsonl: {error.strerror}") from error
        for name, value in line.items():
            if name != "frames" and value is not None:
                self._tensorboard.add_scalar(name, value, line["frames"])

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json and close TensorBoard's file."""
        storage.write_json(self.path / "summary.json", summary)
        self._tensorboard.close()


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: array for name, array in tensors.items() if name.startswith(prefix)}
