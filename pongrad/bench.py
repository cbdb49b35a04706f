"""How fast: collecting, training, the emulator alone (the ceiling) and the script `classic.py`.

All are measured in turn, round after round, so that a machine whose speed drifts treats them alike;
trust the ratios.
"""

import multiprocessing
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from pongrad.agent import Agent
from pongrad.games import (
    FRAMES_A_STEP,
    Game,
    Purpose,
    ale_seed,
    environment_options,
    load_cartridge,
    seed_sequence,
)
from pongrad.network import Network
from pongrad.play import Rollout
from pongrad.recipes import ACTIONS, Classic
from pongrad.reinforce import Reinforce
from pongrad.vision import Vision
from pongrad.workers import Workers

SCRIPT_LINE = re.compile(r"game \d+: .* (\d+) steps")


@dataclass
class Meter:
    """Frames and the seconds they took."""

    frames: float = 0.0
    seconds: float = 0.0

    def add(self, steps: int, seconds: float) -> None:
        """Count so many steps in so many seconds."""
        self.frames += FRAMES_A_STEP * steps
        self.seconds += seconds

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds


@dataclass
class _Meters:
    emulator: Meter = field(default_factory=Meter)
    collect: Meter = field(default_factory=Meter)
    train: Meter = field(default_factory=Meter)
    script: Meter = field(default_factory=Meter)


def bench(seconds: float, workers: int) -> dict[str, Any]:
    """Measure for about so many seconds (at least one round).

    Args:
        seconds: of measuring.
        workers: processes that play; as many replay the ceiling.

    Returns:
        workers, emulator_frames_per_second (what the emulator alone makes of the same games and actions,
        all processes together), collect_frames_per_second, train_frames_per_second, collect_ratio and
        train_ratio (to the emulator's), classic_engine_frames_per_second,
        classic_script_frames_per_second, peak_rss_bytes (of the whole process tree).
    """
    config = Classic(seed=0)
    rng = np.random.default_rng(seed_sequence(config.seed, Purpose.WEIGHTS))
    network = Network.random((Vision().size, config.num_hidden_layer_neurons, 1), rng)
    agent = Agent(network, config.game, ACTIONS[config.game])
    meters = _Meters()
    with _peak_rss() as peak, Workers(agent, workers) as team:
        learner = Reinforce(team.agent.network, config.gamma, 0.0, config.decay_rate)  # learns at no rate
        _play(team, config, 0, learner)  # everybody is awake before the clock starts
        end = time.monotonic() + seconds
        number = config.batch_size
        while not meters.script.frames or time.monotonic() < end:
            games, took = _play(team, config, number)
            meters.collect.add(sum(len(rollout) for rollout, _ in games), took)
            _replay(games, workers, meters.emulator)
            trained, took = _play(team, config, number + config.batch_size, learner)
            meters.train.add(sum(len(rollout) for rollout, _ in trained), took)
            _run_script(meters.script, seed=number)
            number += 2 * config.batch_size
    ceiling = meters.emulator.rate
    return {
        "workers": workers,
        "emulator_frames_per_second": round(ceiling, 1),
        "collect_frames_per_second": round(meters.collect.rate, 1),
        "train_frames_per_second": round(meters.train.rate, 1),
        "collect_ratio": round(meters.collect.rate / ceiling, 4),
        "train_ratio": round(meters.train.rate / ceiling, 4),
        "classic_engine_frames_per_second": round(meters.train.rate, 1),
        "classic_script_frames_per_second": round(meters.script.rate, 1),
        "peak_rss_bytes": peak[0],
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    ceiling = result["emulator_frames_per_second"]
    rows = [f"{result['workers']} workers, frames a second and share of the emulator's ceiling"]
    for key, label in (
        ("emulator", "emulator alone"),
        ("collect", "engine, collecting"),
        ("train", "engine, training"),
        ("classic_script", "classic.py, training"),
    ):
        rate = result[f"{key}_frames_per_second"]
        rows.append(f"  {label:<22}{rate:>10,.0f}{rate / ceiling:>8.3f}")
    speedup = result["classic_engine_frames_per_second"] / result["classic_script_frames_per_second"]
    rows.append(f"The engine trains {speedup:.2f} times as fast as classic.py.")
    rows.append(f"Peak memory of all processes: {result['peak_rss_bytes'] / 2**20:,.0f} MiB")
    return "\n".join(rows)


def _play(
    team: Workers, config: Classic, first: int, learner: Reinforce | None = None
) -> tuple[list[tuple[Rollout, Game]], float]:
    """One batch of whole games as training plays it, with or without learning, and how long it took."""
    numbers = range(first, first + config.batch_size)
    games = [Game(config.game, config.seed, Purpose.BENCHMARK, number) for number in numbers]
    start = time.perf_counter()
    played = []
    for rollout, game in team.finish(games):
        if learner:
            learner.add(rollout)
        played.append((rollout, game))
    if learner:
        learner.update()
    return played, time.perf_counter() - start


def _replay(games: list[tuple[Rollout, Game]], workers: int, meter: Meter) -> None:
    """Play the same games again with the same actions on bare emulators, in as many processes."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(replay, game.id, game.env_seed, rollout.actions) for rollout, game in games]
        for job, (rollout, _) in zip(jobs, games, strict=True):
            # As if the load were shared out perfectly: the ceiling is a ceiling.
            meter.add(len(rollout), job.result() / workers)


def replay(game_id: str, env_seed: int, actions: NDArray[np.uint8]) -> float:
    """Seconds that a bare emulator needs for a game: no screen is read, nothing is decided.

    The emulator skips frames and repeats actions by itself, which is the fastest it can do.
    """
    ale = load_cartridge(environment_options(game_id), ale_seed(env_seed))
    choices = [ale.getMinimalActionSet()[number] for number in ACTIONS[game_id]]
    sequence = [choices[action] for action in actions]
    act = ale.act
    start = time.perf_counter()
    for action in sequence:
        act(action)
    seconds = time.perf_counter() - start
    assert ale.game_over(), "the replayed game went another way"
    return seconds


def _run_script(meter: Meter, seed: int, games: int = 11) -> None:
    """Let `classic.py` play and learn; its first game, with the start-up, does not count."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pongrad.classic", f"--games={games}", f"--seed={seed}"]
        script = subprocess.Popen(
            [*command, f"--file={Path(folder, 'classic.npz')}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert script.stdout is not None
        last = None
        for line in script.stdout:
            now = time.perf_counter()
            if last is not None and (match := SCRIPT_LINE.match(line)):
                meter.add(int(match[1]), now - last)
            last = now
        if script.wait() != 0:
            raise RuntimeError(f"{' '.join(command)} failed with exit code {script.returncode}")


@contextmanager
def _peak_rss() -> Iterator[list[int]]:
    """Watch the memory of this process and all below it; the list's one number is the peak so far."""
    peak, done, me = [0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not done.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it has just ended
                    continue
            peak[0] = max(peak[0], total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
