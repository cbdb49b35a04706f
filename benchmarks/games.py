"""What recipe `fast` learns in eight Atari games with one set of defaults, in 2 and in 10 million frames.

    python benchmarks/games.py                # a night on two cores; goes on where it was stopped
    python benchmarks/games.py ALE/Breakout-v5 --frames 2000000 --seeds 171
    python benchmarks/games.py --network conv # the same with convolutions: games-conv.json
    python benchmarks/games.py --speed        # half a minute a game, alone on the machine: frames/s, memory
    python benchmarks/games.py --peer         # Stable-Baselines3's PPO, as long as 10 million frames take

The best agent within so many frames plays 30 fresh games, greedily. Beside it stands the mean of the last 100
training games, whose actions are drawn: compare published training curves with that. Two runs are made at a
time, with one worker each: what is learned does not depend on the workers. Results go to games.json, with a
table in games.md beside it. The published scores are those of `peers/atari57_sticky.csv`, given with
--published.
"""

import argparse
import csv
import itertools
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from common import progress, train

from pongrad import Agent
from pongrad.games.scores import reference
from pongrad.playing.evaluation import evaluate
from pongrad.runs.bench import peak_rss
from pongrad.runs.folder import RunFolder

GAMES = tuple(
    f"ALE/{name}-v5"
    for name in ("Asterix", "Boxing", "Breakout", "Enduro", "Freeway", "Qbert", "Seaquest", "SpaceInvaders")
)
SEEDS = (171, 172)
FRAMES = (2_000_000, 10_000_000)
EVALUATED_GAMES = 30
LAST_UPDATE = 100_000  # so many frames at most are played in the update that ends a run
RESULTS = Path(__file__).with_name("results")


class Results:
    """The results so far, by game and by what was measured; written down as they come."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = Lock()
        self.known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def note(self, game: str, what: str, result: Any) -> None:
        """Write down one result."""
        with self._lock:
            self.known.setdefault(game, {})[what] = result
            print(game, what, result, flush=True)
            self._file.write_text(json.dumps(self.known, indent=1, sort_keys=True) + "\n")

    def has(self, game: str, what: str) -> bool:
        """Whether this has been measured."""
        return what in self.known.get(game, {})


def suffix(network: str) -> str:
    """What the names of the results of a network end with."""
    return "" if network == "sparse" else f"-{network}"


def learn(game: str, network: str, seed: int, frames: int, runs: Path, results: Results) -> None:
    """Bring one run so far, and evaluate its best agent."""
    what = f"seed {seed}, {frames} frames"
    if results.has(game, what):
        return
    folder = runs / f"{game.split('/')[-1]}-{seed}{suffix(network)}"
    flags = "--game", game, "--network", network, "--seed", str(seed), "--frames", str(frames)
    train(folder, *flags, "--workers", "1")
    line = RunFolder(folder).metrics()[-1]
    if not frames <= line["frames"] <= frames + LAST_UPDATE:
        raise SystemExit(
            f"{folder} has {line['frames']} frames, not {frames}: resume it or give other --runs"
        )
    evaluation = evaluate(Agent.load(folder / "best.safetensors"), EVALUATED_GAMES, 0, 1)
    kept = {key: evaluation[key] for key in ("mean_score", "standard_error")}
    kept |= {"last_100_in_training": line["mean_score_100"], "commit": commit()}
    results.note(game, what, kept)


def commit() -> str:
    """The commit that is measured; `-dirty` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=RESULTS, check=True, capture_output=True, text=True).stdout.strip()


def speed(game: str, network: str, results: Results) -> None:
    """Frames a second and memory while training on all cores, in the second half of half a minute."""
    with TemporaryDirectory() as name, peak_rss() as peak:
        folder = Path(name) / "run"
        train(folder, "--game", game, "--network", network, "--minutes", "0.6")
        lines = RunFolder(folder).metrics()
    first, last = next(line for line in lines if line["seconds"] > lines[-1]["seconds"] / 2), lines[-1]
    rate = (last["frames"] - first["frames"]) / (last["seconds"] - first["seconds"])
    results.note(game, "speed", {"frames_per_second": round(rate), "peak_bytes": peak[0]})


