"""Does the article's algorithm learn? Recipe `classic` and classic.py on the real game, two seeds.

    python benchmarks/classic_learning.py   # about 90 minutes on two cores; keeps runs already there
    python benchmarks/classic_learning.py --help

Each seed learns twice: 15 minutes with the article's learning rate 1e-4, and with 1e-3 until the mean of
the last 100 games passes 0. classic.py itself plays its first 1,000 games with the article's rate. Writes
a table (classic_learning.md and .json) and a picture (classic_learning.png) to the output folder.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from common import progress, train
from matplotlib.figure import Figure

SEEDS = (1, 2)
SCRIPT_GAMES = 1000
MILESTONES = (100, 500, 1000, 2000, 3000)
SCALES = (("games", "games", 1), ("frames", "million frames", 1e6), ("seconds", "minutes", 60))


def run_script(file: Path, seed: int) -> None:
    """The first games of classic.py; one JSON line a game."""
    if file.exists():
        return
    start = time.monotonic()
    command = [sys.executable, "-m", "pongrad.classic", f"--games={SCRIPT_GAMES}", f"--seed={seed}"]
    script = subprocess.Popen(
        [*command, f"--file={file.with_suffix('.npz')}"], stdout=subprocess.PIPE, text=True
    )
    lines = list(progress(script.stdout, start))
    if script.wait() != 0:
        sys.exit(f"classic.py failed with exit code {script.returncode}")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def curves(out: Path) -> dict[str, list[dict]]:
    """Label -> lines with games, frames, seconds and mean_score_100, of all that has been run."""
    files = {}
    for seed in SEEDS:
        files[f"engine, rate 1e-3, seed {seed}"] = out / f"rate-1e-3-seed{seed}" / "metrics.jsonl"
        files[f"engine, rate 1e-4, seed {seed}"] = out / f"rate-1e-4-seed{seed}" / "metrics.jsonl"
    files["classic.py, rate 1e-4, seed 1"] = out / "script.jsonl"
    return {
        label: [json.loads(line) for line in file.read_text().splitlines()]
        for label, file in files.items()
        if file.exists()
    }


def report(out: Path) -> None:
    """Write the table, the same as JSON, and the picture."""
    runs = curves(out)
    header = ["run", *(f"{games:,} games" for games in MILESTONES), "last", "frames", "minutes", "beat"]
    rows = [header, ["---"] * len(header)]
    result = {}
    for label, lines in runs.items():
        at = {games: next((x for x in lines if x["games"] >= games), None) for games in MILESTONES}
        last = lines[-1]
        full = [line for line in lines if line["games"] >= 100]
        beat = next((line for line in full if line["mean_score_100"] > 0), None)
        result[label] = {
            "mean_score_100": {games: x and x["mean_score_100"] for games, x in at.items()},
            "last": last,
            "beat": beat,
        }
        beaten = f"{beat['frames'] / 1e6:.1f} M frames, {beat['seconds'] / 60:.1f} min" if beat else "no"
        rows.append(
            [
                label,
                *(f"{x['mean_score_100']:+.1f}" if x else "" for x in at.values()),
                f"{last['mean_score_100']:+.2f} after {last['games']:,} games",
                f"{last['frames'] / 1e6:.1f} M",
                f"{last['seconds'] / 60:.1f}",
                beaten,
            ]
        )
    (out / "classic_learning.md").write_text("".join(f"| {' | '.join(row)} |\n" for row in rows))
    (out / "classic_learning.json").write_text(json.dumps(result, indent=2) + "\n")

    figure = Figure(figsize=(13, 4.5), layout="constrained")
    for axis, (key, label, unit) in zip(figure.subplots(1, 3, sharey=True), SCALES, strict=True):
        axis.axhline(0, color="gray", linewidth=1, linestyle="--")
        axis.set(xlabel=label, ylim=(-21.5, 5))
        axis.grid(alpha=0.3)
        for name, lines in runs.items():
            style = {"color": "black", "linewidth": 2} if "classic.py" in name else {}
            axis.plot(
                [x[key] / unit for x in lines], [x["mean_score_100"] for x in lines], label=name, **style
            )
    figure.axes[0].set_ylabel("mean score of the last 100 games")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(out / "classic_learning.png", dpi=100)


def main() -> None:
    """Run what has not been run, then report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/classic_learning"), help="output folder")
    parser.add_argument("--report-only", action="store_true", help="only write the report of what is there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        for seed in SEEDS:
            flags = ["--recipe", "classic", "--workers", "2", "--seed", str(seed), "--learning-rate"]
            train(options.out / f"rate-1e-3-seed{seed}", *flags, "1e-3")
            train(options.out / f"rate-1e-4-seed{seed}", *flags, "1e-4", "--minutes", "15")
        run_script(options.out / "script.jsonl", seed=1)
    report(options.out)


if __name__ == "__main__":
    main()
