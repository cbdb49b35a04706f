"""How soon does recipe `fast` reach 0, 10 and 18 points in Pong? Five seeds that nobody tuned on.

    python benchmarks/fast_learning.py          # about an hour on two cores; keeps runs already there
    python benchmarks/fast_learning.py --help

Each seed learns for 14 million frames, or until the mean score of its last 100 games is 18. Each mark is
reported by two measures:

- by training: when the mean of the last 100 training games passed it;
- by evaluation: the youngest stage whose greedy agent passes it in 100 fresh games: this stage passes and the
  one before it does not.

The best agent within 6 million frames, and the best at the end, play 100 fresh games each too. Writes a table
(fast_learning.md and .json) and a picture (fast_learning.png).
"""

import argparse
import hashlib
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from common import train

from pongrad import Agent
from pongrad.ground import storage
from pongrad.ground.system import cores
from pongrad.learning.recipes import Fast
from pongrad.network.agent import FORMAT
from pongrad.playing.evaluation import evaluate
from pongrad.runs.folder import RunFolder
from pongrad.runs.stages import files
from pongrad.views.plots import learning_curve

SEEDS = (131, 132, 133, 134, 135)
MARKS = (0, 10, 18)
GREEDY_LEAD = {0: 14, 10: 14, 18: 1}
"""Points that the greedy agent is ahead of the mean of training's last 100 games, about."""
FRAMES = 14_000_000
EARLY = 6_000_000
EARLY_BEST = "best_within_6M.safetensors"
GAMES = 100


def learn(folder: Path, seed: int, frames: int, until: float) -> None:
    """One run; its best agent so far is kept as it stands after 6 million frames."""
    early = folder / EARLY_BEST
    if not early.exists():
        train(folder, "--seed", str(seed), "--frames", str(min(EARLY, frames)), "--until", str(until))
        shutil.copyfile(folder / "best.safetensors", early)
    if frames > EARLY:
        train(folder, "--frames", str(frames), "--until", str(until))


class Evaluations:
    """Mean scores of a run's agents in fresh games, played greedily; kept in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "evaluations.json"
        self._known: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def of(self, agent_file: Path) -> dict[str, Any]:
        """The mean score of one agent and its standard error."""
        key = f"{agent_file.name} {hashlib.sha256(agent_file.read_bytes()).hexdigest()[:16]}"
        if key not in self._known:
            agent = Agent.load(agent_file)
            agent.greedy = True
            self._known[key] = evaluate(agent, GAMES, 0, cores())
            self._file.write_text(json.dumps(self._known, indent=2) + "\n")
        return self._known[key]

    def youngest_above(self, mark: int, stages: list[Path]) -> Path | None:
        """The stage that passes the mark while the one before it does not; None: not even the oldest.

        The search begins where training's own score, of drawn actions, suggests that it should pass.
        """

        def passes(i: int) -> bool:
            return self.of(stages[i])["mean_score"] > mark

        drawn = [storage.load(stage, FORMAT)[1]["about"]["mean_score"] or -21 for stage in stages]
        i = next((i for i, mean in enumerate(drawn) if mean > mark - GREEDY_LEAD[mark]), len(stages) - 1)
        if passes(i):
            while i > 0 and passes(i - 1):
                i -= 1
            return stages[i]
        return next((stages[k] for k in range(i + 1, len(stages)) if passes(k)), None)


def measured(folder: Path) -> dict[str, Any]:
    """When a run passed each mark by training and by evaluation, where it ended, what its agents score."""
    run, evaluations = RunFolder(folder), Evaluations(folder)
    lines = [line for line in run.metrics() if line["games"] >= 100]
    row: dict[str, Any] = {"seed": run.config().seed}
    for mark in MARKS:
        passed = next((line for line in lines if line["mean_score_100"] > mark), None)
        row[f"frames_to_{mark}"] = passed and passed["frames"]
        row[f"seconds_to_{mark}"] = passed and passed["seconds"]
        stage = evaluations.youngest_above(mark, files(run))
        row[f"evaluated_frames_to_{mark}"] = stage and int(stage.stem)
    row["frames"], row["seconds"] = lines[-1]["frames"], lines[-1]["seconds"]
    row["mean_score_100"] = lines[-1]["mean_score_100"]
    for name in ("beat.safetensors", EARLY_BEST, "best.safetensors"):
        if (folder / name).exists():
            result = evaluations.of(folder / name)
            row[name] = {key: result[key] for key in ("mean_score", "standard_error", "wins")}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows and their medians as Markdown; a run that never got there counts as later than all others."""
    header = ["seed"]
    for mark in MARKS:
        header += [f"{mark} by training", f"{mark} by evaluation"]
    header += ["at the end", "first to beat it", "best within 6 M", "best"]
    lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]

    def median(key: str) -> Any:
        values = sorted((row[key] for row in rows), key=lambda value: (value is None, value))
        return values[len(values) // 2]

    def frames(count: int | None, seconds: float | None = None) -> str:
        if count is None:
            return "never"
        return f"{count / 1e6:.2f} M" + (f", {seconds:.0f} s" if seconds is not None else "")

    def agent(result: dict[str, float] | None) -> str:
        return f"{result['mean_score']:+.1f} ± {result['standard_error']:.1f}" if result else "none"

    agents = ("beat.safetensors", EARLY_BEST, "best.safetensors")
    for row in rows:
        cells = [str(row["seed"])]
        for mark in MARKS:
            cells.append(frames(row[f"frames_to_{mark}"], row[f"seconds_to_{mark}"]))
            cells.append(frames(row[f"evaluated_frames_to_{mark}"]))
        cells.append(f"{row['mean_score_100']:+.1f} after {frames(row['frames'], row['seconds'])}")
        lines.append(f"| {' | '.join([*cells, *(agent(row.get(name)) for name in agents)])} |")
    cells = ["median"]
    for mark in MARKS:
        cells.append(frames(median(f"frames_to_{mark}"), median(f"seconds_to_{mark}")))
        cells.append(frames(median(f"evaluated_frames_to_{mark}")))
    cells.append(f"{median('mean_score_100'):+.1f} after {frames(median('frames'), median('seconds'))}")
    for name in agents:
        scores = [row[name]["mean_score"] for row in rows if name in row]
        cells.append(f"{statistics.median(scores):+.1f}" if scores else "none")
    return "\n".join([*lines, f"| {' | '.join(cells)} |"]) + "\n"


def main() -> None:
    """Run what has not been run, then report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/fast_learning"), help="output folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds to learn with")
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames a seed")
    parser.add_argument("--until", type=float, default=Fast().until, help="mean score that ends a seed's run")
    parser.add_argument("--report-only", action="store_true", help="only write the report of what is there")
    options = parser.parse_args()
    folders = [options.out / f"seed{seed}" for seed in options.seeds]
    if not options.report_only:
        for folder, seed in zip(folders, options.seeds, strict=True):
            learn(folder, seed, options.frames, options.until)
    rows = [measured(folder) for folder in folders]
    (options.out / "fast_learning.json").write_text(json.dumps(rows, indent=2) + "\n")
    (options.out / "fast_learning.md").write_text(table(rows))
    learning_curve([RunFolder(folder) for folder in folders], options.out / "fast_learning.png")


if __name__ == "__main__":
    main()