def peer(game: str, results: Results) -> None:
    """One seed of Stable-Baselines3's PPO, given the minutes that 10 million frames take at our speed."""
    minutes = max(FRAMES) / results.known[game]["speed"]["frames_per_second"] / 60
    script = Path(__file__).with_name("sb3_atari.py")
    env, far = game.split("/")[-1].replace("-v5", "NoFrameskip-v4"), None
    process = subprocess.Popen(
        [sys.executable, script, "--game", env, "--seed", "1"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    for far in progress(process.stdout, time.monotonic()):
        if far["seconds"] > 60 * minutes:
            process.kill()
            break
    if not far:
        raise SystemExit(f"{script.name} has ended before its first game")
    results.note(game, "sb3", {"minutes": round(minutes, 1), **far})


def table(known: dict[str, dict[str, Any]], published: dict[str, dict[str, str]]) -> str:
    """The results as Markdown, with a column for each number of frames that has been evaluated."""
    keys = itertools.chain(*known.values())
    counts = sorted({int(what.split()[2]) for what in keys if what.startswith("seed")})
    millions = [f"{count / 1e6:g}M" for count in counts]
    others = {f"ppo_{each}": f"PPO, {each}" for each in millions} | {"dreamerv3_10M": "DreamerV3, 10M"}
    heads = ["game", "random"]
    heads += [head for each in millions for head in (f"{each} frames", f"{each}, in training")]
    heads += ["frames/s", "memory"]
    heads += [*others.values(), "Stable-Baselines3, same minutes"]
    rows = [heads, ["---"] * len(heads)]
    for game, measured in sorted(known.items()):
        cells = [game, f"{reference(game).random:,g}"]
        for count in counts:
            found = [
                result
                for what, result in sorted(measured.items())
                if what.endswith(f" {count} frames") and what.startswith("seed")
            ]
            each = [f"{result['mean_score']:,.1f} ± {result['standard_error']:.1f}" for result in found]
            training = [f"{result['last_100_in_training']:,.1f}" for result in found]
            cells += [", ".join(each) or "-", ", ".join(training) or "-"]
        rate = measured.get("speed")
        cells.append(f"{rate['frames_per_second']:,}" if rate else "-")
        cells.append(f"{rate['peak_bytes'] / 2**20:,.0f} MiB" if rate else "-")
        cells += [published.get(game, {}).get(column, "-") for column in others]
        sb3 = measured.get("sb3")
        cells.append(f"{sb3['mean_score_100']:,.1f} ({sb3['frames'] / 1e6:.2f} M frames)" if sb3 else "-")
        rows.append(cells)
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Measure what has not been measured yet, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("games", nargs="*", default=GAMES, help="Gymnasium ids (default: eight)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    parser.add_argument("--runs", type=Path, default=Path("runs/games"), help="folder of the runs")
    parser.add_argument("--network", choices=("sparse", "conv"), default="sparse")
    parser.add_argument("--out", type=Path, help="results, as JSON (default: games.json or games-conv.json)")
    parser.add_argument(
        "--published", type=Path, help="CSV with game, ppo_2M, ppo_5M, ppo_10M, dreamerv3_10M"
    )
    parser.add_argument("--speed", action="store_true", help="measure frames/s and memory instead")
    parser.add_argument("--peer", action="store_true", help="have Stable-Baselines3 learn instead")
    options = parser.parse_args()
    out: Path = options.out or RESULTS / f"games{suffix(options.network)}.json"
    results = Results(out)
    if options.speed:
        for game in options.games:
            speed(game, options.network, results)
    elif options.peer:
        assert find_spec("stable_baselines3"), "pip install '.[peers]'"
        for game in options.games:
            if not results.has(game, "sb3"):
                peer(game, results)
    else:
        for frames in sorted(options.frames):  # a longer run resumes the shorter one
            with ThreadPoolExecutor(2) as pool:
                waiting = [
                    pool.submit(learn, game, options.network, seed, frames, options.runs, results)
                    for seed, game in itertools.product(options.seeds, options.games)
                ]
                for run in waiting:
                    run.result()
    published = {}
    if options.published:
        with options.published.open() as file:
            published = {row["game"]: row for row in csv.DictReader(file)}
    out.with_suffix(".md").write_text(table(results.known, published))


if __name__ == "__main__":
    main()
