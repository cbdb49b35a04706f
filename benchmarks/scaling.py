"""How training scales with the cores of one machine: frames/s of Pong by the number of worker processes.

    python benchmarks/scaling.py 1 2 4 8 16    # so many workers, each alone on the machine; default: 1 2

Playing goes on during an update, so the slower of two things decides: the workers' playing, and the main
process, which learns, publishes the weights and hands out and takes back what is played:

    frames/s(cores) = F / max((F / r + S) / cores, S)

F frames an update, r frames/s of a core that only plays, S seconds of processor time an update that the main
process needs. All of it is work for the cores, and S is one core's.

Results go to scaling.json, with a table in scaling.md beside it.
"""

import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pongrad import Fast
from pongrad.games import environment
from pongrad.ground.system import cores
from pongrad.learning.learners import first_games, new_agent, new_learner, next_games, play_for
from pongrad.playing.play import play_on
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers

RESULTS = Path(__file__).with_name("results") / "scaling.json"
CONFIG = Fast(seed=7)
WARM_UP, UPDATES = 10, 60


def session(count: int, address: str | None = None, learning: bool = True) -> dict[str, float]:
    """Frames/s of a training, always the same one, and the main process's processor time an update.

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
    return {"frames_per_second": frames / seconds, "main_seconds_an_update": cpu / UPDATES}


def playing_alone() -> dict[str, float]:
    """Frames an update, and frames/s of one process that only plays, with the weights of each update."""
    agent = new_agent(CONFIG)
    learner, games = new_learner(CONFIG, agent), first_games(CONFIG)
    emulator = environment.make(CONFIG.environment)
    frames, seconds = [], []
    for number in range(WARM_UP + UPDATES // 2):
        start = time.perf_counter()
        places = play_on(agent, games, CONFIG.rollout_steps, len(games), 0.0, emulator).segments()
        seconds.append(time.perf_counter() - start)
        segments = list(itertools.chain(*places))
        frames.append(sum(rollout.frames for rollout, _ in segments))
        for rollout, game in segments:
            learner.add(rollout, game.terminated)
        learner.update(number, 0)
        games = next_games(places)
    rates = [a / b for a, b in zip(frames, seconds, strict=True)]
    return {"frames": statistics.median(frames), "frames_per_second": statistics.median(rates[WARM_UP:])}


def predicted(frames: float, playing: float, serial: float, cores: int) -> tuple[float, float]:
    """Frames/s that so many cores have time for, and that the serial part has time for.

    Args:
        frames: F, of an update.
        playing: r, frames/s of a core that only plays.
        serial: S, seconds an update.
        cores: how many.
    """
    return cores * frames / (frames / playing + serial), frames / serial


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    alone = result["alone"]
    rates, serials = defaultdict(list), defaultdict(list)
    for each in result["sessions"]:
        rates[each["workers"]].append(each["frames_per_second"])
        serials[each["workers"]].append(each["main_seconds_an_update"])
    lines = [
        f"{result['cpu']}, {result['cores']} cores. "
        f"A core that only plays: {alone['frames_per_second']:,.0f} frames/s.",
        "",
        "| workers | frames/s | times one worker | the cores have time for | the main process has time for |",
        "|---|---|---|---|---|",
    ]
    for count, found in sorted(rates.items()):
        rate, serial = statistics.median(found), statistics.median(serials[count])
        most = predicted(alone["frames"], alone["frames_per_second"], serial, count)
        one = statistics.median(rates[min(rates)]) / min(rates)
        cells = f"{rate:,.0f}", f"{rate / one:.1f}", *(f"{value:,.0f}" for value in most)
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write it down."""
    processor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    result: dict[str, Any] = {
        "cpu": processor.split(":")[1].strip(),
        "cores": cores(),
        "alone": playing_alone(),
        "sessions": [],
    }
    for count in map(int, sys.argv[1:] or ("1", "2")):
        result["sessions"].append({"workers": count, **session(count)})
        print(result["sessions"][-1], flush=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
