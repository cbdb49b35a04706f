"""The training loop: play, learn, write down, until it is enough.

Only what stands between two updates, and is sound, is ever saved. Whatever goes wrong in between ends the
session; the last checkpoint is then what a resume goes on from.
"""

import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

import numpy as np

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.scores import reference
from pongrad.ground.arguments import flag
from pongrad.ground.errors import UserError
from pongrad.ground.system import STOP_SIGNALS, cores, end_at_once
from pongrad.learning.learners import first_games, new_agent, new_learner, next_games, play_for
from pongrad.learning.recipes import Recipe
from pongrad.network.agent import Agent
from pongrad.playing.address import check_cluster
from pongrad.playing.rollout import Segment
from pongrad.playing.shared import SharedAgent
from pongrad.playing.team import WorkersDied
from pongrad.playing.workers import Interrupted, Workers
from pongrad.runs.checkpoint import Checkpoint, Progress
from pongrad.runs.folder import RunFolder
from pongrad.runs.stages import Stages
from pongrad.vision.survey import survey

SECONDS_BETWEEN_CHECKPOINTS = 60.0

SECONDS_OF_ONE_SIGNAL = 0.5
"""What comes so soon after a signal is the same: shell and system both tell of a closed terminal."""

RECENT_UPDATES = 20
"""Speeds are those of so many: one update may find all it learns from already played, in no time."""


class NotFinite(UserError):
    """Weights, gradients or losses are no longer finite: with these hyperparameters it cannot learn."""


class View(Protocol):
    """What shows a training session, to be used in a `with` statement; see `views.training_view`."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, progress: Progress, line: dict[str, Any]) -> None:
        """Show where the run stands after an update; `line` is its line of metrics."""

    def not_deterministic(self) -> None:
        """Say once that the environment is not deterministic, so that games had to be begun again."""

    def stopping(self) -> None:
        """Say that a signal has come, before the saving."""

    def end(self, progress: Progress, interrupted: bool) -> None:
        """Say what came out; everything has been saved."""


NewView = Callable[[RunFolder, Recipe, SharedAgent], View]
"""Makes the view of a session from its folder, its recipe and the agent that learns."""


def train(
    config: Recipe,
    new_view: NewView,
    started: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train an agent; see `views.training_view.train`.

    Args:
        config: the recipe with its hyperparameters, and when to stop.
        new_view: makes what shows the session.
        started: when the run's clock started (`time.monotonic()`); None: now.
        say: is given what there is to say before there is a view.

    Returns:
        The content of the run's summary.json.
    """
    with Stopping() as stopping:
        training = Training(config, time.monotonic() if started is None else started, say)
        with contextlib.closing(training.folder):
            training.run(stopping, new_view)
    stopping.exit()
    return training.summary()


