"""How training scales with the cores of one machine: frames/s of Pong by the number of worker processes.

    python benchmarks/scaling.py 2 4 8 16    # one worker, then so many; each alone on the machine

Playing goes on during an update, so the slower of two things decides: the workers' playing, and the main
process, which learns, publishes the weights, deals games out and takes back what is played. It has time for
F / S frames/s, with F frames an update and S seconds of its processor time an update.

Results go to scaling.json, with a table in scaling.md beside it.
"""

import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pongrad import Fast
from pongrad.ground.system import cores
from pongrad.learning.learners import first_games, new_agent, new_learner, play_for
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers

RESULTS = Path(__file__).with_name("results") / "scaling.json"
CONFIG = Fast(seed=7)
WARM_UP, UPDATES = 10, 60


def session(count: int, address: str | None = None, learning: bool = True) -> dict[str, float]:
    """Frames/s of a training, always the same one; frames and the main process's processor time an update.

    Args:
        count: of workers.
        address: of a Ray cluster that they run on; None: here, as processes.
        learning: whether to learn; else the same weights are published again and again.
    """
    agent = new_agent(CONFIG)
    learner, shared = new_learner(CONFIG, agent), SharedAgent(agent)
    with Workers(shared, count, address) as team:
        while len(team) < count:
            team._team.wait([], 0.1)  # the last actors are still starting
        given = learner if learning else None
        nothing = {name: np.zeros(len(array), np.bool_) for name, array in agent.network.weights.items()}
        frames = 0
        for number, played in enumerate(
            play_for(given, CONFIG, team, first_games(CONFIG), WARM_UP + UPDATES)
        ):
            if learning:
                learner.update(number, 0)
                shared.publish(agent.network.weights, learner.moved)
            else:
                shared.publish(agent.network.weights, nothing)
            if number >= WARM_UP:
                frames += sum(rollout.frames for place in played for rollout, _ in place)
            if number == WARM_UP - 1:
                start, cpu = time.perf_counter(), time.process_time()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "frames_per_second": frames / seconds,
        "frames": frames / UPDATES,
        "main_seconds": cpu / UPDATES,
    }


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    by_count = defaultdict(list)
    for each in result["sessions"]:
        by_count[each["workers"]].append(each)
    lines = [
        f"{result['cpu']}, {result['cores']} cores",
        "",
        "| workers | frames/s | times one worker | what the main process has time for |",
        "|---|---|---|---|",
    ]
    rates = {
        count: statistics.median(each["frames_per_second"] for each in sessions)
        for count, sessions in sorted(by_count.items())
    }
    for count, rate in rates.items():
        most = statistics.median(each["frames"] / each["main_seconds"] for each in by_count[count])
        lines.append(f"| {count} | {rate:,.0f} | {rate / rates[1]:.1f} | {most:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write it down."""
    processor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    result: dict[str, Any] = {
        "cpu": processor.split(":")[1].strip(),
        "cores": cores(),
        "sessions": [],
    }
    for count in map(int, ["1", *sys.argv[1:]]):
        result["sessions"].append({"workers": count, **session(count)})
        print(result["sessions"][-1], flush=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
