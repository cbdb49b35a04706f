"""`pongrad tune` from its flags to its report: search, compare the best with the defaults, write it down."""

import importlib.util
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Suppress, arg

from pongrad.games import environment
from pongrad.ground.arguments import flag
from pongrad.ground.commands import command
from pongrad.ground.errors import UserError
from pongrad.learning.recipes import OF_THE_SESSION, PONG, Fast, Recipe
from pongrad.playing.address import check_cluster
from pongrad.tuning import space as spaces

NOT_FIXED = {"seed", "workers", "minutes", "until", *OF_THE_SESSION}
"""Flags of `pongrad train` that have no meaning here."""

MOST_SEEDS = 1000
"""Of a trial, and of the comparison."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Search better hyperparameters with Optuna.

    Every hyperparameter of `pongrad train` is a flag here, too: it is then fixed, and not searched.
    """

    game: Annotated[str, arg(metavar="ID")] = PONG
    """Gymnasium id of the game to learn."""
    recipe: Annotated[Literal["fast", "classic"], arg(metavar="fast|classic")] = "fast"
    """Whose hyperparameters are searched."""
    trials: Annotated[int, arg(metavar="N")] = 30
    """Trials of the study, over all of its sessions and processes."""
    frames: Annotated[int, arg(metavar="N")] = 1_000_000
    """Frames that a trial trains with each of its seeds."""
    seeds: Annotated[int, arg(metavar="N")] = 1
    """Trainings of a trial, each with another seed; what counts is their mean."""
    jobs: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """Trials side by side, each with one worker process."""
    cluster: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: none)")] = None
    """Run the trials' workers on a Ray cluster, one for each of --jobs; see docs/cluster.md."""
    study: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/tune-GAME-RECIPE)")
    ] = None
    """Folder of the study: its runs and its result. If there is one, it goes on."""
    storage: Annotated[str | None, arg(metavar="URL|FILE", help_behavior_hint="(default: in the folder)")] = (
        None
    )
    """Where the trials are noted: a URL such as postgresql://USER@HOST/DATABASE, or a journal file's name.
    Processes and machines that give the same one, and folders of the same name, share the study."""
    space: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: the recipe's own)")] = (
        None
    )
    """TOML or JSON file that says what is searched; see docs/tuning.md."""
    compare_seeds: Annotated[int, arg(metavar="N")] = 3
    """Seeds, which no trial has, that the best flags and the defaults are compared on; 0: no comparison."""
    base: Suppress[Recipe] = field(default_factory=Fast)
    fixed: Suppress[tuple[str, ...]] = ()

    def run(self) -> None:
        """Search, compare, and write the report.

        Raises:
            UserError: Optuna is missing, a value makes no sense, or the storage cannot be used.
            KeyboardInterrupt, SystemExit: a signal has come; the same command goes on.
        """
        if importlib.util.find_spec("optuna") is None:
            raise UserError("tune needs Optuna: pip install '.[tune]'")
        # Every command imports this module: what only tuning needs is imported here.
        from pongrad.playing.processes import check_may_start_processes
        from pongrad.runs.training import Stopping

        self._check()
        check_may_start_processes()
        space = spaces.read(self.space, self.base, set(self.fixed))
        if not space:
            raise UserError("everything that is searched is fixed: leave out a flag, or give another --space")
        from pongrad.tuning.session import Session

        with Stopping() as stopping:
            Session(self, space).run(stopping.asked)
        stopping.exit()

    def _check(self) -> None:
        for name in NOT_FIXED & set(self.fixed):
            raise UserError(f"{flag(name)} is not for tune, whose trials have seeds and ends of their own")
        least = {"trials": 1, "frames": 1, "seeds": 1, "jobs": 1, "compare_seeds": 0}
        for name, number in least.items():
            value = getattr(self, name)
            if value is not None and not number <= value:
                raise UserError(f"{flag(name)} must be {number} or more, not {value}")
        for name in ("seeds", "compare_seeds"):
            if getattr(self, name) > MOST_SEEDS:
                raise UserError(f"{flag(name)} must be {MOST_SEEDS} or fewer")
        if self.cluster == "local":
            raise UserError("--cluster local is what tune does without --cluster: trials on all cores here")
        if self.cluster and self.seeds > 1:
            raise UserError("--cluster takes one of --seeds: those of a trial take turns, each with a core")
        if self.cluster:
            check_cluster(self.cluster)
        self.base.check()
        environment.action_names(self.base.environment)  # refuses a game before there is a folder

    @property
    def folder(self) -> Path:
        """The study's."""
        game = re.sub(r"\W+", "-", self.game.removeprefix("ALE/")).lower()
        return self.study or Path("runs", f"tune-{game}-{self.recipe}")

    def again(self) -> str:
        """This command, to paste."""
        words: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ("recipe", "base", "fixed") and value != each.default:
                words += [flag(each.name), str(value)]
        base = replace(self.base, game=PONG)  # which is a flag of its own
        return command("tune", *words, *spaces.flags(base))
