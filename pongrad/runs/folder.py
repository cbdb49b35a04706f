"""A run's folder: what is in which file, and how a run is resumed.

config.json          the recipe and its hyperparameters, the versions that ran it, what random play has shown
metrics.jsonl        one line an update
tensorboard/         the same for TensorBoard
checkpoints/         all that is needed to go on; the last three are kept
best.safetensors     the agent with the best mean score of 100 games
beat.safetensors     the agent that first beat the computer, or passed the human score
stages/              the agent at spaced moments, small; see `stages.py`
learning_curve.png   a picture of it all
summary.json         the result
lock, owner          held by the process that trains, and its number

metrics.jsonl is on the disk before a checkpoint is, and tensorboard/ is made from it; so whatever ends a
process, the newest checkpoint with the lines up to it is the whole run.
"""

import contextlib
import itertools
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pongrad.games.game import Game
from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.ground.storage import Tensors
from pongrad.learning.recipes import OF_THE_SESSION, RECIPES, Recipe
from pongrad.network.agent import Agent
from pongrad.runs.checkpoint import Checkpoint, Progress
from pongrad.runs.tensorboard import EventFile
from pongrad.vision.frames import FrameStack
from pongrad.vision.preprocessing import Vision
from pongrad.vision.survey import Survey

CHECKPOINT_FORMAT = "pongrad-checkpoint-11"
CHECKPOINTS_KEPT = 3
_METRICS = {"update", "frames", "games", "seconds", "mean_score_100"}
PACKAGES = ("pongrad", "ale-py", "gymnasium", "numpy", "numba")