class Training:
    """One session of a run, new or resumed.

    Attributes:
        config: the recipe.
        folder: where everything is written.
        progress: how far it has come.
        agent: what has been learned.
    """

    def __init__(
        self, config: Recipe, started: float, say: Callable[[str], None] = lambda text: None
    ) -> None:
        config.check()
        environment.action_names(config.environment)  # refuses a game before there is a folder
        if config.cluster:
            check_cluster(config.cluster)
        self.config = config
        self.workers = config.workers or cores()
        if config.resume:
            self.folder = RunFolder.open(config.run)
            self.folder.lock()
        else:
            self.folder = RunFolder.create(config)
        with self.folder.closed_on_error():
            self._prepare(started, say)

    def _prepare(self, started: float, say: Callable[[str], None]) -> None:
        """Make everything that learns, or load it."""
        config = self.config
        if config.resume:
            _check_same_learning(self.folder.config(), config)
        seen = self.folder.survey() if config.resume else None
        if (config.recipe, config.network) != ("classic", "sparse") and not seen:
            say(f"Looking at {config.environment}: playing it at random for a moment.")
            seen = survey(config.environment, config.seed)
        self.agent = new_agent(config, seen)
        self.agent.check()
        self.agent.network.use_threads(cores())
        self.games = first_games(config)
        self.progress = Progress()
        start = self.agent.copy()
        self.learner = new_learner(config, self.agent, seen)
        self.shared = SharedAgent(self.agent)
        self._saved: int | None = None  # the update of the newest checkpoint
        if checkpoint := self.folder.load_checkpoint(self._checkpoint(), self.agent.vision):
            for name, array in checkpoint.weights.items():
                self.agent.network.weights[name][...] = array
            for weights in (checkpoint.weights_before, checkpoint.weights):
                self.shared.publish(weights)
            for name, array in checkpoint.learner.items():
                self.learner.state[name][...] = array
            self.games = checkpoint.games
            self.progress = checkpoint.progress
            self._saved = self.progress.update
        self._started = started - self.progress.seconds
        if config.resume and self._enough():
            raise UserError(f"{self.folder.path} is finished: give a larger --frames, --minutes or --until")
        self._best: tuple[Agent, dict[str, Any]] | None = None  # a better one than on disk
        self.folder.write_config(config, seen)
        self.folder.rewind_metrics(self.progress)
        self._stages = Stages(self.folder, start, self.progress)
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=RECENT_UPDATES)

    def run(self, stopping: "Stopping", new_view: NewView) -> None:
        """Train until it is enough or a signal asks to stop; either way everything is saved.

        Raises:
            UserError: see `views.training_view.train`.
        """
        with Workers(self.shared, self.config.workers, self.config.cluster) as workers:
            if self._saved is not None:
                self._validate_states(workers)
            with new_view(self.folder, self.config, self.shared) as view:
                self._run(workers, stopping, view)

    def _run(self, workers: Workers, stopping: "Stopping", view: View) -> None:
        saved = time.monotonic()
        died: WorkersDied | None = None
        play = play_for(self.learner, self.config, workers, self.games, stopping=stopping.asked)
        with contextlib.closing(play):
            while not (died or self._enough() or stopping.asked()):
                self.workers = max(1, len(workers))  # in a cluster some may come and go
                try:
                    self._one_update(play, view)
                except Interrupted:
                    break
                except WorkersDied as error:
                    died = error
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()
                    saved = time.monotonic()
        if stopping.asked():
            view.stopping()
        self._save()
        self.folder.finish(self.summary())
        if died:
            raise died
        view.end(self.progress, stopping.asked())

    def _validate_states(self, workers: Workers) -> None:
        """Have a worker restore games that come from a file: there a crash costs nothing."""
        try:
            workers.validate_states(self.games)
        except ValueError as error:
            raise self.folder.damaged_checkpoint(error) from error

    def _one_update(self, play: Iterator[Sequence[Sequence[Segment]]], view: View) -> None:
        """Wait for what the next update is to learn from, and learn."""
        progress = self.progress
        start = time.monotonic()
        with np.errstate(all="ignore"):  # what is not finite is looked for, not warned of
            played = next(play)
            losses = self.learner.update(progress.update, progress.frames)
            self.shared.publish(self.agent.network.weights, self.learner.moved)
        if not all(map(math.isfinite, losses.values())):
            raise self._not_finite("the losses")
        rollouts = [rollout for segments in played for rollout, _ in segments]
        frames = sum(rollout.frames for rollout in rollouts)
        progress.update += 1
        progress.frames += frames
        progress.seconds = time.monotonic() - self._started
        for game in _finished(played):
            progress.games += 1
            progress.scores.append(game.score)
            self._note_records()
        self._stages.note(self.agent, progress)
        self.games = next_games(played)
        if any(game.restarts for segments in played for _, game in segments):
            view.not_deterministic()
        seconds = time.monotonic() - start
        emulator_seconds = sum(rollout.emulator_seconds for rollout in rollouts) / self.workers
        self._recent.append((seconds, frames, emulator_seconds))
        frames_per_second, emulator_share = speeds(self._recent)
        line = {
            "update": progress.update,
            "frames": progress.frames,
            "games": progress.games,
            "seconds": round(progress.seconds, 3),
            "mean_score_100": progress.mean_score(100),
            "mean_score_20": progress.mean_score(20),
            "frames_per_second": round(frames_per_second, 1),
            "emulator_share": round(emulator_share, 4),
            **losses,
        }
        self.folder.add_metrics(line)
        view.update(progress, line)

    def _note_records(self) -> None:
        """After each finished game: is this the best so far, has the game's reference just been passed?"""
        progress, mean = self.progress, self.progress.mean_score_100
        if mean is None:
            return
        if progress.best_mean_score_100 is None or mean > progress.best_mean_score_100:
            progress.best_mean_score_100 = mean
            self._best = self.agent.copy(), progress.about()
        above = reference(self.config.environment).beaten_above
        if above is not None and mean > above and progress.beat_frames is None:
            progress.beat_frames = progress.frames
            progress.beat_seconds = round(progress.seconds, 3)
            self._check_finite()
            self.folder.save_agent("beat.safetensors", self.agent, progress.about())

    def _enough(self) -> bool:
        config, progress = self.config, self.progress
        return (
            progress.frames >= config.frames
            or (config.minutes is not None and time.monotonic() - self._started >= 60 * config.minutes)
            or (progress.mean_score_100 is not None and progress.mean_score_100 >= config.target_score)
        )

    def _save(self) -> None:
        """Write a checkpoint, and the best agent so far (before 100 games are over: the newest)."""
        progress = self.progress
        if self._saved == progress.update:
            return
        self._check_finite()
        if self._best is not None:
            self.folder.save_agent("best.safetensors", *self._best)
            self._best = None
        elif progress.best_mean_score_100 is None:
            self.folder.save_agent("best.safetensors", self.agent, progress.about())
        self.folder.save_checkpoint(self._checkpoint())
        self._saved = progress.update

    def _checkpoint(self) -> Checkpoint:
        weights, state = self.agent.network.weights, self.learner.state
        before = self.shared.agent(self.shared.version - 1).network.weights
        return Checkpoint(self.config.hyperparameters, self.progress, weights, before, state, self.games)

    def _check_finite(self) -> None:
        """Raise UserError if weights or gradients (the learner's state has met them all) are not finite.

        The losses are looked at after every update, and bad weights show in the next one's, so it is enough
        to look at these before they are written.
        """
        for what, arrays in (
            ("the weights", self.agent.network.weights),
            ("the gradients", self.learner.state),
        ):
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise self._not_finite(what)

    def _not_finite(self, what: str) -> NotFinite:
        kept = "nothing was saved" if self._saved is None else f"update {self._saved} is kept"
        return NotFinite(
            f"{what} are no longer finite numbers at update {self.progress.update}; {kept}: start a new run "
            f"with a --learning-rate below {self.config.hyperparameters['learning_rate']:g}"
        )

    def summary(self) -> dict[str, Any]:
        """The run's result so far, as summary.json has it."""
        config, progress = self.config, self.progress
        return {
            "game": config.environment,
            "recipe": config.recipe,
            "network": config.network,
            "seed": config.seed,
            "workers": self.workers,
            "frames": progress.frames,
            "games": progress.games,
            "seconds": round(progress.seconds, 3),
            "mean_score_100": progress.mean_score(100),
            "best_mean_score_100": progress.best_mean_score_100,
            "beat_frames": progress.beat_frames,
            "beat_seconds": progress.beat_seconds,
            "frames_per_second": round(progress.frames / max(progress.seconds, 1e-9), 1),
        }


