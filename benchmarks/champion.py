"""Make the agent that ships from a finished run: `python benchmarks/champion.py RUN`.

Takes the run's best agent, lets it play its likelier action, and keeps only the pixels that were not almost
always off while it learned, in half precision. Then it plays 100 fresh games on each of three seeds made from
its file's hash.
"""

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pongrad import storage
from pongrad.agent import CHAMPION, FORMAT, Agent
from pongrad.evaluation import evaluate
from pongrad.runs import RunFolder
from pongrad.workers import cores

EVALUATIONS = 3
PIXELS = 9_900  # as many as 4 MB hold


def make(run: Path) -> None:
    """Write the run's best agent into the package."""
    folder = RunFolder(run)
    checkpoint = folder.load_checkpoint()
    assert checkpoint is not None, "the run has no checkpoint"
    # Where the mean square of the gradient is smallest, the pixel has hardly ever been on.
    importance = checkpoint.optimiser["W1"].max(axis=1)
    pixels = np.sort(np.argsort(importance)[-PIXELS:]).astype(np.uint16)
    config = json.loads((run / "config.json").read_text())
    _, metadata = storage.load(run / "best.safetensors", FORMAT)
    replace(Agent.load(run), greedy=True).save(CHAMPION, pixels, **{**config, **metadata["about"]})


def seeds() -> list[int]:
    """Seeds that nobody can pick: parts of a hash of the champion's file."""
    digest = hashlib.sha256(CHAMPION.read_bytes()).digest()
    return [int.from_bytes(digest[4 * i : 4 * i + 4], "big") for i in range(EVALUATIONS)]


def main() -> None:
    """Make it, if a run is given, and evaluate it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="make the champion of this run first")
    options = parser.parse_args()
    if options.run:
        make(options.run)
    print(f"{CHAMPION.stat().st_size:,} bytes")
    for seed in seeds():
        print(json.dumps(evaluate(Agent.load("champion"), 100, seed, cores())), flush=True)


if __name__ == "__main__":
    main()
