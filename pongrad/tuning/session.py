"""One process's part in a study: search, then compare the best with the defaults, then report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from pongrad.games.scores import reference
from pongrad.ground.errors import UserError
from pongrad.ground.system import cores
from pongrad.learning.recipes import Recipe
from pongrad.tuning import report
from pongrad.tuning.objective import milestones
from pongrad.tuning.panel import Panel
from pongrad.tuning.search import Search
from pongrad.tuning.space import Space, description, encoded, start, values
from pongrad.tuning.storage import Storage, sqlite
from pongrad.tuning.study import SharedStudy, best_of

if TYPE_CHECKING:
    from pongrad.tuning.command import Tune

FIRST_SEED, SEEDS_A_TRIAL = 1_000_000, 1000
"""Trial 7 has the seeds 1007000, 1007001, ..."""

COMPARISON_SEED = 900_000
"""The first of the comparison's seeds: no trial has one below a million."""

STARTUP_TRIALS, WARM_UP = 5, 3
"""No trial is pruned before so many have played all their frames, and none before its third milestone: until
then most agents still play at random. After that a trial is pruned that has never been above the others'
median at its milestone. Successive halving would prune three of four at each milestone, and with scores as
noisy as these, the best among them."""


class Session:
    """What `pongrad tune` does with a storage and a folder."""

    def __init__(self, tune: "Tune", space: Space) -> None:
        """Open the storage and the study, or make them.

        Raises:
            UserError: the folder cannot be made, the storage cannot be used, or its study is another one.
        """
        self._tune = tune
        self._space = space
        self._base = replace(tune.base, frames=tune.frames, cluster=tune.cluster)
        self._folder = tune.folder
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the folder {self._folder}: {error.strerror}; give another --study"
            ) from error
        self._storage = Storage(tune.storage or sqlite(self._folder / "study.db"))
        settings = {name: value for name, value in self._base.hyperparameters.items() if name != "seed"}
        self._settings = {
            **settings,
            "frames": tune.frames,
            "seeds": tune.seeds,
            "space": description(space),
        }
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, milestones(tune.frames)[:WARM_UP][-1])
        self._study = self._shared_study(self._folder.absolute().name, {}, distributions(space), pruner)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Search, compare and report; `stopped` says whether a signal has come, which ends it early.

        Raises:
            UserError: the storage or the folder cannot be used any more, or no trial has ended.
        """
        tune, known = self._tune, reference(self._base.environment)
        with Panel(known, self._base) as panel:
            panel.say(
                f"tuning {self._base.environment}, recipe {tune.recipe}, {tune.trials} x {tune.frames:,} "
                f"frames; study {self._study.name} in {self._storage.shown}, "
                f"folder {self._folder}"
            )
            panel.begin("search")
            ended = self._search(self._study, self._trial, "trials", panel, stopped).run(
                tune.trials, lambda n: start(self._space) if n == 0 else {}
            )
            compared: list[FrozenTrial] = []
            best = best_of(self._study.trials())
            if ended and best is None:
                raise UserError(f"no trial has played all its frames: see log.txt in {self._folder}/trials/*")
            if ended and best and tune.compare_seeds:
                panel.say(f"comparing trial {best.number} with the defaults; seeds: {tune.compare_seeds}")
                panel.begin("comparison")
                ended, compared = self._compare(best, panel, stopped)
            if not ended:
                panel.say(f"Stopped. To go on: {tune.again()}")
                return
            assert best
            result = report.result(self._settings, tune.base, self._space, self._study.trials(), compared)
            pictures = report.draw(self._study.study, self._folder)
        for line in report.write(result, self._folder, known, pictures):
            print(line, flush=True)

    def _compare(
        self, best: FrozenTrial, panel: Panel, stopped: Callable[[], bool]
    ) -> tuple[bool, list[FrozenTrial]]:
        """Train with the best flags and with the defaults: a study of its own, shared like the search."""
        found = values(self._space, best.params)
        sides = ("best", "defaults")

        def configs(parameters: Mapping[str, Any], _: int) -> list[Recipe]:
            changes = found if parameters["flags"] == "best" else {}
            return [replace(self._base, seed=parameters["seed"], **changes)]

        def first(n: int) -> dict[str, Any]:
            return {"flags": sides[n % 2], "seed": COMPARISON_SEED + n // 2}

        last = COMPARISON_SEED + SEEDS_A_TRIAL - 1
        study = self._shared_study(
            f"{self._study.name}: trial {best.number} against the defaults",
            {"compared": found},
            {"flags": CategoricalDistribution(sides), "seed": IntDistribution(COMPARISON_SEED, last)},
            optuna.pruners.NopPruner(),
        )
        folder = f"comparison/trial{best.number:04d}"
        ended = self._search(study, configs, folder, panel, stopped).run(2 * self._tune.compare_seeds, first)
        return ended, study.trials()

    def _trial(self, parameters: Mapping[str, Any], number: int) -> Sequence[Recipe]:
        """A trial's recipes; a trial that is run again has the same seeds."""
        found = values(self._space, parameters)
        seeds = (FIRST_SEED + SEEDS_A_TRIAL * number + i for i in range(self._tune.seeds))
        return [replace(self._base, seed=seed, **found) for seed in seeds]

    def _search(
        self,
        study: SharedStudy,
        configs: Callable[[Mapping[str, Any], int], Sequence[Recipe]],
        folder: str,
        panel: Panel,
        stopped: Callable[[], bool],
    ) -> Search:
        jobs = self._tune.jobs or cores()
        return Search(study, configs, self._folder / folder, jobs, panel, stopped)

    def _shared_study(
        self, name: str, settings: dict[str, Any], space: dict[str, Any], pruner: optuna.pruners.BasePruner
    ) -> SharedStudy:
        return SharedStudy(self._storage, name, {**self._settings, **settings}, space, pruner)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The search space as Optuna has it."""
    found: dict[str, BaseDistribution] = {}
    for name, each in space.items():
        if each.choices:
            found[name] = CategoricalDistribution([encoded(choice) for choice in each.choices])
        elif each.whole:
            step = int(each.step or 1)
            found[name] = IntDistribution(int(each.low), int(each.high), log=each.log, step=step)
        else:
            found[name] = FloatDistribution(each.low, each.high, log=each.log, step=each.step)
    return found
