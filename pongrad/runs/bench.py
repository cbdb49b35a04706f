"""How fast: collecting, training, the emulator alone (the ceiling) and the script `classic.py`.

All are measured in turn, round after round, so that a machine whose speed drifts treats them alike;
trust the ratios.
"""

import itertools
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

import psutil

from pongrad.games.environment import Environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.learning.learners import Learner, first_games, new_agent, new_learner, play_for
from pongrad.learning.recipes import Classic, Fast, Recipe
from pongrad.network.agent import Agent
from pongrad.playing.rollout import Segment, next_game
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers

UPDATES = {"fast": 8, "classic": 1}
"""How many updates' worth of play is measured at once: two to four seconds of each recipe."""

SCRIPT_FRAME_SKIP = 4

SECONDS_AN_UPDATE = 5.0
"""Who has fewer for each of these updates gets shorter rounds."""


def bench(seconds: float, workers: int) -> dict[str, Any]:
    """Measure for about so many seconds (at least one round of each recipe).

    Args:
        seconds: of measuring, three quarters of them for recipe fast.
        workers: processes that play, and that replay.

    Returns:
        workers; of recipe fast emulator_frames_per_second (what the emulator alone makes of the same actions
        from the same game states, all processes together, see `replay`), collect_frames_per_second,
        train_frames_per_second, collect_ratio and train_ratio (to the emulator's); of recipe classic
        classic_engine_frames_per_second and classic_script_frames_per_second: medians over the rounds;
        peak_rss_bytes (of all processes).
    """
    with peak_rss() as peak:
        fast = _medians(Fast(seed=0, learning_rate=0.0), workers, seconds * 0.75, _fast_rounds)
        classic = _medians(Classic(seed=0, learning_rate=0.0), workers, seconds * 0.25, _classic_rounds)
    return {"workers": workers, **fast, **classic, "peak_rss_bytes": peak[0]}


def _medians(config: Recipe, workers: int, seconds: float, measure: "_Rounds") -> dict[str, float]:
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
        for each in measure(played):
            rounds.append(each)
            if time.monotonic() >= end:
                break
    return {key: round(statistics.median(each[key] for each in rounds), 4) for key in rounds[0]}


def _fast_rounds(played: "_Played") -> Iterator[dict[str, float]]:
    before = played.emulator_rate()
    while True:
        collect = played.rate(learning=False)
        between = played.emulator_rate()
        train = played.rate(learning=True)
        after = played.emulator_rate()
        yield {
            "emulator_frames_per_second": statistics.fmean([before, between, after]),
            "collect_frames_per_second": collect,
            "train_frames_per_second": train,
            "collect_ratio": collect / statistics.fmean([before, between]),
            "train_ratio": train / statistics.fmean([between, after]),
        }
        before = after


def _classic_rounds(played: "_Played") -> Iterator[dict[str, float]]:
    for seed in itertools.count():
        yield {
            "classic_engine_frames_per_second": played.rate(learning=True),
            "classic_script_frames_per_second": _script_rate(seed),
        }


_Rounds = Callable[["_Played"], Iterator[dict[str, float]]]


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


Recorded = list[tuple[Game, list[int], Game]]
"""Of each segment the game before it, the actions (Gymnasium's numbers), and the game after it."""


class _Played:
    """A few updates of a recipe: played again and again, and by the emulator alone.

    Two more are played and not timed, for training knows neither: one before them, which begins with idle
    workers, and one after them, at whose end one worker waits for the other.
    """

    def __init__(
        self, config: Recipe, agent: Agent, shared: SharedAgent, team: Workers, updates: int
    ) -> None:
        self._config = config
        self._agent = agent
        self._shared = shared
        self._team = team
        self._updates = updates
        self._learner = new_learner(config, agent)
        self._recorded: Recorded = []
        games = first_games(config, Purpose.BENCHMARK)
        for number, played in enumerate(self._play(None)):
            for slot, segments in enumerate(played):
                for rollout, after in segments:
                    if 1 <= number <= updates:
                        actions = [agent.actions[action] for action in rollout.actions]
                        self._recorded.append((games[slot], actions, after))
                    games[slot] = next_game(after, len(games))
        self._frames = sum(after.frames - game.frames for game, _, after in self._recorded)

    def _play(self, learner: Learner | None) -> Iterator[list[list[Segment]]]:
        games = first_games(self._config, Purpose.BENCHMARK)
        everything = play_for(learner, self._config, self._team, games, 1 + self._updates + 1)
        for number, played in enumerate(everything):
            yield played
            if learner:
                learner.update(number, 0)
                self._shared.publish(self._agent.network.weights, learner.moved)

    def rate(self, learning: bool) -> float:
        """Frames a second, playing as training does, with or without the learning."""
        ends = [time.perf_counter() for _ in self._play(self._learner if learning else None)]
        return self._frames / (ends[self._updates] - ends[0])

    def emulator_rate(self) -> float:
        """Frames a second of the emulator alone: the workers share what was played and replay it at once."""
        shares = [self._recorded[first :: len(self._team)] for first in range(len(self._team))]
        return sum(self._team.ask(replay, shares))


def replay(agent: Agent, recorded: Recorded, emulator: Environment) -> float:
    """Frames a second of the emulator alone: it takes up each game and plays the same actions.

    Nothing is looked at, decided, written down or saved. It is the very emulator that collects: another one
    in the same process may be a hundredth slower or faster, for nothing but where its memory lies.
    """
    frames, seconds = 0, 0.0
    for game, actions, after in recorded:
        timings = list(itertools.islice(emulator.timings(game), len(actions)))
        start = time.perf_counter()
        emulator.restore(game)
        for action, timing in zip(actions, timings, strict=True):
            emulator.act(action, timing)
        seconds += time.perf_counter() - start
        assert emulator.save() == after.state, "went another way"
        frames += after.frames - game.frames
    return frames / seconds if recorded else 0.0


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
    return SCRIPT_FRAME_SKIP * steps / (lines[-1][0] - lines[0][0])


@contextmanager
def peak_rss() -> Iterator[list[int]]:
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
