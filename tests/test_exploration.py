"""Actions that are held where a game gives no reward: when, how often, and what is learned from them."""

from collections import Counter

import numpy as np
import pytest
from test_vision import choose

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose, uniform
from pongrad.learning.learners import new_agent, next_games
from pongrad.learning.ppo import PPO
from pongrad.learning.recipes import Fast
from pongrad.network.exploration import HOLD_STEPS, NOT_HELD, QUIET_STEPS, held_action
from pongrad.network.network import Network
from pongrad.playing.play import play, play_on
from pongrad.playing.rollout import Rollout
from pongrad.vision.inputs import Inputs

FREEWAY = Fast(game="ALE/Freeway-v5", num_hidden_layer_neurons=4)


def game(number=0, **attributes):
    return Game("ALE/Freeway-v5", 1, Purpose.TRAINING, number, **attributes)


def test_an_action_is_held_in_a_game_without_reward():
    assert held_action(game(step=QUIET_STEPS - 1), 9, 0.7) == NOT_HELD
    assert held_action(game(step=QUIET_STEPS, won=1), 9, 0.7) == NOT_HELD
    assert held_action(game(step=QUIET_STEPS, lost=1), 9, 0.7) == NOT_HELD
    begin = QUIET_STEPS - QUIET_STEPS % HOLD_STEPS + HOLD_STEPS
    held = [held_action(game(step=begin + step), 9, 0.7) for step in range(100 * HOLD_STEPS)]
    actions = np.array([action for action, _ in held]).reshape(100, HOLD_STEPS)
    assert {probability for _, probability in held} == {0.7}
    assert (actions == actions[:, :1]).all()
    assert set(actions[:, 0]) == set(range(9))


@pytest.mark.parametrize("logits", [[0.5], [1.0, -1.0, 0.0]], ids=str)
@pytest.mark.parametrize("greedy", [False, True], ids=["drawn", "greedy"])
def test_a_share_of_all_steps_takes_it(logits, greedy):
    """The others follow the policy, and all have its probability written down."""
    odds = np.exp(logits if len(logits) > 1 else [*logits, 0])
    policy = np.eye(len(odds))[0] if greedy else odds / odds.sum()
    n = 20_000
    drawn = [choose(logits, uniform(np.uint64(9), np.uint64(i)), greedy, held=(1, 0.6)) for i in range(n)]
    counts = Counter(action for action, _ in drawn)
    for action, p in enumerate(0.6 * (np.arange(len(odds)) == 1) + 0.4 * policy):
        assert abs(counts[action] - n * p) <= 5 * np.sqrt(n * p * (1 - p))
    for action, log_probability in set(drawn):
        assert log_probability == pytest.approx(np.log(odds[action] / odds.sum()))


@pytest.mark.parametrize("network", ["sparse", "conv"])
def test_freeway_is_crossed(network):
    """Random play crosses no road; evaluating, which `play` is for, holds nothing either."""
    agent = new_agent(Fast(game=FREEWAY.game, network=network, num_hidden_layer_neurons=4))
    emulator, points = environment.make(agent.game), {}
    for probability in (0.0, 0.7):
        games = [game(number) for number in range(4)]
        for _ in range(2000 // 64):
            places = play_on(agent, games, 64, 1, probability, emulator).segments()
            games = next_games(places)
        points[probability] = sum(each.score for each in games)
    assert points[0.0] == 0 < points[0.7]


def test_only_play_for_learning_holds_actions():
    agent = new_agent(FREEWAY)
    emulator = environment.make(agent.game)
    _, (quiet,) = play(agent, [game()], QUIET_STEPS, emulator)
    (free,), _ = play(agent, [quiet], 64, emulator)
    (((holding, _),),) = play_on(agent, [quiet], 64, 1, 0.95, emulator).segments()
    action, _ = held_action(quiet, len(agent.actions), 0.95)
    assert (holding.actions == action).mean() > 0.8 > (free.actions == action).mean()
    assert holding.log_probabilities == pytest.approx(np.log(1 / len(agent.actions)), abs=0.1)


def test_what_is_held_and_rewarded_is_learned():
    network = Network.random((3, 8, 3), np.random.default_rng(0), "float64")
    learner = PPO(network, ("UP", "DOWN"), Fast(minibatches=1, epochs=1, learning_rate=0.02))
    see = Inputs(np.array([0, 1]), np.array([0], np.uint16), np.ones(1, np.int8))
    before = network.forward(see)[0].copy()
    never = np.zeros(1, bool)
    for action in (1, 1, 1, 0):  # nearly always the one that is held
        rewards = np.array([action], np.float32)
        given = np.array([action], np.uint8), np.log([0.5]), rewards
        learner.add(Rollout(see, see, *given, never, never, 4, 0.0), True)
    assert learner.update(0, 0)["rewarded"] == 0.75
    after = network.forward(see)[0]
    assert after[1] - after[0] > before[1] - before[0]
