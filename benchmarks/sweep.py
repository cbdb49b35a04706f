"""Whether every Atari game works: `python benchmarks/sweep.py`, or with the ids of some games.

Each game is trained for 40,000 frames without a break. The same run is started once more, killed (-9) half
way and resumed: it must end with the same bytes. Its agent plays one game for `evaluate`, and two seconds of
a video. Two games are tried at a time, with one worker each; games that `--out` already has are left out.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ale_py
import gymnasium

FRAMES = 40_000
RESULTS = Path(__file__).with_name("results") / "sweep.json"
QUIET = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def main() -> None:
    """Try the games and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("games", nargs="*", help="Gymnasium ids (default: all ALE/*-v5)")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="results, as JSON; the table goes beside them"
    )
    options = parser.parse_args()
    gymnasium.register_envs(ale_py)
    games = options.games or sorted(game for game in gymnasium.registry if game.startswith("ALE/"))
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    with ThreadPoolExecutor(2) as pool:
        missing = [game for game in games if game not in results]
        for game, result in zip(missing, pool.map(try_game, missing), strict=True):
            results[game] = result
            print(game, result, flush=True)
            options.out.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(results))


def try_game(game: str) -> dict[str, Any]:
    """What came of one game."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()
        run = ["train", "--game", game, "--workers", "1", "--frames", str(FRAMES), "--run"]
        first = pongrad(*run, folder / "whole")
        seconds = time.monotonic() - start
        if first.returncode:
            return {"works": False, "problem": first.stdout.strip().splitlines()[-1]}
        kill_half_way([*run, str(folder / "killed")], folder / "killed")
        resumed = pongrad("train", "--resume", "--run", folder / "killed")
        evaluated = pongrad("evaluate", folder / "whole", "--games", "1", "--workers", "1", "--json")
        recorded = pongrad("record", folder / "whole", folder / "game.mp4", "--seconds", "2")
        lines = [json.loads(line) for line in (folder / "whole" / "metrics.jsonl").read_text().splitlines()]
        same = [(folder / run / "best.safetensors").read_bytes() for run in ("whole", "killed")]
        failed = [step for step in (resumed, evaluated, recorded) if step.returncode]
        return {
            "works": not failed and same[0] == same[1],
            "problem": failed[0].stdout.strip().splitlines()[-1] if failed else None,
            "same_bytes": same[0] == same[1],
            "seconds": round(seconds, 1),
            "frames_per_second": lines[-1]["frames_per_second"],
            "entropy": lines[-1]["entropy"],
            "score": json.loads(evaluated.stdout.splitlines()[-1])["mean_score"] if not failed else None,
        }


def pongrad(*args: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of pongrad's to its end."""
    return subprocess.run([sys.executable, "-m", "pongrad", *map(str, args)], check=False, **QUIET)


def kill_half_way(args: list[str], folder: Path) -> None:
    """Start this training, and kill all its processes once it has played half of its frames."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pongrad", *args], stdout=subprocess.DEVNULL, start_new_session=True
    )
    metrics = folder / "metrics.jsonl"
    while process.poll() is None:
        text = metrics.read_text() if metrics.exists() else ""
        if (
            text.count("\n")
            and json.loads(text[: text.rindex("\n")].splitlines()[-1])["frames"] > FRAMES // 2
        ):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.02)


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    works = sum(result["works"] for result in results.values())
    rows = [
        f"{works} of {len(results)} games work: trained for {FRAMES:,} frames, killed half way and resumed "
        "to the same bytes, evaluated, recorded.",
        "",
        "| game | works | same bytes | frames/s, one worker | score of one game |",
        "|---|---|---|---|---|",
    ]
    for game, result in sorted(results.items()):
        if "score" not in result:
            rows.append(f"| {game} | no: {result['problem']} | | | |")
            continue
        works_, same = ("yes" if result[key] else "no" for key in ("works", "same_bytes"))
        rate, score = f"{result['frames_per_second']:,.0f}", result["score"]
        rows.append(f"| {game} | {works_} | {same} | {rate} | {score} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
