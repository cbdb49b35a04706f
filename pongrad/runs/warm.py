"""Compile the inner loops ahead: `python -m pongrad.runs.warm`, once after installing.

Numba keeps the machine code on disk, so no training run has to wait for it.
"""

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.learning.learners import new_agent, new_learner
from pongrad.learning.recipes import Classic, Fast, Recipe
from pongrad.playing.play import play


def warm() -> None:
    """Run a few real steps and one update of each recipe, with the types that training uses."""
    config: Recipe
    for config in (
        Fast(num_hidden_layer_neurons=4),
        Classic(num_hidden_layer_neurons=4),
        Fast(num_hidden_layer_neurons=4, network="conv"),
    ):
        agent = new_agent(config)
        learner = new_learner(config, agent)
        game = Game(config.environment, 0, Purpose.BENCHMARK, 0)
        (rollout,), _ = play(agent, [game], 4, environment.make(config.environment))
        learner.add(rollout, terminated=True)
        learner.update(0, 0)


if __name__ == "__main__":
    warm()
