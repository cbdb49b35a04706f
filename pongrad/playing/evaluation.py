"""How good an agent is: fresh games that no training has seen."""

import math
import statistics
from collections.abc import Callable
from typing import Any

from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.games.scores import reference
from pongrad.ground.system import cores
from pongrad.network.agent import Agent
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers


def evaluate(
    agent: Agent,
    games: int,
    seed: int,
    workers: int | None,
    on_game: Callable[[Game], None] = lambda game: None,
    cluster: str | None = None,
) -> dict[str, Any]:
    """Play fresh games, as the environment defines them.

    Args:
        agent: who plays, in its own way (`agent.greedy`).
        games: how many, at least 1.
        seed: what the games' randomness comes from; training never uses these streams.
        workers: processes, None: one a core; the result does not depend on it.
        on_game: called with each finished game.
        cluster: address of the Ray cluster where the workers are; None: here.

    Returns:
        game, games, mean_score, standard_error (of the mean, 0 for a single game), wins, losses (games above
        and below 0 in a duel, else None), human_normalised (None where no scores are known), frames, seed.
    """
    scores: list[float] = []
    frames = 0
    shared = SharedAgent(agent)
    most = math.ceil(games / (shared.games_side_by_side or 1))
    with Workers(shared, min(workers or (most if cluster else cores()), most), cluster) as team:
        fresh = [Game(agent.game, seed, Purpose.EVALUATION, number) for number in range(games)]
        for game in team.finish_games(fresh):
            scores.append(game.score)
            frames += game.frames
            on_game(game)
    deviation = statistics.stdev(scores) if games > 1 else 0.0
    mean, known = statistics.fmean(scores), reference(agent.game)
    return {
        "game": agent.game,
        "games": games,
        "mean_score": mean,
        "standard_error": deviation / math.sqrt(games),
        "wins": sum(score > 0 for score in scores) if known.duel else None,
        "losses": sum(score < 0 for score in scores) if known.duel else None,
        "human_normalised": known.human_normalised(mean),
        "frames": frames,
        "seed": seed,
    }