class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None
        self._tensorboard: EventFile | None = None

    def __repr__(self) -> str:
        return f"RunFolder({self.path})"

    @staticmethod
    def create(config: Recipe) -> "RunFolder":
        """A folder for a new run, with its configuration in it.

        Raises:
            UserError: the folder holds a run already, or cannot be written to.
        """
        try:
            path = config.run or _new_folder(f"{config.recipe}-seed{config.seed}")
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the folder {config.run or 'runs'}: {error.strerror}; give another --run"
            ) from error
        folder = RunFolder(path)
        folder.lock()
        with folder.closed_on_error():
            if (path / "config.json").exists():
                raise UserError(f"{path} holds a run already: add --resume, or give another --run")
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

    def lock(self) -> None:
        """Keep others from training here until `close`, or until this process ends, however it does.

        Raises:
            UserError: another process is training here, or the folder cannot be written to.
        """
        try:
            try:
                lock = FileLock(self.path / "lock", timeout=0, thread_local=False)
                lock.acquire()
            except Timeout as error:
                owner = (self.path / "owner").read_text().strip()
                raise UserError(
                    f"process {owner} is training in {self.path}: stop it, or give another --run"
                ) from error
            self._lock = lock
            (self.path / "owner").write_text(f"{os.getpid()}\n")
            (self.path / "checkpoints").mkdir(exist_ok=True)
            for folder in (self.path, self.path / "checkpoints", self.path / "tensorboard"):
                storage.remove_unfinished(folder)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Let others train here."""
        if self._lock:
            self._lock.release()

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Let others train here if the `with` block raises: a notebook keeps the exception, so the lock."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def write_config(self, config: Recipe, seen: Survey | None = None) -> None:
        """Write how the run is made and when it is to stop; a resumed run may have been given a later end.

        Args:
            config: the recipe.
            seen: what random play has shown of the game, to be used again when the run is resumed.
        """
        settings = {name: value for name, value in asdict(config).items() if name not in OF_THE_SESSION}
        settings |= config.hyperparameters  # with what depends on the network filled in
        versions = {package: version(package) for package in PACKAGES}
        versions["python"] = platform.python_version()
        survey = {"survey": seen.description()} if seen else {}
        storage.write_json(self.path / "config.json", {**settings, "versions": versions, **survey})

    def config(self) -> Recipe:
        """The configuration the run was started with."""
        file = self.path / "config.json"
        try:
            settings = json.loads(file.read_text())
            del settings["versions"]
            settings.pop("survey", None)
            recipe = RECIPES[settings["recipe"]]
            unknown = set(settings) - {field.name for field in fields(recipe)}
            config = None if unknown else recipe(**settings, run=self.path)
        except (OSError, ValueError, TypeError, KeyError, RecursionError, UserError) as error:
            raise UserError(f"{file} is damaged ({error}): start a new run") from error
        if config is None:
            raise self._of_another_version()
        config.check()
        return config

    def survey(self) -> Survey | None:
        """What random play has shown of the game; None if the run was stopped before.

        Raises:
            UserError: config.json is damaged.
        """
        file = self.path / "config.json"
        try:
            description = json.loads(file.read_text()).get("survey")
            if description and "frames" not in description:
                raise self._of_another_version()
            return Survey.from_description(description) if description else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{file} is damaged ({error}): start a new run") from error

    def _of_another_version(self) -> UserError:
        return UserError(f"{self.path} is a run of another version of pongrad: start a new run")

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove all but the newest three.

        Raises:
            UserError: it cannot be written; those before are still there.
        """
        tensors = {f"weights.{name}": array for name, array in checkpoint.weights.items()}
        tensors |= {f"weights_before.{name}": array for name, array in checkpoint.weights_before.items()}
        tensors |= {f"learner.{name}": array for name, array in checkpoint.learner.items()}
        progress = {**asdict(checkpoint.progress), "scores": list(checkpoint.progress.scores)}
        for i, game in enumerate(checkpoint.games):
            tensors |= {f"games.{i}.{name}": array for name, array in game.arrays().items()}
        metadata = {
            "format": CHECKPOINT_FORMAT,
            "hyperparameters": checkpoint.hyperparameters,
            "progress": progress,
            "games": [game.numbers() for game in checkpoint.games],
        }
        folder = self.path / "checkpoints"
        try:
            if (metrics := self.path / "metrics.jsonl").exists():
                storage.flush(metrics)
            storage.save(folder / f"{_checkpoint_name(checkpoint.progress)}.safetensors", tensors, metadata)
            for old in sorted(folder.glob("*.safetensors"))[:-CHECKPOINTS_KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def newest_checkpoint(self) -> Path | None:
        """Its file, if there is one."""
        files = sorted((self.path / "checkpoints").glob("*.safetensors"))
        return files[-1] if files else None

    def load_checkpoint(
        self, first: Checkpoint | None = None, vision: Vision | FrameStack | None = None
    ) -> Checkpoint | None:
        """The newest checkpoint; None if the run was stopped before its first.

        Args:
            first, vision: for `Checkpoint.check`; None: it is only to be looked at.

        Raises:
            UserError: it is damaged, or of another run.
        """
        file = self.newest_checkpoint()
        if not file:
            return None
        tensors, metadata = storage.load(file, CHECKPOINT_FORMAT)
        try:
            games = [
                Game.from_parts(numbers, _with_prefix(tensors, f"games.{i}."))
                for i, numbers in enumerate(metadata["games"])
            ]
            checkpoint = Checkpoint(
                metadata["hyperparameters"],
                Progress.from_json(metadata["progress"]),
                _with_prefix(tensors, "weights."),
                _with_prefix(tensors, "weights_before."),
                _with_prefix(tensors, "learner."),
                games,
            )
            if file.stem != _checkpoint_name(checkpoint.progress):
                raise ValueError(f"it is of update {checkpoint.progress.update}")
            if first and vision:
                checkpoint.check(first, vision)
            return checkpoint
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.damaged_checkpoint(error) from error

    def damaged_checkpoint(self, why: object) -> UserError:
        """The error for a newest checkpoint that the run cannot resume from."""
        return storage.damaged(self.newest_checkpoint() or self.path, why)

    def save_agent(self, name: str, agent: Agent, about: dict[str, Any]) -> None:
        """Write `best.safetensors` or `beat.safetensors`; `about` says what moment the agent is from.

        It will play greedily: drawing its actions is how it learns, and costs it points.
        """
        replace(agent, greedy=True).save(self.path / name, **about)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, up to one that a crash left unfinished."""
        lines: list[dict[str, Any]] = []
        if (file := self.path / "metrics.jsonl").exists():
            for text in file.read_bytes().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    break
                if not (isinstance(line, dict) and line.keys() >= _METRICS):
                    break
                lines.append(line)
        return lines

    def rewind_metrics(self, progress: Progress) -> None:
        """Forget the metrics of later updates, which a resumed run will play again."""
        kept = [line for line in self.metrics() if line["update"] <= progress.update]
        storage.write(self.path / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in kept).encode())
        self._tensorboard = EventFile(self.path / "tensorboard", kept)

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Add one update's line to metrics.jsonl and to TensorBoard (against frames)."""
        assert self._tensorboard, "rewind_metrics comes first"
        storage.append(self.path / "metrics.jsonl", (json.dumps(line) + "\n").encode())
        self._tensorboard.add(line)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json."""
        storage.write_json(self.path / "summary.json", summary)


def _checkpoint_name(progress: Progress) -> str:
    return f"{progress.update:08d}"


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {path}: {error.strerror}; make it writable, or make room")


def _new_folder(name: str) -> Path:
    """Make the first of runs/name, runs/name-2, ... that does not exist yet."""
    for number in itertools.count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
    raise AssertionError("there is always another number")


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: array for name, array in tensors.items() if name.startswith(prefix)}
