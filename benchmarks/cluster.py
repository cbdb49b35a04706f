"""What a cluster costs and brings: throughput through Ray, bytes to each node, what holds back many cores.

    python benchmarks/cluster.py    # 5 minutes, alone on the machine; needs pip install '.[cluster]'

Pong is learned on two workers of this machine and on two of a local Ray cluster, in turns. Then one update's
serial shares are measured, those that more cores do not make shorter, each alone in one process: learning,
publishing the weights and putting what has moved into Ray's object store; and the processor time that the
driver spends on a piece of one game, with 16 workers. From these follows a prediction:

    S = L + B + P D,    frames/s(cores) = F / max((F / r + S) / cores, S)

S serial seconds an update: L and B to learn and to broadcast, P pieces of D each; F frames an update, r
frames/s of a core that only plays. All of it is work for the cores, and the serial part is one core's.

Results go to cluster.json, with tables in cluster.md beside it.
"""

import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import ray
from scaling import CONFIG, UPDATES, WARM_UP, session

from pongrad.games import environment
from pongrad.learning.learners import first_games, new_agent, new_learner, next_games
from pongrad.playing.cluster import Broadcast
from pongrad.playing.play import play_on
from pongrad.playing.shared import SharedAgent

RESULTS = Path(__file__).with_name("results") / "cluster.json"
ROUNDS = 5
CORES = 1, 2, 4, 8, 16, 64, 256
MANY = 16
WHERE = {"processes": None, "ray": "local"}


def serial_shares() -> dict[str, float]:
    """Medians of an update's parts, each alone in this process; bytes of the weights."""
    agent = new_agent(CONFIG)
    learner, shared = new_learner(CONFIG, agent), SharedAgent(agent)
    broadcast, emulator, games = Broadcast(shared), environment.make(CONFIG.game), first_games(CONFIG)
    rounds: list[dict[str, float]] = []
    for number in range(WARM_UP + UPDATES):
        times = [time.perf_counter()]
        places = play_on(agent, games, CONFIG.rollout_steps, len(games), 0.0, emulator).segments()
        times.append(time.perf_counter())
        segments = list(itertools.chain(*places))
        for rollout, game in segments:
            learner.add(rollout, game.terminated)
        learner.update(number, 0)
        times.append(time.perf_counter())
        shared.publish(agent.network.weights, learner.moved)
        times.append(time.perf_counter())
        broadcast.updates(shared.version - 1, shared.version)
        times.append(time.perf_counter())
        play, learn, publish, put = (b - a for a, b in itertools.pairwise(times))
        frames = sum(rollout.frames for rollout, _ in segments)
        moved = learner.moved
        sent = sum(
            array[moved[name]].nbytes + 8 * int(moved[name].sum())
            for name, array in agent.network.weights.items()
        )
        rounds.append(
            {
                "frames": frames,
                "play_frames_per_second": frames / play,
                "learn_seconds": learn,
                "publish_seconds": publish,
                "put_seconds": put,
                "moved_bytes": sent,
            }
        )
        games = next_games(places)
    medians = {key: statistics.median(each[key] for each in rounds[WARM_UP:]) for key in rounds[0]}
    return {**medians, "all_bytes": sum(array.nbytes for array in agent.network.weights.values())}


def predicted(result: dict[str, Any], cores: int) -> tuple[float, float]:
    """Frames/s that so many cores of a Ray cluster have time for, and that the serial part has time for."""
    shares = result["serial"]
    pieces = min(CONFIG.num_games, 2 * cores)
    once = sum(shares[f"{name}_seconds"] for name in ("learn", "publish", "put"))
    serial = once + pieces * result["driver_seconds_a_piece"]["ray"]
    frames = shares["frames"]
    return cores * frames / (frames / shares["play_frames_per_second"] + serial), frames / serial


def tables(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    shares, rates = result["serial"], result["frames_per_second"]
    lines = [
        "| two workers | frames/s, median |",
        "|---|---|",
        *(f"| {name} | {statistics.median(rates[name]):,.0f} |" for name in WHERE),
        f"| ray / processes, median of {ROUNDS} pairs | {result['ratio']:.2f} |",
        "",
        "| an update | |",
        "|---|---|",
        f"| frames | {shares['frames']:,.0f} |",
        f"| a core that only plays | {shares['play_frames_per_second']:,.0f} frames/s |",
        *(
            f"| {what} | {1000 * shares[f'{key}_seconds']:.1f} ms |"
            for what, key in (("learning", "learn"), ("publishing", "publish"), ("putting", "put"))
        ),
        *(
            f"| the driver's work for a piece, {name} | {1000 * seconds:.2f} ms |"
            for name, seconds in result["driver_seconds_a_piece"].items()
        ),
        f"| weights to each node, all | {shares['all_bytes'] / 1e6:.1f} MB |",
        f"| weights to each node, what has moved | {shares['moved_bytes'] / 1e6:.1f} MB |",
        "",
        "| cores | frames/s that all cores have time for | that the serial part has time for | predicted |",
        "|---|---|---|---|",
    ]
    for cores in CORES:
        each = predicted(result, cores)
        row = *each, min(each)
        lines.append(f"| {cores} | {' | '.join(f'{value:,.0f}' for value in row)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything, and write it down."""
    rates: dict[str, list[float]] = {name: [] for name in WHERE}
    for number in range(ROUNDS):
        for name in list(WHERE)[:: 1 if number % 2 else -1]:
            rates[name].append(session(2, WHERE[name])["frames_per_second"])
            print(name, round(rates[name][-1]), flush=True)
    ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
    driver = {
        name: session(MANY, address, learning=False)["main_seconds"] / CONFIG.num_games
        for name, address in WHERE.items()
    }
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serial = serial_shares()
    ray.shutdown()
    result = {"frames_per_second": rates, "ratio": ratio, "driver_seconds_a_piece": driver, "serial": serial}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(tables(result))
    print(tables(result))


if __name__ == "__main__":
    main()
