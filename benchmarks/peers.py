"""Time to beat the computer, the others' part: Stable-Baselines3's PPO and classic.py, the same minutes each.

    pip install '.[peers]'                                # a CPU build of PyTorch is enough
    python benchmarks/peers.py --out DIR                  # 10 minutes each, one after the other
    python benchmarks/peers.py --out DIR --only sb3 --minutes 60 --seed 2

Each learns in a process of its own from the moment its seconds count, imports included, and is stopped when
its minutes are over. Each line it prints becomes one of DIR/NAME-seedN.jsonl; the results of all runs so far
go to a table (peers.md and peers.json in DIR), where a run repeated with its seed replaces the older one.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

from common import FRAMES_A_STEP, progress


@dataclass(frozen=True)
class Peer:
    """A program that prints what `common.progress` reads."""

    name: str
    game: str
    packages: tuple[str, ...]  # whose versions matter
    command: tuple[str, ...]  # arguments for Python


PEERS = {
    "sb3": Peer(
        "Stable-Baselines3 PPO",
        "PongNoFrameskip-v4",
        ("stable-baselines3", "torch"),
        (str(Path(__file__).resolve().with_name("sb3_atari.py")),),
    ),
    "classic": Peer("classic.py", "ALE/Pong-v5", ("pongrad", "numpy"), ("-m", "pongrad.classic")),
}


def run(peer: Peer, seed: int, minutes: float, file: Path) -> list[dict[str, Any]]:
    """Let it learn for so many minutes; returns what it writes to the file: how far it was at each line."""
    lines: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder, file.open("w") as out:  # the folder: classic.py saves its weights
        start = time.monotonic()
        command = [sys.executable, *peer.command, f"--seed={seed}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        end = Timer(60 * minutes, process.terminate)
        end.start()
        assert process.stdout is not None
        try:
            for line in progress(process.stdout, start):
                lines.append(line)
                print(json.dumps(line), file=out, flush=True)
            process.wait()
        finally:
            end.cancel()
            process.terminate()
        if process.returncode != 0 and time.monotonic() - start < 60 * minutes:
            sys.exit(f"{peer.name} failed with exit code {process.returncode}")
    if not lines:
        sys.exit(f"{peer.name} did nothing in {minutes:g} minutes: give it more")
    return lines


def result(peer: Peer, seed: int, minutes: float, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the table says of a run."""
    last = lines[-1]
    beat = next((x for x in lines if x["games"] >= 100 and x["mean_score_100"] > 0), None)
    frames_per_second = last["frames"] / last["seconds"]
    return {
        "name": peer.name,
        "version": ", ".join(f"{package} {version(package)}" for package in peer.packages),
        "game": peer.game,
        "seed": seed,
        "minutes": minutes,
        "date": date.today().isoformat(),
        "steps_per_second": round(frames_per_second / FRAMES_A_STEP),
        "frames_per_second": round(frames_per_second),
        "frames": last["frames"],
        "games": last["games"],
        "mean_score_100": last["mean_score_100"],
        "beat_frames": beat and beat["frames"],
        "beat_seconds": beat and beat["seconds"],
    }


def table(results: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    header = ["name", "version", "game", "seed", "minutes", "steps/s", "frames/s", "frames", "games"]
    header += ["last 100 games", "beat the computer"]
    rows = [header, ["---"] * len(header)]
    for x in results:
        beat = "no"
        if x["beat_frames"]:
            beat = f"{x['beat_frames'] / 1e6:.1f} M frames, {x['beat_seconds'] / 60:.1f} min"
        rows.append(
            [
                x["name"],
                x["version"],
                x["game"],
                str(x["seed"]),
                f"{x['minutes']:g}",
                f"{x['steps_per_second']:,}",
                f"{x['frames_per_second']:,}",
                f"{x['frames'] / 1e6:.2f} M",
                f"{x['games']:,}",
                f"{x['mean_score_100']:+.1f}" if x["games"] else "",
                beat,
            ]
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Run one peer after the other, then report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="output folder")
    parser.add_argument("--minutes", type=float, default=10, help="how long each may learn")
    parser.add_argument("--seed", type=int, default=1, help="where all randomness comes from")
    parser.add_argument("--only", choices=PEERS, help="run this one alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    report = options.out / "peers.json"
    for key, peer in PEERS.items():
        if options.only in (None, key):
            file = options.out / f"{key}-seed{options.seed}.jsonl"
            lines = run(peer, options.seed, options.minutes, file)
            new = result(peer, options.seed, options.minutes, lines)
            old = json.loads(report.read_text()) if report.exists() else []
            results = [x for x in old if (x["name"], x["seed"]) != (new["name"], new["seed"])] + [new]
            report.write_text(json.dumps(results, indent=2) + "\n")
            (options.out / "peers.md").write_text(table(results))
    print((options.out / "peers.md").read_text(), end="")


if __name__ == "__main__":
    main()
