"""How good an agent is: fresh games that no training has seen."""

import math
import statistics
from collections.abc import Callable
from typing import Any

from pongrad.games.game import FRAMES_A_STEP, Game
from pongrad.games.randomness import Purpose
from pongrad.network.agent import Agent
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers


def evaluate(
    agent: Agent,
    games: int,
    seed: int,
    workers: int,
    on_game: Callable[[Game], None] = lambda game: None,
) -> dict[str, Any]:
    """Play fresh games against the computer, with sticky actions as the environment has them.

    Args:
        agent: who plays, in its own way (`agent.greedy`).
        games: how many, at least 1.
        seed: what the games' randomness comes from; training never uses these streams.
        workers: processes; the result does not depend on it.
        on_game: called with each finished game.

    Returns:
        games, mean_score, standard_error (of the mean, 0 for a single game), wins, losses, frames, seed.
    """
    scores: list[int] = []
    steps = 0
    with Workers(SharedAgent(agent), min(workers, games)) as team:
        fresh = [Game(agent.game, seed, Purpose.EVALUATION, number) for number in range(games)]
        for ((_, game),) in team.collect_episodes(fresh):
            scores.append(game.score)
            steps += game.step
            on_game(game)
    deviation = statistics.stdev(scores) if games > 1 else 0.0
    return {
        "games": games,
        "mean_score": statistics.fmean(scores),
        "standard_error": deviation / math.sqrt(games),
        "wins": sum(score > 0 for score in scores),
        "losses": sum(score < 0 for score in scores),
        "frames": steps * FRAMES_A_STEP,
        "seed": seed,
    }
