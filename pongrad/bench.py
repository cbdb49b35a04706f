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
from collections.abc import Callable, Iterator
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
    SCREEN,
    Emulator,
    Purpose,
    ale_seed,
    environment_options,
    load_cartridge,
)
from pongrad.learners import Learner, first_games, new_agent, new_learner, play_for
from pongrad.play import Stretch
from pongrad.recipes import Classic, Fast, Recipe
from pongrad.shared import SharedAgent
from pongrad.workers import Workers

UPDATES = {"fast": 8, "classic": 1}
"""How many updates' worth of play is measured at once: two to four seconds of each recipe."""

SECONDS_AN_UPDATE = 5.0
"""Who has fewer for each of these updates gets shorter rounds."""


def bench(seconds: float, workers: int) -> dict[str, Any]:
    """Measure for about so many seconds (at least one round of each recipe).

    Args:
        seconds: of measuring, half for each recipe.
        workers: processes that play, and that replay.

    Returns:
        workers; of recipe fast emulator_frames_per_second (what the emulator alone makes of the same games
        and actions, with the screens that any agent must read, all processes together),
        collect_frames_per_second, train_frames_per_second, collect_ratio and train_ratio (to the
        emulator's just before and after); of recipe classic
        classic_engine_frames_per_second and classic_script_frames_per_second: medians over the rounds;
        peak_rss_bytes (of all processes).
    """
    with _peak_rss() as peak:
        fast = _rounds(Fast(seed=0, learning_rate=0.0), workers, seconds / 2, _fast_round)
        classic = _rounds(Classic(seed=0, learning_rate=0.0), workers, seconds / 2, _classic_round)
    return {"workers": workers, **fast, **classic, "peak_rss_bytes": peak[0]}


def _rounds(config: Recipe, workers: int, seconds: float, one_round: "_Round") -> dict[str, float]:
    """Medians over as many rounds as fit.

    With the learning rate of 0 that `config` has, the same games come out every time, and the learner works
    no less.
    """
    rounds: list[dict[str, float]] = []
    agent = new_agent(config)
    shared = SharedAgent(agent)
    with Workers(shared, workers) as team:
        updates = max(1, min(UPDATES[config.recipe], int(seconds / SECONDS_AN_UPDATE)))
        played = _Played(config, agent, shared, team, updates)
        end = time.monotonic() + seconds
        while not rounds or time.monotonic() < end:
            rounds.append(one_round(played, len(rounds)))
    return {key: round(statistics.median(each[key] for each in rounds), 4) for key in rounds[0]}


def _fast_round(played: "_Played", number: int) -> dict[str, float]:
    if number == 0:
        played.emulator_rate()  # loads the cartridges, one after the other
    before = played.emulator_rate()
    collect = played.rate(learning=False)
    between = played.emulator_rate()
    train = played.rate(learning=True)
    after = played.emulator_rate()
    return {
        "emulator_frames_per_second": statistics.fmean([before, between, after]),
        "collect_frames_per_second": collect,
        "train_frames_per_second": train,
        "collect_ratio": collect / statistics.fmean([before, between]),
        "train_ratio": train / statistics.fmean([between, after]),
    }


def _classic_round(played: "_Played", number: int) -> dict[str, float]:
    return {
        "classic_engine_frames_per_second": played.rate(learning=True),
        "classic_script_frames_per_second": _script_rate(seed=number),
    }


_Round = Callable[["_Played", int], dict[str, float]]


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    ceiling = result["emulator_frames_per_second"]
    rows = [f"{result['workers']} workers, frames a second and share of the emulator's ceiling"]
    for key, label in (
        ("emulator", "emulator alone"),
        ("collect", "recipe fast, collecting"),
        ("train", "recipe fast, training"),
        ("classic_engine", "recipe classic"),
        ("classic_script", "classic.py"),
    ):
        rate = result[f"{key}_frames_per_second"]
        share = result.get(f"{key}_ratio", rate / ceiling)
        rows.append(f"  {label:<24}{rate:>10,.0f}{share:>8.3f}")
    speedup = result["classic_engine_frames_per_second"] / result["classic_script_frames_per_second"]
    rows.append(f"The engine runs recipe classic {speedup:.2f} times as fast as classic.py.")
    rows.append(f"Peak memory of all processes: {result['peak_rss_bytes'] / 2**20:,.0f} MiB")
    return "\n".join(rows)


Recorded = list[tuple[str, int, NDArray[np.uint8]]]
"""Gymnasium id, seed of `env.reset` and actions of each game."""


class _Played:
    """The first updates of a recipe: played again and again, and by the emulator alone."""

    def __init__(
        self, config: Recipe, agent: Agent, shared: SharedAgent, team: Workers, updates: int
    ) -> None:
        self._config = config
        self._agent = agent
        self._shared = shared
        self._team = team
        self._updates = updates
        self._learner = new_learner(config, agent)
        actions: dict[int, list[NDArray[np.uint8]]] = {}
        games = {}
        for stretches in self._play(None):
            for rollout, game in stretches:
                actions.setdefault(game.number, []).append(rollout.actions)
                games[game.number] = game
        self._recorded = [
            (game.id, game.env_seed, np.concatenate(actions[number])) for number, game in games.items()
        ]
        self._frames = FRAMES_A_STEP * sum(len(actions) for *_, actions in self._recorded)

    def _play(self, learner: Learner | None) -> Iterator[list[Stretch]]:
        games = first_games(self._config, Purpose.BENCHMARK)
        everything = play_for(learner, self._config, self._team, games, self._updates)
        for number, played in enumerate(everything):
            if learner:
                learner.update(number, 0)
                self._shared.publish(self._agent.network.weights)
            yield from played

    def rate(self, learning: bool) -> float:
        """Frames a second, playing as training does, with or without the learning."""
        start = time.perf_counter()
        for _ in self._play(self._learner if learning else None):
            pass
        return self._frames / (time.perf_counter() - start)

    def emulator_rate(self) -> float:
        """Frames a second of the emulator alone: the workers share the games and replay them all at once."""
        shares = [self._recorded[first :: len(self._team)] for first in range(len(self._team))]
        return sum(self._team.everywhere(replay, shares))


def replay(agent: Agent, recorded: Recorded, emulator: Emulator) -> float:
    """Frames a second of bare emulators in these games: each step's screen is read, nothing is decided.

    They skip frames and repeat actions by themselves, which is the fastest they can do.
    """
    frames, seconds, screen = 0, 0.0, np.empty(SCREEN, np.uint8)
    for game_id, env_seed, actions in recorded:
        ale, start_of_game = _bare_emulator(game_id, env_seed)
        ale.reset_game()  # forgets the last action, which a sticky first frame would repeat
        ale.restoreState(start_of_game)
        choices = [ale.getMinimalActionSet()[number] for number in agent.actions]
        actions_of_game = [choices[action] for action in actions]
        act, get_screen = ale.act, ale.getScreen
        start = time.perf_counter()
        for action in actions_of_game:
            act(action)
            get_screen(screen)
        seconds += time.perf_counter() - start
        steps = -(-ale.getEpisodeFrameNumber() // FRAMES_A_STEP)
        assert steps == len(actions), "went another way"
        frames += FRAMES_A_STEP * steps
    return frames / seconds if recorded else 0.0


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
