"""What a study has found: results.json, results.md, and pictures of which flags matter."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pongrad.games.scores import Reference
from pongrad.ground import storage
from pongrad.ground.commands import command
from pongrad.learning.recipes import Recipe
from pongrad.tuning.space import Space, flags, values
from pongrad.tuning.study import WHY, best_of
from pongrad.views import plots

CLEAR = 2.0
"""Standard errors: a difference of fewer may be luck."""

WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "lost",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def result(
    settings: Mapping[str, Any],
    base: Recipe,
    space: Space,
    trials: Sequence[FrozenTrial],
    compared: Iterable[FrozenTrial],
) -> dict[str, Any]:
    """The study's result as JSON has it.

    Args:
        settings: what all trials share.
        base: the recipe with its defaults and what is fixed, but for the frames of a trial.
        space: what was searched.
        trials: of the search, at least one of them complete.
        compared: trainings with the best flags and with the defaults; none: they were not compared.
    """
    best = best_of(trials)
    assert best
    found = values(space, best.params)
    chosen = replace(base, **found)
    return {
        **settings,
        "best": {
            "trial": best.number,
            "mean_score": best.value,
            "flags": found,
            "command": command("train", *flags(chosen)),
        },
        "comparison": _comparison(compared),
        "trials": [
            {
                "trial": trial.number,
                "state": WORDS[trial.state],
                "mean_score": trial.value,
                "frames": trial.last_step,
                "flags": values(space, trial.params),
                "why": trial.user_attrs.get(WHY),
            }
            for trial in trials
        ],
    }


def _comparison(compared: Iterable[FrozenTrial]) -> dict[str, Any] | None:
    """Means and standard errors of both sides over the seeds that both have."""
    scores: dict[str, dict[int, float]] = {"best": {}, "defaults": {}}
    for trial in compared:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            scores[trial.params["flags"]][trial.params["seed"]] = trial.value
    seeds = sorted(scores["best"].keys() & scores["defaults"].keys())
    if not seeds:
        return None
    sides = {side: [scores[side][seed] for seed in seeds] for side in scores}
    return {"seeds": seeds} | {
        side: {
            "mean_score": fmean(own),
            "standard_error": stdev(own) / math.sqrt(len(own)) if len(own) > 1 else None,
            "mean_scores": own,
        }
        for side, own in sides.items()
    }


def verdict(comparison: Mapping[str, Any]) -> str:
    """Whether the best flags are better than the defaults."""
    best, defaults = comparison["best"], comparison["defaults"]
    if best["standard_error"] is None:
        return "one seed cannot tell whether they are better"
    difference = best["mean_score"] - defaults["mean_score"]
    error = math.hypot(best["standard_error"], defaults["standard_error"])
    if abs(difference) <= CLEAR * error or difference == 0:
        return f"no clear difference (less than {CLEAR:g} standard errors)"
    return "the best flags are better" if difference > 0 else "the best flags are worse"


def draw(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw importance.png and slice.png; without two different results, there is no importance.

    Returns:
        What has been drawn.
    """
    with plots.own_style():
        from matplotlib import pyplot

        pyplot.switch_backend("agg")
        pyplot.rcParams.update({"text.parse_math": True, "savefig.bbox": "tight"})  # until own_style ends
        from optuna.visualization import matplotlib as pictures

        drawn = []
        for name, draw_it in (
            ("importance", pictures.plot_param_importances),
            ("slice", pictures.plot_slice),
        ):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    draw_it(study)
            except (ValueError, RuntimeError):  # too few trials, or all alike
                continue
            finally:
                figure = pyplot.gcf()
            out = folder / f"{name}.png"
            plots.save(figure, out, dpi=110)
            drawn.append(out)
            pyplot.close("all")
    return drawn


def write(found: dict[str, Any], folder: Path, known: Reference, pictures: Iterable[Path]) -> list[str]:
    """Write results.json and results.md.

    Returns:
        The last lines of the command.

    Raises:
        UserError: the folder cannot be written to.
    """
    best, states = found["best"], [trial["state"] for trial in found["trials"]]
    lines = [
        f"Done. Trials: {states.count('complete')} complete, {states.count('pruned')} pruned, "
        f"{states.count('lost')} lost.",
        f"The best is trial {best['trial']}: mean score {known.written(best['mean_score'])} over "
        f"{found['frames']:,} frames.",
    ]
    if comparison := found["comparison"]:
        sides = (f"{_with_error(comparison[side], known)} with {words}" for side, words in _SIDES.items())
        seeds = ", ".join(map(str, comparison["seeds"]))
        lines.append(f"On seeds that no trial had ({seeds}): {', '.join(sides)}: {verdict(comparison)}.")
    files = {
        "train with them": best["command"],
        "all trials": f"{folder}/results.md, {folder}/results.json",
        "pictures": ", ".join(map(str, pictures)) or "none: too few trials",
    }
    storage.write_json(folder / "results.json", found)
    storage.write(folder / "results.md", _markdown(found, lines[1:], known).encode())
    return lines + [f"  {what:15} {where}" for what, where in files.items()]


_SIDES = {"best": "the best flags", "defaults": "the defaults"}


def _with_error(side: Mapping[str, Any], known: Reference) -> str:
    error = side["standard_error"]
    return known.written(side["mean_score"]) + ("" if error is None else f" ± {error:,.2f}")


def _markdown(found: Mapping[str, Any], lines: Sequence[str], known: Reference) -> str:
    names = list(found["space"])
    ranked = sorted(
        found["trials"],
        key=lambda trial: (trial["state"] != "complete", -(trial["mean_score"] or -math.inf)),
    )
    rows = [
        [
            str(trial["trial"]),
            trial["state"],
            known.written(trial["mean_score"]),
            f"{trial['frames'] or 0:,}",
            *(str(trial["flags"].get(name, "")) for name in names),
        ]
        for trial in ranked
    ]
    heads = ["trial", "state", "mean score", "frames", *(name.strip("_") for name in names)]
    table = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        [
            f"# Tuning {found['game']}, recipe {found['recipe']}",
            "",
            "Scores are means over the training's frames (the area under the learning curve); of a pruned "
            "trial up to the frames at which it was pruned.",
            "",
            *(f"- {line}" for line in lines),
            "",
            "```sh",
            found["best"]["command"],
            "```",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
        ]
    )
