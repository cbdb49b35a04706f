"""Pictures of runs, as PNG files; no display is needed."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pongrad.games.scores import Reference, reference
from pongrad.ground import storage
from pongrad.runs.folder import RunFolder


def learning_curve(runs: Sequence[RunFolder], out: Path) -> None:
    """Draw the mean score of the last 100 games of each run against frames, games and minutes."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    scales = (("frames", "million frames", 1e6), ("games", "games", 1), ("seconds", "minutes", 60))
    known = {reference(run.config().environment) for run in runs}
    one = known.pop() if len(known) == 1 else Reference()  # none is common to all runs
    above = one.beaten_above
    for axis, (key, label, unit) in zip(axes, scales, strict=True):
        if above is not None:
            axis.axhline(above, color="tab:green", linewidth=1, linestyle="--")
        axis.set(xlabel=label)
        axis.grid(alpha=0.3)
        for run in runs:
            lines = [line for line in run.metrics() if line["mean_score_100"] is not None]
            axis.plot(
                [line[key] / unit for line in lines],
                [line["mean_score_100"] for line in lines],
                label=run.path.name,
            )
    axes[0].set_ylabel("mean score of the last 100 games")
    if above is not None:
        words = "the computer is beaten" if one.duel else "the human score"
        axes[0].annotate(words, (0.98, above), xycoords=("axes fraction", "data"), color="tab:green",
                         fontsize=8, horizontalalignment="right", verticalalignment="bottom")  # fmt: skip
    axes[-1].legend(loc="lower right")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110)
    storage.write(out, picture.getvalue())
