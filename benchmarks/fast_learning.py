"""How soon does recipe `fast` beat the computer, and how far does it get? Five seeds nobody tuned on.

    python benchmarks/fast_learning.py          # about 40 minutes on two cores; keeps runs already there
    python benchmarks/fast_learning.py --help

Every seed learns for the recipe's `schedule_frames`, or until its mean score is that of the recipe; then the
agent that first beat the computer and the best one play 100 fresh games each. Writes a table
(fast_learning.md and .json) and a picture (fast_learning.png).
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import train

from pongrad.plots import learning_curve
from pongrad.recipes import Fast
from pongrad.runs import RunFolder

SEEDS = (46, 47, 48, 49, 50)
MARKS = (0, 10, 18)


def evaluated(agent: Path) -> dict[str, Any] | None:
    """What the agent scores in 100 fresh games; kept in a file beside it."""
    file = agent.with_suffix(".json")
    if not agent.exists():
        return None
    if not file.exists():
        command = [sys.executable, "-m", "pongrad", "evaluate", str(agent), "--json"]
        file.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def measured(folder: Path) -> dict[str, Any]:
    """When the mean score of 100 games first passed each mark, where it ended, and the agents' scores."""
    lines = [line for line in RunFolder(folder).metrics() if line["games"] >= 100]
    row: dict[str, Any] = {"seed": json.loads((folder / "config.json").read_text())["seed"]}
    for mark in MARKS:
        passed = next((line for line in lines if line["mean_score_100"] > mark), None)
        row[f"frames_to_{mark}"] = passed and passed["frames"]
        row[f"seconds_to_{mark}"] = passed and passed["seconds"]
    row["frames"], row["seconds"] = lines[-1]["frames"], lines[-1]["seconds"]
    row["mean_score_100"] = lines[-1]["mean_score_100"]
    for name in ("beat", "best"):
        result = evaluated(folder / f"{name}.safetensors")
        row[f"{name}_mean_score"] = result and result["mean_score"]
        row[f"{name}_standard_error"] = result and result["standard_error"]
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows and their medians as Markdown; a run that never got there counts as later than all others."""

    def cell(row: dict[str, Any], mark: int) -> str:
        if row[f"frames_to_{mark}"] is None:
            return "never"
        return f"{row[f'frames_to_{mark}'] / 1e6:.2f} M, {row[f'seconds_to_{mark}']:.0f} s"

    def score(row: dict[str, Any], name: str) -> str:
        if row[f"{name}_mean_score"] is None:
            return ""
        return f"{row[f'{name}_mean_score']:+.1f} ± {row[f'{name}_standard_error']:.1f}"

    median: dict[str, Any] = {}
    for key in rows[0]:
        values = sorted((row[key] for row in rows), key=lambda value: (value is None, value))
        median[key] = values[len(values) // 2]
    lines = ["| seed | mean above 0 | above 10 | above 18 | at the end | first to beat it | best agent |"]
    lines.append("|" + " --- |" * 7)
    for row in [*rows, {**median, "seed": "median"}]:
        cells = [str(row["seed"]), *(cell(row, mark) for mark in MARKS)]
        cells.append(
            f"{row['mean_score_100']:+.1f} after {row['frames'] / 1e6:.1f} M, {row['seconds']:.0f} s"
        )
        if row["seed"] == "median":
            scores = [[each[f"{name}_mean_score"] for each in rows] for name in ("beat", "best")]
            cells += [f"{statistics.median(s):+.1f}" if None not in s else "" for s in scores]
        else:
            cells += [score(row, "beat"), score(row, "best")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what has not been run, then report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/fast_learning"), help="output folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds to learn with")
    parser.add_argument("--frames", type=int, default=Fast().schedule_frames, help="frames a seed")
    parser.add_argument("--until", type=float, default=Fast().until, help="mean score that ends a seed's run")
    parser.add_argument("--report-only", action="store_true", help="only write the report of what is there")
    options = parser.parse_args()
    folders = [options.out / f"seed{seed}" for seed in options.seeds]
    if not options.report_only:
        for folder, seed in zip(folders, options.seeds, strict=True):
            how_long = ["--frames", str(options.frames), "--until", str(options.until)]
            train(folder, "--seed", str(seed), *how_long)
    rows = [measured(folder) for folder in folders]
    (options.out / "fast_learning.json").write_text(json.dumps(rows, indent=2) + "\n")
    (options.out / "fast_learning.md").write_text(table(rows))
    learning_curve([RunFolder(folder) for folder in folders], options.out / "fast_learning.png")


if __name__ == "__main__":
    main()