class Stopping:
    """While its `with` block runs, SIGINT, SIGTERM and SIGHUP ask for a stop as soon as nothing is lost.

    A second signal ends the process at once; what was saved stays whole. A signal that is ignored, as `nohup`
    has SIGHUP ignored, asks for nothing.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._asked = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in STOP_SIGNALS:
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            if time.monotonic() - self._asked > SECONDS_OF_ONE_SIGNAL:
                end_at_once(number)
            return
        self._signal, self._asked = number, time.monotonic()

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._signal is not None

    def exit(self) -> None:
        """Leave as the signal asked, if one has come."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is not None:
            raise SystemExit(128 + self._signal)


def speeds(updates: Iterable[tuple[float, int, float]]) -> tuple[float, float]:
    """Frames a second and the emulator's share, from each update's seconds, frames and emulator's seconds."""
    seconds, frames, emulator_seconds = map(sum, zip(*updates, strict=True))
    return frames / seconds, emulator_seconds / seconds


def _finished(played: Sequence[Sequence[Segment]]) -> list[Game]:
    """The games that have ended, in the order of the step at which they did, then of their numbers."""
    ended: list[tuple[int, int, Game]] = []
    for segments in played:
        step = 0
        for rollout, game in segments:
            step += len(rollout)
            if game.over:
                ended.append((step, game.number, game))
    return [game for *_, game in sorted(ended, key=lambda item: item[:2])]


def _check_same_learning(before: Recipe, now: Recipe) -> None:
    for name, value in before.hyperparameters.items():
        if now.hyperparameters[name] != value:
            raise UserError(
                f"{flag(name)} {now.hyperparameters[name]} differs from the run's {value}: "
                "resume without it, or start a new run"
            )
