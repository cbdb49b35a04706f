"""What is rewarded where a game gives no reward: worked by hand, and given only then."""

import numpy as np
import pytest

from pongrad.games import environment
from pongrad.learning.learners import first_games, new_agent, new_learner
from pongrad.learning.novelty import Novelty
from pongrad.learning.ppo import PPO
from pongrad.learning.recipes import Fast
from pongrad.network.network import Network
from pongrad.playing.play import play
from pongrad.playing.rollout import Rollout
from pongrad.vision.inputs import Inputs


def inputs(*steps):
    """Sparse inputs, from the places that are on in each step."""
    offsets = np.cumsum([0, *map(len, steps)])
    pixels = np.array([place for step in steps for place in step], np.uint16)
    return Inputs(offsets, pixels, np.ones(len(pixels), np.int8))


def rollout(*steps, rewards=None):
    """A rollout that sees these inputs, the last one after its last action."""
    count = len(steps) - 1
    never = np.zeros(count, bool)
    rewards = np.zeros(count, np.float32) if rewards is None else np.array(rewards, np.float32)
    x = inputs(*steps)
    parts = x.slice(0, count), x.slice(count, count + 1)
    return Rollout(*parts, np.zeros(count, np.uint8), np.zeros(count), rewards, never, never, 4, 0.0)


def test_novelty_worked_by_hand():
    """Counts 0, 3 and 8 give 1, 1/2 and 1/3; a step gets what it leads to, over the mean of all."""
    novelty = Novelty(4)
    novelty.counts[:] = [0, 3, 8, 0]
    first, second = novelty.rewards([rollout([3], [0, 1], [2]), rollout([3], [])])
    mean = (3 / 4 + 1 / 3 + 0) / 3
    np.testing.assert_allclose(first, [3 / 4 / mean - 1, 1 / 3 / mean - 1])
    np.testing.assert_allclose(second, [-1])
    assert novelty.counts.tolist() == [1, 4, 9, 0]


@pytest.mark.parametrize("rewards", [[0, 0, 0], [0, 1, 0]])
def test_only_an_update_without_reward_asks_for_novelty(rewards):
    network = Network.random((4, 3, 3), np.random.default_rng(0))
    learner = PPO(network, ("LEFT", "RIGHT"), Fast(minibatches=1, epochs=1))
    learner.novelty.counts[:] = before = [3, 8, 0, 0]
    learner.add(rollout([0], [1], [2], [0, 3], rewards=rewards), False)
    metrics = learner.update(0, 0)
    assert (metrics["novelty"] > 0) == (not any(rewards))
    assert learner.state["counts"].tolist() == (before if any(rewards) else [4, 9, 1, 1])


def test_what_is_new_is_sought():
    """Of two actions, the one that leads to what has seldom been seen becomes likelier."""
    network = Network.random((3, 8, 3), np.random.default_rng(0), "float64")
    learner = PPO(network, ("OLD", "NEW"), Fast(minibatches=1, epochs=1, learning_rate=0.02))
    learner.novelty.counts[:] = [1000, 1000, 0]
    before = network.forward(inputs([0]))[0]
    for action in (0, 1) * 4:
        step = rollout([0], [1 + action])
        step.actions[0] = action
        step.log_probabilities[0] = np.log(0.5)
        learner.add(step, False)
    learner.update(0, 0)
    after = network.forward(inputs([0]))[0]
    assert after[1] - after[0] > before[1] - before[0]


def test_freeway_is_such_a_game():
    """Random play crosses no road."""
    config = Fast(game="ALE/Freeway-v5", num_games=2, num_hidden_layer_neurons=8)
    agent = new_agent(config)
    learner, games = new_learner(config, agent), first_games(config)
    for update in range(2):
        rollouts, games = play(agent, games, 64, environment.make(config.environment))
        for each, game in zip(rollouts, games, strict=True):
            learner.add(each, game.terminated)
        assert (learner.update(update, 0)["novelty"] > 0) == (update > 0)  # at first all is as new
