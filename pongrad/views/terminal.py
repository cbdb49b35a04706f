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

from pongrad.learning.recipes import Recipe
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder

CURVE_ROWS = 8
SECONDS_BETWEEN_LINES = 5.0
BLOCKS = " ▁▂▃▄▅▆▇█"
LOWEST, HIGHEST = -21, 21


class Display:
    """Shows progress while its `with` block runs."""

    def __init__(self, folder: RunFolder, config: Recipe) -> None:
        self._run = folder.path
        self._config = config
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._said = -math.inf
        self._scores: list[float] = []
        for line in folder.metrics():
            self._add(line)

    def __enter__(self) -> "Display":
        config = self._config
        self._say(f"training {config.game}, recipe {config.recipe}, seed {config.seed}; folder {self._run}")
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
                f"mean score of last 100 games {score(line['mean_score_100'])}, of 20 "
                f"{score(line['mean_score_20'])}  {line['frames_per_second']:,.0f} frames/s  "
                f"emulator {line['emulator_share']:.0%}"
            )
        if progress.beat_frames == progress.frames:
            self._say(
                "The agent beats the computer: the mean score of its last 100 games has passed 0, "
                f"after {clock(progress.seconds)} and {progress.frames:,} frames."
            )

    def _add(self, line: dict[str, Any]) -> None:
        if line["mean_score_100"] is not None:
            self._scores.append(line["mean_score_100"])

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
            f"mean score of last 100 games {score(progress.mean_score(100))}."
        )
        run = self._run
        self._say(f"  agent           {run}/best.safetensors   (how good it is: pongrad evaluate {run})")
        self._say(f"  see it play     pongrad watch {run}, or as a video: pongrad record {run} game.mp4")
        self._say(f"  beat it         pongrad play {run}")
        self._say(f"  learning curve  {run}/learning_curve.png")
        self._say(f"  numbers         {run}/summary.json, {run}/metrics.jsonl, {run}/tensorboard")
        if interrupted:
            self._say(f"To go on: pongrad train --run {run} --resume")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _panel(self, progress: Progress, line: dict[str, Any]) -> Panel:
        width = min(78, self._console.width)
        table = Table.grid(padding=(0, 3))
        table.add_row("time", clock(progress.seconds), "games", f"{progress.games:,}")
        table.add_row("frames", f"{progress.frames:,}", "frames/s", f"{line['frames_per_second']:,.0f}")
        table.add_row(
            "mean score",
            f"{score(line['mean_score_100'])} (last 100 games)",
            "",
            f"{score(line['mean_score_20'])} (last 20)",
        )
        table.add_row(
            "emulator",
            f"{line['emulator_share']:.0%} of the workers' time",
            "entropy",
            f"{line['entropy']:.2f}",
        )
        return Panel(Group(table, Text(), curve(self._scores, width - 10)), title="pongrad", width=width)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def score(mean: float | None) -> str:
    """A mean score; a dash before the first game has ended."""
    return "-" if mean is None else f"{mean:+.2f}"


def curve(scores: Sequence[float], width: int) -> Text:
    """The scores as a chart of text, -21 at its bottom and +21 at its top, above 0 in green.

    Args:
        scores: one an update; where there are more than columns, a column shows their mean.
        width: columns.
    """
    edges = [round(i * len(scores) / width) for i in range(width + 1)]
    if len(scores) < width:
        columns = list(scores)
    else:
        columns = [sum(scores[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    heights = [(score - LOWEST) / (HIGHEST - LOWEST) * CURVE_ROWS for score in columns]
    chart = Text()
    for row in reversed(range(CURVE_ROWS)):
        above = 2 * row >= CURVE_ROWS
        label = {CURVE_ROWS - 1: "+21", CURVE_ROWS // 2: "  0", 0: "-21"}.get(row, "   ")
        cells = [BLOCKS[round(8 * min(max(height - row, 0), 1))] for height in heights]
        empty = "┄" if row == CURVE_ROWS // 2 else " "
        line = "".join(cells).replace(" ", empty).ljust(width, empty)
        chart.append(f"{label} ", style="dim").append(line + "\n", style="green" if above else "cyan")
    return chart
