"""What a training run shows: a live panel in a terminal, a plain line now and then elsewhere."""

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pongrad.games import environment
from pongrad.games.scores import Reference, reference
from pongrad.ground.commands import command
from pongrad.learning.recipes import Recipe
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.views.time_left import time_left

CURVE_ROWS = 8
SECONDS_BETWEEN_LINES = 5.0
BLOCKS = " ▁▂▃▄▅▆▇█┄"
ASCII_BLOCKS = " ..:::###-"
"""For terminals that cannot show the others: nine heights, and what marks the reference."""


class Display:
    """Shows progress while its `with` block runs."""

    def __init__(self, folder: RunFolder, config: Recipe) -> None:
        self._run = folder.path
        self._config = config
        self._reference = reference(config.environment)
        self._told = False
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._said = -math.inf
        self._curve: list[tuple[float, float]] = []  # seconds and mean score
        for line in folder.metrics():
            self._add(line)

    def __enter__(self) -> "Display":
        config = self._config
        self._say(
            f"training {config.environment}, recipe {config.recipe}, seed {config.seed}; folder {self._run}"
        )
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, progress: Progress, line: dict[str, Any]) -> None:
        """Show where the run stands after an update; `line` is its line of metrics."""
        self._add(line)
        if self._console.is_terminal:
            self._live.update(self._panel(progress, line), refresh=True)
        elif time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._say(
                f"{clock(progress.seconds)}  {progress.games:,} games  {progress.frames:,} frames  "
                f"mean score of last 100 games {self._score(line['mean_score_100'])}, of 20 "
                f"{self._score(line['mean_score_20'])}  {line['frames_per_second']:,.0f} frames/s  "
                f"emulator {line['emulator_share']:.0%}"
            )
        if progress.beat_frames == progress.frames:
            self._say(
                f"The agent {self._reference.beaten}: the mean score of its last 100 games has passed "
                f"{self._reference.beaten_above:g}, after {clock(progress.seconds)} and "
                f"{progress.frames:,} frames."
            )

    def _add(self, line: dict[str, Any]) -> None:
        if line["mean_score_100"] is not None:
            self._curve.append((line["seconds"], line["mean_score_100"]))

    def not_deterministic(self) -> None:
        """Say once that games had to be begun again."""
        if not self._told:
            self._told = True
            self._say(
                f"{self._config.environment} is not deterministic: a game that was played again went another "
                "way, so it has begun anew. Another number of workers, or a resumed run, gives another agent."
            )

    def page(self, url: str) -> None:
        """Say where the training can be watched."""
        self._say(f"watch it learn: {url}")

    def stopping(self) -> None:
        """Say that a signal has come, before the saving, so that the user does not send a second one."""
        self._live.stop()
        self._say("Stopping: saving what has been learned.")

    def end(self, progress: Progress, interrupted: bool) -> None:
        """The last words: what came out and where everything is."""
        self._live.stop()
        self._say(
            f"{'Stopped' if interrupted else 'Done'} after {clock(progress.seconds)}: "
            f"{progress.games:,} games, {progress.frames:,} frames, "
            f"mean score of last 100 games {self._score(progress.mean_score(100))}."
        )
        run = self._run
        lines = {
            "how good it is": command("evaluate", run),
            "see it play": command("watch", run),
            "as a video": command("record", run, "game.mp4"),
        }
        if environment.rom(self._config.environment) == "pong":
            lines["beat it"] = command("play", run)
        lines["the agent"] = f"{run}/best.safetensors"
        if progress.games:
            lines["learning curve"] = f"{run}/learning_curve.png"
        lines["numbers"] = f"{run}/summary.json, {run}/metrics.jsonl, {run}/tensorboard"
        for what, where in lines.items():
            self._say(f"  {what:15} {where}")
        if interrupted:
            self._say(f"To go on: {command('train', '--run', run, '--resume')}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _panel(self, progress: Progress, line: dict[str, Any]) -> Panel:
        width = max(24, min(78, self._console.width))
        table = Table.grid(padding=(0, 3))
        table.add_row("time", clock(progress.seconds), "games", f"{progress.games:,}")
        table.add_row("frames", f"{progress.frames:,}", "frames/s", f"{line['frames_per_second']:,.0f}")
        table.add_row(
            "mean score",
            f"{self._score(line['mean_score_100'])} (last 100 games)",
            "",
            f"{self._score(line['mean_score_20'])} (last 20)",
        )
        table.add_row(
            "emulator",
            f"{line['emulator_share']:.0%} of the workers' time",
            "entropy",
            f"{line['entropy']:.2f}",
        )
        if left := time_left(self._config, progress, line["frames_per_second"], self._curve):
            table.add_row("time left", f"about {clock(left[0])} {left[1]}")
        scores = [score for _, score in self._curve]
        chart = curve(scores, width - 16, self._reference, self._blocks())
        return Panel(Group(table, Text(), chart), title="pongrad", width=width)

    def _blocks(self) -> str:
        try:
            BLOCKS.encode(self._console.encoding)
        except (LookupError, UnicodeEncodeError):
            return ASCII_BLOCKS
        return BLOCKS

    def _score(self, mean: float | None) -> str:
        return self._reference.written(mean)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def curve(scores: Sequence[float], width: int, known: Reference, blocks: str = BLOCKS) -> Text:
    """The scores as a chart of text, above the game's reference in green.

    It reaches from the lowest to the highest of the scores, of what random play has and of the reference.

    Args:
        scores: one an update; where there are more than columns, a column shows their mean.
        width: columns.
        known: the game's reference.
        blocks: characters for nine heights, and the one that marks the reference.
    """
    above = known.beaten_above
    marks = [mark for mark in (known.random, above) if mark is not None]
    low, high = min([*scores, *marks], default=0.0), max([*scores, *marks], default=0.0)
    edges = [round(i * len(scores) / width) for i in range(width + 1)]
    if len(scores) < width:
        columns = list(scores)
    else:
        columns = [sum(scores[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]

    def height(score: float) -> float:
        return (score - low) / ((high - low) or 1) * CURVE_ROWS

    labels = {0: f"{low:,.0f}", CURVE_ROWS - 1: f"{high:,.0f}"}
    row_above = CURVE_ROWS if above is None else min(int(height(above)), CURVE_ROWS - 1)
    if above is not None:
        labels.setdefault(row_above, f"{above:,.0f}")
    chart = Text()
    for row in reversed(range(CURVE_ROWS)):
        cells = [blocks[round(8 * min(max(height(score) - row, 0), 1))] for score in columns]
        empty = blocks[9] if row == row_above else " "
        line = "".join(cells).replace(" ", empty).ljust(width, empty)
        chart.append(f"{labels.get(row, ''):>9} ", style="dim")
        chart.append(line + "\n", style="green" if row >= row_above else "cyan")
    return chart
