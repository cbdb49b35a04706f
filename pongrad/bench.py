"""How fast: collecting, training, the emulator alone (the ceiling) and the script `classic.py`.

All are measured in turn, round after round, so that a machine whose speed drifts treats them alike;
trust the ratios.
"""

import functools
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ale_py
import numpy as np
import psutil
from numpy.typing import NDArray

from pongrad.agent import Agent
from pongrad.games import (
    FRAMES_A_STEP,
    Emulator,
    Game,
    Purpose,
    ale_seed,
    environment_options,
    load_cartridge,
    seed_sequence,
)
from pongrad.network import Network
from pongrad.recipes import ACTIONS, Classic
from pongrad.reinforce import Reinforce
from pongrad.vision import Vision
from pongrad.workers import Workers


def bench(seconds: float, workers: int) -> dict[str, Any]:
    """Measure for about so many seconds (at least one round).

    Args:
        seconds: of measuring.
        workers: processes that play, and that replay.

    Returns:
        workers, emulator_frames_per_second (what the emulator alone makes of the same games and actions,
        all processes together), collect_frames_per_second, train_frames_per_second, collect_ratio and
        train_ratio (to the emulator's just before and after), classic_engine_frames_per_second,
        classic_script_frames_per_second: medians over the rounds; peak_rss_bytes (of all processes).
    """
    config = Classic(seed=0)
    rng = np.random.default_rng(seed_sequence(config.seed, Purpose.WEIGHTS))
    network = Network.random((Vision().size, config.num_hidden_layer_neurons, 1), rng)
    agent = Agent(network, config.game, ACTIONS[config.game])
    rounds: list[dict[str, float]] = []
    with _peak_rss() as peak, Workers(agent, workers) as team:
        # With a learning rate of 0 the same games come out every time, and the learner works no less.
        learner = Reinforce(team.agent.network, config.gamma, 0.0, config.decay_rate)
        recorded = _recorded(team, config)
        end = time.monotonic() + seconds
        while not rounds or time.monotonic() < end:
            _emulator_rate(team, recorded)  # a core that has rested runs faster at first: not measured
            before = _emulator_rate(team, recorded)
            collect = _train_rate(team, config, None)
            between = _emulator_rate(team, recorded)
            train = _train_rate(team, config, learner)
            after = _emulator_rate(team, recorded)
            rounds.append(
                {
                    "emulator_frames_per_second": statistics.fmean([before, between, after]),
                    "collect_frames_per_second": collect,
                    "train_frames_per_second": train,
                    "collect_ratio": collect / statistics.fmean([before, between]),
                    "train_ratio": train / statistics.fmean([between, after]),
                    "classic_engine_frames_per_second": train,
                    "classic_script_frames_per_second": _script_rate(seed=len(rounds)),
                }
            )
    medians = {key: round(statistics.median(each[key] for each in rounds), 4) for key in rounds[0]}
    return {"workers": workers, **medians, "peak_rss_bytes": peak[0]}


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
        share = result.get(f"{key}_ratio", rate / ceiling)
        rows.append(f"  {label:<22}{rate:>10,.0f}{share:>8.3f}")
    speedup = result["classic_engine_frames_per_second"] / result["classic_script_frames_per_second"]
    rows.append(f"The engine trains {speedup:.2f} times as fast as classic.py.")
    rows.append(f"Peak memory of all processes: {result['peak_rss_bytes'] / 2**20:,.0f} MiB")
    return "\n".join(rows)


Recorded = list[tuple[str, int, NDArray[np.uint8]]]
"""Gymnasium id, seed of `env.reset` and actions of each game."""


def _batch(config: Classic) -> list[Game]:
    numbers = range(config.batch_size)
    return [Game(config.game, config.seed, Purpose.BENCHMARK, number) for number in numbers]


def _recorded(team: Workers, config: Classic) -> Recorded:
    """What the batch's games are, for replaying."""
    return [(game.id, game.env_seed, rollout.actions) for rollout, game in team.finish(_batch(config))]


def _train_rate(team: Workers, config: Classic, learner: Reinforce | None) -> float:
    """Frames a second of one batch of whole games as training plays it; without a learner: collecting."""
    start = time.perf_counter()
    steps = 0
    for rollout, _ in team.finish(_batch(config)):
        steps += len(rollout)
        if learner:
            learner.add(rollout)
    if learner:
        learner.update()
    return FRAMES_A_STEP * steps / (time.perf_counter() - start)


def _emulator_rate(team: Workers, recorded: Recorded) -> float:
    """Frames a second of the emulator alone: every worker replays all games, all at the same time."""
    steps = sum(len(actions) for _, _, actions in recorded)
    return sum(FRAMES_A_STEP * steps / seconds for seconds in team.everywhere(replay, recorded))


def replay(agent: Agent, recorded: Recorded, emulator: Emulator) -> float:
    """Seconds that bare emulators need for these games: no screen is read, nothing is decided.

    They skip frames and repeat actions by themselves, which is the fastest they can do.
    """
    seconds = 0.0
    for game_id, env_seed, actions in recorded:
        ale, start_of_game = _bare_emulator(game_id, env_seed)
        ale.reset_game()  # forgets the last action, which a sticky first frame would repeat
        ale.restoreState(start_of_game)
        choices = [ale.getMinimalActionSet()[number] for number in agent.actions]
        actions_of_game, act = [choices[action] for action in actions], ale.act
        start = time.perf_counter()
        for action in actions_of_game:
            act(action)
        seconds += time.perf_counter() - start
        frames = ale.getEpisodeFrameNumber()
        assert ale.game_over() and frames > FRAMES_A_STEP * (len(actions) - 1), "it went another way"
    return seconds


@functools.cache
def _bare_emulator(game_id: str, env_seed: int) -> tuple[ale_py.ALEInterface, ale_py.ALEState]:
    ale = load_cartridge(environment_options(game_id), ale_seed(env_seed))
    return ale, ale.cloneState(include_rng=True)


def _script_rate(seed: int, games: int = 11) -> float:
    """Frames a second of `classic.py`, playing and learning, from the end of its first game on."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pongrad.classic", f"--games={games}", f"--seed={seed}"]
        script = subprocess.Popen(
            [*command, f"--file={Path(folder, 'classic.npz')}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert script.stdout is not None
        lines = [(time.perf_counter(), line) for line in script.stdout]
        if script.wait() != 0:
            raise RuntimeError(f"{' '.join(command)} failed with exit code {script.returncode}")
    steps = sum(int(re.findall(r"(\d+) steps", line)[0]) for _, line in lines[1:])
    return FRAMES_A_STEP * steps / (lines[-1][0] - lines[0][0])


@contextmanager
def _peak_rss() -> Iterator[list[int]]:
    """Watch the memory of this process and all below it; the list's one number is the peak so far."""
    peak, done, me = [0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not done.wait(0.5):
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
