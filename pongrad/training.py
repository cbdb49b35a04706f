"""The training loop: play, learn, write down, until it is enough."""

import contextlib
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from pongrad.agent import Agent
from pongrad.errors import UserError
from pongrad.games import FRAMES_A_STEP, Game
from pongrad.learners import Learner, collect, first_games, new_agent, new_learner, next_games
from pongrad.network import Network
from pongrad.play import Stretch
from pongrad.recipes import Recipe, flag
from pongrad.runs import Checkpoint, Progress, RunFolder
from pongrad.stages import Stages
from pongrad.storage import Tensors
from pongrad.terminal import Display
from pongrad.workers import Interrupted, Workers, cores

SECONDS_BETWEEN_CHECKPOINTS = 60.0


def train(config: Recipe, started: float | None = None) -> dict[str, Any]:
    """Train an agent; does what `pongrad train` does.

    Processes are spawned, so a script that calls this must do so under `if __name__ == "__main__":`.

    Args:
        config: the recipe with its hyperparameters, and when to stop. To resume a run, it must hold the
            hyperparameters that the run was started with.
        started: when the run's clock started (`time.monotonic()`); None: now.

    Returns:
        The content of the run's summary.json.

    Raises:
        UserError: the configuration makes no sense or the run's folder cannot be used.
        KeyboardInterrupt: Ctrl-C; everything has been saved.
        SystemExit: SIGTERM, with code 143; everything has been saved.
    """
    with Stopping() as stopping:
        training = Training(config, time.monotonic() if started is None else started)
        training.run(stopping)
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

    def __init__(self, config: Recipe, started: float) -> None:
        config.check()
        self.config = config
        self.workers = config.workers or cores()
        if config.resume:
            self.folder = RunFolder.open(config.run)
            _check_same_learning(self.folder.config(), config)
        else:
            self.folder = RunFolder.create(config)
        self.agent = new_agent(config)
        self.games = first_games(config)
        self.progress = Progress()
        start = self.agent
        optimiser_state: Tensors = {}
        if checkpoint := self.folder.load_checkpoint():
            self.agent = Agent(
                Network(checkpoint.weights), config.game, self.agent.actions, self.agent.vision
            )
            self.games = checkpoint.games
            self.progress = checkpoint.progress
            optimiser_state = checkpoint.optimiser
        self.learner = self._new_learner(optimiser_state)
        self._started = started - self.progress.seconds
        if config.resume and self._enough():
            raise UserError(f"{self.folder.path} is finished: give a later --frames, --minutes or --until")
        self._best: tuple[Agent, dict[str, Any]] | None = None  # a better one than on disk
        self.folder.write_config(config)
        self.folder.rewind_metrics(self.progress)
        self._stages = Stages(self.folder, start, self.progress)

    def run(self, stopping: "Stopping") -> None:
        """Train until it is enough or somebody asks to stop; either way everything is saved."""
        config = self.config
        with (
            Workers(self.agent, self.workers) as workers,
            Display(self.folder, config) as display,
            contextlib.ExitStack() as stack,
        ):
            self.agent = workers.agent  # whose weights all processes share
            self.learner = self._new_learner(self.learner.optimiser.state)
            if config.live:
                from pongrad.live import Live  # a web server: not for those who do not want one

                page = stack.enter_context(Live(workers.shared, self.folder))
                display.page(page.url)
            saved = time.monotonic()
            try:
                while not self._enough() and not stopping.asked():
                    self._one_update(workers, display, stopping)
                    if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                        self._save()
                        saved = time.monotonic()
            except Interrupted:
                pass
            finally:
                if stopping.asked():
                    display.stopping()
                self._save()
                self.folder.finish(self.summary())
                from pongrad import plots  # Matplotlib takes a second to import: not while starting

                plots.learning_curve([self.folder], self.folder.path / "learning_curve.png")
            display.end(self.progress, stopping.asked())

    def _new_learner(self, optimiser_state: Tensors) -> Learner:
        try:
            self.agent.check()
            learner = new_learner(self.config, self.agent)
            learner.optimiser.load(optimiser_state)
            if len(self.games) != self.config.num_games:
                raise ValueError(f"{len(self.games)} games, want {self.config.num_games}")
        except (KeyError, ValueError) as error:
            raise UserError(f"the last checkpoint of {self.folder.path} is damaged ({error})") from error
        return learner

    def _one_update(self, workers: Workers, display: Display, stopping: "Stopping") -> None:
        """Play with one set of weights, then improve them."""
        progress = self.progress
        start = time.monotonic()
        played = collect(self.config, workers, self.games, self.learner, stopping.asked)
        losses = self.learner.update(progress.update, progress.frames)
        rollouts = [rollout for stretches in played for rollout, _ in stretches]
        frames = FRAMES_A_STEP * sum(len(rollout) for rollout in rollouts)
        progress.update += 1
        progress.frames += frames
        progress.seconds = time.monotonic() - self._started
        for game in _finished(played):
            progress.games += 1
            progress.scores.append(game.score)
            self._note_records()
        self._stages.note(self.agent, progress)
        self.games = next_games(self.config, played)
        seconds = time.monotonic() - start
        emulator_seconds = sum(rollout.emulator_seconds for rollout in rollouts)
        line = {
            "update": progress.update,
            "frames": progress.frames,
            "games": progress.games,
            "seconds": round(progress.seconds, 3),
            "mean_score_100": progress.mean_score(100),
            "mean_score_20": progress.mean_score(20),
            "frames_per_second": round(frames / seconds, 1),
            "emulator_share": round(emulator_seconds / (seconds * self.workers), 4),
            **losses,
        }
        self.folder.add_metrics(line)
        display.update(progress, line)

    def _note_records(self) -> None:
        """After each finished game: is this the best so far, has the computer just been beaten?"""
        progress, mean = self.progress, self.progress.mean_score_100
        if mean is None:
            return
        if progress.best_mean_score_100 is None or mean > progress.best_mean_score_100:
            progress.best_mean_score_100 = mean
            self._best = self.agent.copy(), progress.about()
        if mean > 0 and progress.beat_frames is None:
            progress.beat_frames = progress.frames
            progress.beat_seconds = round(progress.seconds, 3)
            self.folder.save_agent("beat.safetensors", self.agent, progress.about())

    def _enough(self) -> bool:
        config, progress = self.config, self.progress
        return (
            progress.frames >= config.frames
            or (config.minutes is not None and time.monotonic() - self._started >= 60 * config.minutes)
            or (progress.mean_score_100 is not None and progress.mean_score_100 >= config.until)
        )

    def _save(self) -> None:
        """Write a checkpoint, and the best agent so far (before 100 games are over: the newest)."""
        progress = self.progress
        if self._best is not None:
            self.folder.save_agent("best.safetensors", *self._best)
            self._best = None
        elif progress.best_mean_score_100 is None:
            self.folder.save_agent("best.safetensors", self.agent, progress.about())
        self.folder.save_checkpoint(
            Checkpoint(progress, self.agent.network.weights, self.learner.optimiser.state, self.games)
        )

    def summary(self) -> dict[str, Any]:
        """The run's result so far, as summary.json has it."""
        config, progress = self.config, self.progress
        return {
            "game": config.game,
            "recipe": config.recipe,
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
    """While its `with` block runs, SIGINT and SIGTERM ask for a stop at the next moment that loses nothing.

    A second signal ends the process at once; what was saved stays whole.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._signal = number

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._signal is not None

    def exit(self) -> None:
        """Leave as the signal asked, if one has come."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)


def _finished(played: Sequence[Sequence[Stretch]]) -> list[Game]:
    """The games that have ended, in the order of the step at which they did, then of their numbers."""
    ended: list[tuple[int, int, Game]] = []
    for stretches in played:
        step = 0
        for rollout, game in stretches:
            step += len(rollout)
            if game.over:
                ended.append((step, game.number, game))
    return [game for *_, game in sorted(ended, key=lambda item: item[:2])]


def _check_same_learning(before: Recipe, now: Recipe) -> None:
    for name, value in before.learning.items():
        if now.learning[name] != value:
            raise UserError(
                f"{flag(name)} {now.learning[name]} differs from the run's {value}: "
                "resume without it, or start a new run"
            )
