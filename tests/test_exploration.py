"""Actions that are held where a game gives no reward: when, how often, and what is learned from them."""

from collections import Counter

import numpy as np
import pytest
from test_vision import choose

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose, uniform
from pongrad.learning.learners import new_agent, next_games, play_for
from pongrad.learning.ppo import PPO
from pongrad.learning.recipes import Fast
from pongrad.network.exploration import HOLD_STEPS, NOT_HELD, QUIET_STEPS, held_action
from pongrad.network.network import Network
from pongrad.playing.play import play, play_on
from pongrad.playing.rollout import Rollout
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers
from pongrad.vision.inputs import Inputs

FREEWAY = Fast(game="ALE/Freeway-v5", num_hidden_layer_neurons=4)


def game(number=0, **attributes):
    return Game("ALE/Freeway-v5", 1, Purpose.TRAINING, number, **attributes)


def test_an_action_is_held_in_every_second_game_without_reward():
    assert held_action(game(step=QUIET_STEPS - 1), 9, 0.7) == NOT_HELD
    assert held_action(game(step=QUIET_STEPS), 9, 0.7) != NOT_HELD
    assert held_action(game(1, step=QUIET_STEPS), 9, 0.7) == NOT_HELD
    assert held_action(game(step=QUIET_STEPS, won=1), 9, 0.7) == NOT_HELD
    assert held_action(game(step=QUIET_STEPS, lost=1), 9, 0.7) == NOT_HELD
    begin = QUIET_STEPS - QUIET_STEPS % HOLD_STEPS + HOLD_STEPS
    held = [held_action(game(step=begin + step), 9, 0.7) for step in range(100 * HOLD_STEPS)]
    actions = np.array([action for action, _ in held]).reshape(100, HOLD_STEPS)
    assert {probability for _, probability in held} == {0.7}
    assert (actions == actions[:, :1]).all()
    assert set(actions[:, 0]) == set(range(9))


@pytest.mark.parametrize("greedy", [False, True], ids=["drawn", "greedy"])
def test_a_share_of_all_steps_takes_it(greedy):
    """The others follow the policy, and all have its probability written down."""
    logits = [1.0, -1.0, 0.0]
    odds = np.exp(logits)
    policy = np.eye(len(odds))[0] if greedy else odds / odds.sum()
    n = 20_000
    drawn = [choose(logits, uniform(np.uint64(9), np.uint64(i)), greedy, held=(1, 0.6)) for i in range(n)]
    counts = Counter(action for action, _ in drawn)
    for action, p in enumerate(0.6 * (np.arange(len(odds)) == 1) + 0.4 * policy):
        assert abs(counts[action] - n * p) <= 5 * np.sqrt(n * p * (1 - p))
    for action, log_probability in set(drawn):
        assert log_probability == pytest.approx(np.log(odds[action] / odds.sum()))


def test_freeway_is_crossed():
    """Random play crosses no road."""
    agent = new_agent(FREEWAY)
    emulator, points = environment.make(agent.game), {}
    for probability in (0.0, 0.7):
        games = [game(number) for number in range(4)]
        for _ in range(2000 // 64):
            places = play_on(agent, games, 64, 1, probability, emulator).segments()
            games = next_games(places)
        points[probability] = sum(each.score for each in games)
    assert points[0.0] == 0 < points[0.7]


@pytest.mark.parametrize("network", ["sparse", "conv"])
def test_only_training_holds_actions(network):
    """Workers play what `play_on` plays here; `play`, which evaluates, holds nothing."""
    config = Fast(
        game=FREEWAY.game, network=network, num_games=3, num_hidden_layer_neurons=4, hold_probability=0.9
    )
    agent = new_agent(config)
    emulator = environment.make(agent.game)
    _, quiet = play(agent, [game(number) for number in (0, 2, 4)], QUIET_STEPS, emulator)
    held = np.array([[held_action(each, len(agent.actions), 1.0)[0]] for each in quiet])

    def share_held(rollouts):
        return np.mean(np.array([rollout.actions for rollout in rollouts]) == held)

    alone = play_on(agent, quiet, config.rollout_steps, 3, 0.9, emulator).segments()
    with Workers(SharedAgent(agent), 2) as team:
        (training,) = play_for(None, config, team, quiet, times=1)
    for ((rollout, after),), ((expected, expected_after),) in zip(training, alone, strict=True):
        np.testing.assert_array_equal(rollout.actions, expected.actions)
        assert after == expected_after
        assert rollout.log_probabilities == pytest.approx(np.log(1 / len(agent.actions)), abs=0.1)
    assert share_held([rollout for ((rollout, _),) in training]) > 0.85
    assert share_held(play(agent, quiet, config.rollout_steps, emulator)[0]) < 0.5


def test_a_rewarded_action_is_learned_whatever_made_it_be_taken():
    """The policy takes both actions as often; what is played is nearly always the one that is rewarded."""
    network = Network.random((3, 8, 3), np.random.default_rng(0), "float64")
    learner = PPO(network, ("UP", "DOWN"), Fast(minibatches=1, epochs=1, learning_rate=0.02))
    see = Inputs(np.array([0, 1]), np.array([0], np.uint16), np.ones(1, np.int8))
    before = network.forward(see)[0].copy()
    never = np.zeros(1, bool)
    for draw in (0.1, 0.3, 0.5, 0.92):  # the last one draws UP
        action, log_p = choose([0.0, -0.01], draw, False, held=(1, 0.9))
        given = np.array([action], np.uint8), np.array([log_p]), np.array([action], np.float32)
        learner.add(Rollout(see, see, *given, never, never, 4, 0.0), True)
    learner.update(0, 0)
    after = network.forward(see)[0]
    assert after[1] - after[0] > before[1] - before[0]
