"""The search: trials side by side, reported to the study at every milestone, pruned, replaced by the next.

One thread does it all: it waits for news of the trainings, notes it, and starts what there is room for.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from pongrad.ground.errors import UserError
from pongrad.learning.recipes import Recipe
from pongrad.tuning.panel import Panel
from pongrad.tuning.study import ENDED, SECONDS_BETWEEN_BEATS, SharedStudy, best_of, number
from pongrad.tuning.trial import News, Trial

SECONDS_TO_WAIT = 0.2
"""For news, before it is seen whether a signal has come."""

SECONDS_BETWEEN_LOOKS = 1.0
"""At the study, for a trial that another process has lost."""

NewConfigs = Callable[[Mapping[str, Any], int], Sequence[Recipe]]
"""Makes a trial's recipes, one a seed, from its parameters and its number."""


@dataclass
class Running:
    """A trial that this process runs.

    Attributes:
        asked: the trial as the study knows it.
        trial: its trainings.
        mean: at the last milestone.
    """

    asked: optuna.Trial
    trial: Trial
    mean: float | None = None
    beat: float = field(default_factory=time.monotonic)


class Search:
    """Runs the trials of a study until there are enough or a signal comes."""

    def __init__(
        self,
        study: SharedStudy,
        new_configs: NewConfigs,
        folder: Path,
        jobs: int,
        panel: Panel,
        stopped: Callable[[], bool],
    ) -> None:
        """Prepare.

        Args:
            study: whose trials are run.
            new_configs: what to train in a trial.
            folder: where each trial has a folder.
            jobs: how many trials run side by side.
            panel: shows them.
            stopped: whether a signal has come.
        """
        self._study = study
        self._new_configs = new_configs
        self._folder = folder
        self._jobs = jobs
        self._panel = panel
        self._stopped = stopped
        self._running: list[Running] = []
        self._looked = 0.0
        self._total = 0

    def run(self, total: int, first: Callable[[int], Mapping[str, Any]]) -> bool:
        """Run trials until the study has so many, and wait for those of other processes.

        Args:
            total, first: see `SharedStudy.claim`.

        Returns:
            Whether all have ended; False: a signal has come, and this process's are given back.

        Raises:
            UserError: the storage cannot be used any more, or no trial can be run here.
        """
        self._total = total
        self._show_standing()
        try:
            while not self._stopped():
                if len(self._running) < self._jobs and self._is_time_to_look():
                    while len(self._running) < self._jobs and self._start(total, first):
                        pass
                    if not self._running and self._study.over():
                        return True
                self._wait()
                self._beat()
            return False
        finally:
            for running in self._running:
                running.trial.end()
            with contextlib.suppress(UserError):  # others find out that these are lost
                for running in self._running:
                    self._study.lose(running.asked, False, "stopped")

    def _is_time_to_look(self) -> bool:
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return False
        self._looked = now
        return True

    def _start(self, total: int, first: Callable[[int], Mapping[str, Any]]) -> bool:
        """Start the next trial, if there is one."""
        asked = self._study.claim(total, first)
        if asked is None:
            return False
        configs = self._new_configs(asked.params, number(asked))
        self._panel.started(asked.number, configs[0], sum(config.frames for config in configs))
        try:
            for config in configs:
                config.check()
        except UserError as error:  # flags that do not go together
            self._told(asked, TrialState.PRUNED, why=str(error))
            return True
        try:
            trial = Trial(configs, self._folder / f"{asked.number:04d}")
        except UserError:
            self._study.lose(asked, False, "not started")
            raise
        self._running.append(Running(asked, trial))
        return True

    def _wait(self) -> None:
        """Take what news comes within a moment."""
        pipes = {pipe: running for running in self._running for pipe in running.trial.pipes()}
        if not pipes:
            time.sleep(SECONDS_TO_WAIT)
            return
        for pipe in connection.wait(list(pipes), SECONDS_TO_WAIT):
            running = pipes[pipe]
            if (
                running in self._running
                and pipe in running.trial.pipes()
                and (news := running.trial.receive(pipe))
            ):
                self._take(running, news)

    def _take(self, running: Running, news: News) -> None:
        asked = running.asked
        match news.kind:
            case "progress":
                self._panel.progress(asked.number, news.frames, news.mean)
            case "milestone":
                running.mean = news.mean
                self._panel.progress(asked.number, news.frames, news.mean)
                if not self._study.report(asked, running.trial.milestone, news.mean):
                    self._end(running)
                elif running.trial.is_last_milestone:
                    pass  # it saves its agents, and is done
                elif self._study.should_prune(asked):
                    self._end(running, TrialState.PRUNED)
                else:
                    running.trial.go_on()
            case "done" if running.mean is None:
                raise UserError("no game has ended within --frames, so there is no score: give more frames")
            case "done":
                self._end(running, TrialState.COMPLETE, running.mean)
            case "impossible":
                self._end(running, TrialState.PRUNED, why=news.why)
            case "died":
                running.trial.end()
                self._running.remove(running)
                self._study.lose(asked, True, news.why)
                self._panel.ended(asked.number, f"lost: {news.why}")
            case _:
                raise UserError(news.why)

    def _end(
        self, running: Running, state: TrialState | None = None, value: float | None = None, why: str = ""
    ) -> None:
        """End a trial; no state: another process has found it lost, and runs it again."""
        running.trial.end()
        self._running.remove(running)
        if state is None:
            self._panel.ended(running.asked.number, "given to another process")
        else:
            self._told(running.asked, state, value, running.mean, why)

    def _told(
        self,
        asked: optuna.Trial,
        state: TrialState,
        value: float | None = None,
        mean: float | None = None,
        why: str = "",
    ) -> None:
        if not self._study.tell(asked, state, value, why):
            self._panel.ended(asked.number, "given to another process")
        elif state == TrialState.COMPLETE:
            self._panel.ended(asked.number, f"mean score {self._panel.written(value)}")
        else:
            self._panel.ended(asked.number, f"pruned ({why or f'mean score {self._panel.written(mean)}'})")
        self._show_standing()

    def _show_standing(self) -> None:
        trials = self._study.trials()
        best = best_of(trials)
        self._panel.standing(
            sum(trial.state in ENDED for trial in trials),
            self._total,
            (best.value or 0.0, best.number) if best else None,
        )

    def _beat(self) -> None:
        for running in list(self._running):
            if time.monotonic() - running.beat > SECONDS_BETWEEN_BEATS:
                running.beat = time.monotonic()
                if not self._study.beat(running.asked):
                    self._end(running)
