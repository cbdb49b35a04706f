"""A study that several processes share: which trial is next, which are running, which have been lost.

A process that runs a trial says from time to time that it does. If it stops saying so, or is seen to be gone,
its trial is marked as failed and given out again with the same parameters.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from pongrad.ground.arguments import flag
from pongrad.ground.errors import UserError
from pongrad.tuning.storage import Storage

SECONDS_BETWEEN_BEATS = 10.0
SECONDS_TO_LIVE = 60.0
"""A trial of another machine from which nothing is heard for so long is lost."""

ATTEMPTS = 3
"""So often a trial may be lost, with its process, before it is given up."""

SETTINGS, OWNER, BEAT, AGAIN, LOST, WHY = "settings", "owner", "beat", "again", "lost", "why"
"""Attributes: of the study what all its trials share; of a trial the process that runs it, how often that has
said so, which trial it repeats, how often that has been lost, and why it failed."""

ENDED = TrialState.COMPLETE, TrialState.PRUNED

# Optuna warns of what is new in it, and says each trial's result on stderr.
optuna.logging.set_verbosity(optuna.logging.ERROR)


class SharedStudy:
    """A study of Optuna's in a storage.

    Attributes:
        name: of the study.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        settings: dict[str, Any],
        distributions: dict[str, BaseDistribution],
        pruner: optuna.pruners.BasePruner,
    ) -> None:
        """Open the study, or make it.

        Args:
            storage: where it is kept.
            name: what the processes that share it call it.
            settings: what must be the same for all of its trials.
            distributions: the search space.
            pruner: tells which trials do too badly to continue.

        Raises:
            UserError: the storage cannot be used, or its study of that name has other settings.
        """
        self.name = name
        self._storage = storage
        self._distributions = distributions
        self._machine = _machine()
        self._heard: dict[int, tuple[Any, float]] = {}  # of other machines' trials: the last beat, and when
        with self._locked():
            self.study = optuna.create_study(
                storage=storage.optuna,
                study_name=name,
                direction="maximize",
                sampler=optuna.samplers.TPESampler(),
                pruner=pruner,
                load_if_exists=True,
            )
            found = self.study.user_attrs.get(SETTINGS)
            if found is None:
                self.study.set_user_attr(SETTINGS, settings)
        found = found or settings
        for key in settings:
            if found.get(key) != settings[key]:
                raise UserError(
                    f"study {name} in {storage.shown} was made with another {flag(key)} "
                    f"({_short(found.get(key))}, not {_short(settings[key])}): give another --study"
                )

    def trials(self) -> list[FrozenTrial]:
        """All trials, in the order of their numbers."""
        with self._storage.errors():
            return self.study.get_trials(deepcopy=False)

    def claim(self, total: int, first: Callable[[int], Mapping[str, Any]]) -> optuna.Trial | None:
        """The next trial, which this process is to run: a lost one again, or a new one.

        Args:
            total: how many trials the study has, over all processes.
            first: parameters that the n-th of these trials must have.

        Returns:
            The trial, with its parameters; None if all have been given out.
        """
        with self._locked():
            self._queue_lost()
            trials = self.study.get_trials(deepcopy=False)
            if not any(trial.state == TrialState.WAITING for trial in trials):
                new = sum(AGAIN not in trial.user_attrs for trial in trials)
                if new >= total:
                    return None
                self.study.enqueue_trial(dict(first(new)))
            trial = self.study.ask(self._distributions)
            process = psutil.Process()
            trial.set_user_attr(OWNER, [self._machine, process.pid, process.create_time()])
            return trial

    def over(self) -> bool:
        """Whether no trial is running or waiting, of this process or of another."""
        return not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in self.trials())

    def beat(self, trial: optuna.Trial) -> bool:
        """Say that this process is still at it; returns whether the trial is still this process's."""
        return self._change(lambda: trial.set_user_attr(BEAT, trial.user_attrs.get(BEAT, 0) + 1))

    def report(self, trial: optuna.Trial, frames: int, mean: float | None) -> bool:
        """Note how a trial does at a milestone; returns whether the trial is still this process's."""
        return mean is None or self._change(lambda: trial.report(mean, frames))

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Whether a trial does too badly to continue."""
        with self._storage.errors():
            return trial.should_prune()

    def tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None, why: str = "") -> bool:
        """Note how a trial ended; returns whether it was still this process's."""
        with self._locked():
            if not self._is_running(trial):
                return False
            if why:
                trial.set_user_attr(WHY, why)
            self.study.tell(trial, value, state)
            return True

    def lose(self, trial: optuna.Trial, by_accident: bool, why: str) -> None:
        """Mark a trial as failed, and have it run again with the same parameters.

        Args:
            trial: one of this process's.
            by_accident: whether its process has died, which it may do `ATTEMPTS` times.
            why: it failed.
        """
        with self._locked():
            if running := self._is_running(trial):
                trial.set_user_attr(WHY, why)
                self._queue_again(running, by_accident)

    def _is_running(self, trial: optuna.Trial) -> FrozenTrial | None:
        """The trial as the storage has it, unless another process has found it lost."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return next((each for each in running if each.number == trial.number), None)

    def _change(self, change: Callable[[], None]) -> bool:
        with self._storage.errors():
            try:
                change()
                return True
            except UpdateFinishedTrialError:
                return False

    def _queue_lost(self) -> None:
        """Give out again what other processes were running when they died."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_lost(trial):
                self._queue_again(trial, True)

    def _is_lost(self, trial: FrozenTrial) -> bool:
        machine, pid, created = trial.user_attrs.get(OWNER, ("", 0, 0.0))
        if machine == self._machine:
            try:
                process = psutil.Process(pid)
                return process.create_time() != created or process.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return True
        beat, now = trial.user_attrs.get(BEAT), time.monotonic()  # machines' clocks may differ
        last, heard = self._heard.get(trial.number, (None, now))
        if trial.number not in self._heard or beat != last:
            self._heard[trial.number] = beat, now
            return False
        return now - heard > SECONDS_TO_LIVE

    def _queue_again(self, trial: FrozenTrial, by_accident: bool) -> None:
        """Queue first, then mark: if this process dies in between, the next finds the one in the queue."""
        origin, lost = trial.user_attrs.get(AGAIN, trial.number), trial.user_attrs.get(LOST, 0) + by_accident
        queued = any(
            each.user_attrs.get(AGAIN) == origin and each.number > trial.number
            for each in self.study.get_trials(deepcopy=False)
        )
        if lost < ATTEMPTS and not queued:
            parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            self.study.enqueue_trial(parameters, {AGAIN: origin, LOST: lost})
        self.study.tell(trial.number, state=TrialState.FAIL)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._storage.errors())
            stack.enter_context(self._storage.lock())
            yield


def number(trial: FrozenTrial | optuna.Trial) -> int:
    """The number of a trial, or of the one that it repeats."""
    return trial.user_attrs.get(AGAIN, trial.number)


def best_of(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The best of the trials that have not been pruned, the first of equal ones; None if there is none."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def _machine() -> str:
    """What tells this machine, or container, since it was started, from others."""
    parts = [platform.node()]
    with suppress(OSError):  # elsewhere than on Linux, the name must do
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
        parts += [os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
