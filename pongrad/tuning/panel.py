"""What a search shows: a live panel in a terminal, a line a trial elsewhere."""

import time
from dataclasses import dataclass, replace

from rich.console import Console
from rich.live import Live
from rich.panel import Panel as Frame
from rich.table import Table

from pongrad.games.scores import Reference
from pongrad.learning.recipes import Recipe
from pongrad.tuning.space import flags
from pongrad.views.terminal import clock

SECONDS_BETWEEN_DRAWINGS = 0.25


@dataclass
class _Shown:
    frames: int
    words: str
    played: int = 0
    mean: float | None = None


class Panel:
    """Shows a search while its `with` block runs."""

    def __init__(self, known: Reference, default: Recipe) -> None:
        """Show nothing so far.

        Args:
            known: how the game's scores are written.
            default: the recipe of all trials; of a trial only what differs is shown.
        """
        self._title = ""
        self._known = known
        self._default = default
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False)
        self._trials: dict[int, _Shown] = {}
        self._ended = 0
        self._total = 0
        self._best: tuple[float, int] | None = None
        self._began = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> "Panel":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._draw(at_once=True)
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, title: str) -> None:
        """Show another search from now on."""
        self._title = title

    def standing(self, ended: int, total: int, best: tuple[float, int] | None) -> None:
        """Show how far the search is, over all processes.

        Args:
            ended: trials that have ended.
            total: trials in all.
            best: the best mean score of a trial so far, and the trial's number.
        """
        self._ended, self._total, self._best = ended, total, best

    def started(self, number: int, config: Recipe, frames: int) -> None:
        """Show a trial that plays so many frames."""
        changed = flags(config, replace(self._default, seed=config.seed))
        words = " ".join(changed) or "the defaults"
        self._trials[number] = _Shown(frames, f"{words}; seed {config.seed}")
        self._draw()

    def progress(self, number: int, frames: int, mean: float | None) -> None:
        """Show how far a trial is."""
        self._trials[number].played, self._trials[number].mean = frames, mean
        self._draw()

    def ended(self, number: int, how: str) -> None:
        """Say how a trial ended."""
        trial = self._trials.pop(number)
        self.say(f"trial {number}: {how}, {trial.played:,} frames: {trial.words}")
        self._draw()

    def written(self, mean: float | None) -> str:
        """A score for people."""
        return self._known.written(mean)

    def _draw(self, at_once: bool = False) -> None:
        if not self._live.is_started:
            return
        if not at_once and time.monotonic() - self._drawn < SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for number, trial in self._trials.items():
            share = f"{trial.played / trial.frames:.0%}"
            table.add_row(f"trial {number}", share, self.written(trial.mean), trial.words)
        best = (
            f"best {self.written(self._best[0])} (trial {self._best[1]})" if self._best else "no best so far"
        )
        below = f"{self._ended} of {self._total} trials  {best}  {clock(time.monotonic() - self._began)}"
        self._live.update(Frame(table, title=self._title, subtitle=below), refresh=True)
