"""Pictures of runs, as files; no display is needed, and no setting of Matplotlib can stop or change them."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pongrad.games.scores import Reference, reference
from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.runs.folder import RunFolder

# A backend that is not installed, that of a notebook for example, would stop the import.
_backend = os.environ.pop("MPLBACKEND", None)
try:
    _imported_here = "matplotlib" not in sys.modules
    import matplotlib
    from matplotlib.figure import Figure as Figure
    from matplotlib.patches import Rectangle as Rectangle
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
if _backend and _imported_here:  # for a caller who goes on to use pyplot
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """In the `with` block, or the function so decorated, Matplotlib knows no settings but its defaults.

    Text is no formula, whatever dollars are in it; a character that the font lacks is a box, not a warning.
    """
    style: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with matplotlib.rc_context({**style, "text.parse_math": False}):
            yield


def save(figure: Figure, out: Path, dpi: int) -> None:
    """Write a figure, whole or not at all, in the format that its name ends in.

    Raises:
        UserError: the folder cannot be written to.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=dpi, format=out.suffix[1:])
    storage.write(out, picture.getvalue())


def scored(run: RunFolder) -> list[dict[str, Any]]:
    """The run's metrics since its first game was finished."""
    return [line for line in run.metrics() if line["mean_score_100"] is not None]


@own_style()
def learning_curve(runs: Sequence[RunFolder], out: Path) -> None:
    """Draw the mean score of the last 100 games of each run against frames, games and minutes.

    Runs without a finished game are left out, and named on standard error.

    Raises:
        UserError: no run has a finished game, or the folder cannot be written to.
    """
    curves = {run: lines for run in runs if (lines := scored(run))}
    without = ", ".join(str(run.path) for run in runs if run not in curves)
    if not curves:
        raise UserError(f"nothing to draw: no game is finished in {without}; train longer (--resume)")
    if without:
        print(f"pongrad: left out, as no game is finished there: {without}", file=sys.stderr)
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    scales = (("frames", "million frames", 1e6), ("games", "games", 1), ("seconds", "minutes", 60))
    known = {reference(run.config().environment) for run in curves}
    one = known.pop() if len(known) == 1 else Reference()  # none is common to all runs
    above = one.beaten_above
    for axis, (key, label, unit) in zip(axes, scales, strict=True):
        if above is not None:
            axis.axhline(above, color="tab:green", linewidth=1, linestyle="--")
        axis.set(xlabel=label)
        axis.grid(alpha=0.3)
        drawn = [
            axis.plot(
                [line[key] / unit for line in lines],
                [line["mean_score_100"] for line in lines],
                "o" if len(lines) == 1 else "-",  # a line of one point cannot be seen
            )[0]
            for lines in curves.values()
        ]
    axes[0].set_ylabel("mean score of the last 100 games")
    if above is not None:
        words = "the computer is beaten" if one.duel else "the human score"
        axes[0].annotate(words, (0.98, above), xycoords=("axes fraction", "data"), color="tab:green",
                         fontsize=8, horizontalalignment="right", verticalalignment="bottom")  # fmt: skip
    labels = short_names([run.path for run in curves])
    legend = axes[-1].legend(drawn, map(str, range(len(drawn))), loc="lower right")
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # only now: Matplotlib leaves out what begins with _
    save(figure, out, dpi=110)


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest end of each path that no other path has; ? for what cannot be printed."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    names = []
    for own in parts:
        ends = (own[-n:] for n in range(1, len(own)))
        end = next((end for end in ends if [p[-len(end) :] for p in set(parts)].count(end) == 1), own)
        names.append("".join(c if c.isprintable() else "?" for c in str(Path(*end))))
    return names
