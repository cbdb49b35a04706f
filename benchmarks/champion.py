"""Make the agent that ships from a finished run: `python benchmarks/champion.py RUN`.

Takes the run's best agent, keeps 8 bits of a weight and leaves out the inputs that were never on in training.
Then it plays 100 fresh games on each of three seeds made from its file's hash.
"""

import argparse
import hashlib
import json
from pathlib import Path

from pongrad.ground import storage
from pongrad.ground.system import cores
from pongrad.network.agent import FORMAT, Agent
from pongrad.network.finding import CHAMPION
from pongrad.playing.evaluation import evaluate
from pongrad.runs.folder import RunFolder

EVALUATIONS = 3


def make(run: Path) -> None:
    """Write the run's best agent into the package."""
    config = json.loads((run / "config.json").read_text())
    _, metadata = storage.load(run / "best.safetensors", FORMAT)
    agent = Agent.load(run)
    checkpoint = RunFolder(run).load_checkpoint()
    assert checkpoint, "a finished run has one"
    agent.network.weights["W1"][~checkpoint.learner["W1"].any(axis=1)] = 0
    agent.save(CHAMPION, small=True, **{**config, **metadata["about"]})


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
