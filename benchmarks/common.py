"""What the benchmarks of learning share: starting a run, and reading what a script prints while it learns."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FRAMES_A_STEP = 4
"""Of Pong, with the frame skip that all here play it with."""


def train(folder: Path, *flags: str) -> None:
    """One run of the engine, as a user would start it with these flags; resumes one that is there."""
    command = [sys.executable, "-m", "pongrad", "train", "--run", str(folder), *flags]
    if (folder / "config.json").exists():
        subprocess.run([*command, "--resume"])  # exit code 2: it is finished
    else:
        subprocess.run(command, check=True)


def progress(printed: Iterable[str], start: float) -> Iterator[dict[str, Any]]:
    """How far a script was at each line it prints, since `start` (`time.monotonic()`).

    It prints `game N: score S, ..., T steps` after each game; lines that begin otherwise (`update: T steps`)
    only count steps.
    """
    scores: list[int] = []
    frames = 0
    for text in printed:
        words = text.replace(",", "").split()
        if words[0] == "game":
            scores.append(int(words[3]))
        frames += FRAMES_A_STEP * int(words[-2])
        last = scores[-100:]
        yield {
            "games": len(scores),
            "frames": frames,
            "seconds": round(time.monotonic() - start, 2),
            "mean_score_100": sum(last) / len(last) if last else None,
        }
