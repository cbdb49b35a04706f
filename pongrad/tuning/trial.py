"""One trial: a real training for each of its seeds, each in a process of its own, that report at milestones.

The seeds take turns, so a trial keeps one core busy: the first trains to the first milestone and waits, then
the second does, and so on; when all have, the trial has a mean, and is pruned or goes on.
"""

import contextlib
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import connection, parent_process, resource_tracker
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pongrad.games.scores import reference
from pongrad.ground.errors import UserError
from pongrad.ground.system import without_stop_signals
from pongrad.learning.recipes import Recipe
from pongrad.playing.shared import CONTEXT, SharedAgent
from pongrad.playing.team import WorkersDied
from pongrad.runs import training
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.tuning.objective import Curve, milestones

SECONDS_BETWEEN_NEWS = 1.0
"""From a training, for the panel."""

NEVER = 1e9
"""A score that no game has: trials play all their frames."""

NOT_KEPT = "checkpoints", "tensorboard"
"""What is removed of a trial's runs: nothing resumes them, and there are many."""


class News(NamedTuple):
    """What a trial has to say.

    Attributes:
        kind: "progress"; "milestone", with the mean over the seeds; "done"; "impossible", with flags that
            cannot learn; "died", of something else; "stop", of what no trial can do anything about.
        frames: played so far, of all seeds.
        mean: the mean score over the frames so far; None if nothing is known of it.
        why: of those that fail.
    """

    kind: str
    frames: int = 0
    mean: float | None = None
    why: str = ""


class Trial:
    """A trial as it runs: its trainings, of which one at a time has its turn."""

    def __init__(self, configs: Sequence[Recipe], folder: Path) -> None:
        """Start the first training.

        Args:
            configs: a recipe for each seed, with `frames`.
            folder: where a run's folder is made for each.

        Raises:
            UserError: a process cannot be started, or the folder cannot be made.
        """
        self._configs = configs
        self._folder = _new_folder(folder)
        self._milestones = milestones(configs[0].frames)
        self._trainings: list[tuple[Any, Any]] = []  # processes and pipes
        self._frames = [0] * len(configs)
        self._means: list[float | None] = []  # at this milestone, of the seeds that have reached it
        self._reached = 0
        self._ended = 0
        self._turn(0)

    def pipes(self) -> list[Any]:
        """What to wait for until there is news."""
        return [pipe for _, pipe in self._trainings if not pipe.closed]

    def receive(self, pipe: Any) -> News | None:
        """The news that has come through this pipe, if it is any."""
        index = next(i for i, (_, own) in enumerate(self._trainings) if own is pipe)
        try:
            kind, *what = pipe.recv()
        except (EOFError, OSError):
            process, _ = self._trainings[index]
            process.join(5)
            return News("died", sum(self._frames), why=f"a process ended with code {process.exitcode}")
        match kind:
            case "progress":
                self._frames[index], mean = what
                return News("progress", sum(self._frames), mean)
            case "milestone":
                self._frames[index], mean = what
                self._means.append(mean)
                if index + 1 < len(self._configs):
                    self._turn(index + 1)
                    return None
                means = [mean for mean in self._means if mean is not None]
                self._means = []
                self._reached += 1
                return News("milestone", sum(self._frames), fmean(means) if means else None)
            case "done":
                pipe.close()
                self._ended += 1
                return News("done") if self._ended == len(self._configs) else None
            case _:
                return News(kind, sum(self._frames), why=what[0])

    def go_on(self) -> None:
        """After a milestone: train on to the next."""
        self._turn(0)

    @property
    def is_last_milestone(self) -> bool:
        """Whether the milestone just reached is the trial's end."""
        return self._reached == len(self._milestones)

    @property
    def milestone(self) -> int:
        """The frames of a seed at the milestone just reached."""
        return self._milestones[self._reached - 1]

    def end(self) -> None:
        """End all its processes, whatever they do, and remove what is not needed of their runs."""
        for process, pipe in self._trainings:
            if not pipe.closed:  # it has not said that it is done
                process.kill()
                pipe.close()
            process.join()
        for run in self._folder.glob("seed*"):
            for name in NOT_KEPT:
                shutil.rmtree(run / name, ignore_errors=True)

    def _turn(self, index: int) -> None:
        if index == len(self._trainings):
            if os.name == "posix":
                resource_tracker.ensure_running()  # else the start would do it, and unblock the signals
            run = self._folder / f"seed{self._configs[index].seed}"
            config = replace(self._configs[index], run=run, workers=1, minutes=None, until=NEVER)
            here, there = CONTEXT.Pipe()
            process = CONTEXT.Process(target=_train, args=(there, config, str(self._folder / "log.txt")))
            try:
                with without_stop_signals():  # they are for the process that tunes
                    process.start()
            except OSError as error:
                raise UserError(f"cannot start a training ({error.strerror}): use fewer --jobs") from error
            there.close()
            self._trainings.append((process, here))
        with contextlib.suppress(OSError):  # it has died, which will be heard
            self._trainings[index][1].send("go on")


class Reporter:
    """The view of a training that says how it does, and waits at milestones; see `training.View`."""

    def __init__(self, pipe: Any, _: RunFolder, config: Recipe, __: SharedAgent) -> None:
        self._pipe = pipe
        self._curve = Curve(reference(config.environment).random)
        self._milestones = milestones(config.frames)
        self._said = 0.0

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, progress: Progress, line: dict[str, Any]) -> None:
        """Say where the training stands; at a milestone, wait to be told to go on."""
        self._curve.add(progress.frames, line["mean_score_100"])
        while self._milestones and progress.frames >= self._milestones[0]:
            milestone = self._milestones.pop(0)
            self._pipe.send(("milestone", milestone, self._curve.mean(milestone)))
            if self._milestones:
                self._pipe.recv()
        if time.monotonic() - self._said > SECONDS_BETWEEN_NEWS:
            self._said = time.monotonic()
            self._pipe.send(("progress", progress.frames, self._curve.mean(progress.frames)))

    def not_deterministic(self) -> None:
        """Nothing to say: it costs a trial no more than luck does."""

    def stopping(self) -> None:
        """Nothing to say: no signal comes here."""

    def end(self, progress: Progress, interrupted: bool) -> None:
        """Nothing to say: the milestones have said it."""


def _train(pipe: Any, config: Recipe, log: str) -> None:
    """A training's process: what it prints, and what goes wrong in it, is in the log."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    try:
        pipe.recv()
        training.train(config, lambda *args: Reporter(pipe, *args))
        last: tuple[Any, ...] = ("done",)
    except (WorkersDied, MemoryError) as error:
        last = "died", str(error) or "not enough memory"
    except training.NotFinite as error:
        last = "impossible", str(error)
    except UserError as error:
        last = "stop", str(error)
    except Exception as error:
        traceback.print_exc()
        last = "died", f"{type(error).__name__}, see {log}"
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        pipe.send(last)


def _end_with_parent() -> None:
    parent: Any = parent_process()
    connection.wait([parent.sentinel])
    os._exit(1)


def _new_folder(path: Path) -> Path:
    """Make this folder, or with a number behind its name if there is one from an earlier study."""
    try:
        number = 1
        while True:
            try:
                new = path.with_name(f"{path.name}-{number}") if number > 1 else path
                new.mkdir(parents=True)
                return new
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}; give another --study") from error
