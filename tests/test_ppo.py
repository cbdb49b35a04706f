"""Recipe fast's learner: its gradient is the derivative of its objective, and its rollouts are its games."""

from dataclasses import replace
from types import SimpleNamespace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from conftest import FAST_VISION

from pongrad.learning import learners
from pongrad.learning.learners import first_games, new_agent, new_learner, next_games, play_for
from pongrad.learning.ppo import PPO, objective_gradient
from pongrad.learning.recipes import Fast
from pongrad.learning.returns import generalised_advantages
from pongrad.network import policy
from pongrad.network.network import Network
from pongrad.playing.play import play, play_on
from pongrad.playing.rollout import Rollout
from pongrad.playing.shared import SharedAgent
from pongrad.playing.workers import Workers

STEPS = 40


ACTIONS = 4
NAMES = "NOOP", "FIRE", "RIGHT", "LEFT"


def objective(logits, values, actions, old_log_p, advantages, returns, clip, entropy, barrier, value):
    """Schulman et al. 2017, equation 9, word for word, and the barrier."""
    p = anp.exp(logits) / anp.sum(anp.exp(logits), axis=1, keepdims=True)
    ratio = p[np.arange(len(actions)), actions] / anp.exp(old_log_p)
    clipped = anp.clip(ratio, 1 - clip, 1 + clip)
    gain = anp.minimum(ratio * advantages, clipped * advantages)
    undecided = -anp.sum(p * anp.log(p), axis=1)
    wall = anp.mean(anp.log(p), axis=1)
    return anp.mean(gain + entropy * undecided + barrier * wall - value * (values - returns) ** 2)


def log_probability(actions, logits):
    return policy.softmax(logits)[1][np.arange(len(actions)), actions]


@pytest.fixture
def steps():
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((STEPS, ACTIONS))
    actions = rng.integers(0, ACTIONS, STEPS).astype(np.uint8)
    return {
        "actions": actions,
        "old_log_p": log_probability(actions, logits + 0.5 * rng.standard_normal(logits.shape)),
        "advantages": rng.standard_normal(STEPS),
        "returns": rng.standard_normal(STEPS),
    }, np.column_stack([logits, rng.standard_normal(STEPS)])


def test_the_gradient_is_autograds(steps):
    batch, out = steps
    how = 0.2, 0.03, 0.02, 0.5
    got, losses, probabilities = objective_gradient(out, *batch.values(), *how)
    want = autograd.grad(lambda out: objective(out[:, :-1], out[:, -1], *batch.values(), *how))(out)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    assert 0.1 < losses["clip_fraction"] < 0.9  # both branches were taken
    assert np.count_nonzero(got[:, -1]) == STEPS
    odds = np.exp(out[:, :-1])
    np.testing.assert_allclose(probabilities, (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0))
    total = objective(out[:, :-1], out[:, -1], *batch.values(), 0.2, 0.03, 0.0, 0.5)
    parts = -losses["policy_loss"] + 0.03 * losses["entropy"] - 0.5 * losses["value_loss"]
    assert parts == pytest.approx(total)
    old, new = np.exp(batch["old_log_p"]), np.exp(log_probability(batch["actions"], out[:, :-1]))
    assert losses["approx_kl"] == pytest.approx(np.mean(new / old - 1 - np.log(new / old)))


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.3, 1, False), (1.3, -1, True), (0.7, -1, False), (0.7, 1, True), (1.1, 1, True), (0.9, -1, True)],
)
def test_clipping_stops_only_what_has_gone_far_enough(ratio, advantage, moves):
    out = np.array([[0.3, -0.2, 0.1, 0.0]])
    actions = np.zeros(1, np.uint8)
    old = log_probability(actions, out[:, :-1]) - np.log(ratio)
    d_out, *_ = objective_gradient(
        out, actions, old, np.array([float(advantage)]), np.zeros(1), 0.2, 0.0, 0.0, 0.5
    )
    p = policy.softmax(out[:, :-1])[0][0]
    want = ratio * advantage * (np.array([1, 0, 0]) - p) if moves else np.zeros(3)
    np.testing.assert_allclose(d_out[0, :-1], want, atol=1e-12)


def test_a_game_that_was_cut_off_is_not_given_as_ended(new_game):
    given = []
    learner = SimpleNamespace(add=lambda rollout, terminated: given.append(terminated))
    ends = ({}, {"terminated": True}, {"truncated": True}, {"terminated": True, "truncated": True})
    learners._add(learner, [(None, new_game()._replace(**end)) for end in ends])
    assert given == [False, True, False, True]


def test_huge_logits_do_not_overflow():
    out = np.array([[1e4, 0.0, 0.0], [-1e4, 0.0, 0.0]], np.float32)
    zeros, ones = np.zeros(2, np.float32), np.ones(2, np.float32)
    actions = np.array([0, 1], np.uint8)
    with np.errstate(over="raise", invalid="raise"):
        d_out, losses, _ = objective_gradient(out, actions, zeros, ones, zeros, 0.2, 0.01, 0.01, 0.5)
    assert np.isfinite(d_out).all() and np.isfinite(list(losses.values())).all()


@pytest.mark.parametrize(("frames", "share"), [(0, 1.0), (1000, 0.1)])
def test_an_update_is_the_slope_of_the_whole_objective(frames, share, random_inputs):
    """From sparse inputs to weights, one epoch in one piece: against autograd through a dense network.

    At the schedule's end a tenth is left of 1 - gamma and of the bonuses, and its root of the learning rate.
    """
    rng = np.random.default_rng(1)
    config = Fast(
        epochs=1, minibatches=1, num_hidden_layer_neurons=7, learning_rate=1e-9, schedule_frames=1000
    )
    network = Network.random((30, 7, ACTIONS + 1), rng, "float64")
    start = [w.copy() for w in network.weights.values()]
    learner = PPO(network, NAMES, config)
    rollouts = []
    for seed, terminated in ((1, False), (2, True), (3, False)):
        (x, dense_x), (after, dense_after) = random_inputs(12, 30, seed), random_inputs(2, 30, seed + 9)
        after, dense_after = after.take(np.array([1])), dense_after[1:]
        rewards = np.zeros(12, np.float32)
        rewards[4] = -1  # none at the end: only `terminated` says whether something would have followed
        actions = rng.integers(0, ACTIONS, 12).astype(np.uint8)
        older = network.forward(x)[:, :-1] + rng.uniform(-0.1, 0.1, (12, ACTIONS))  # a little older
        old, never = log_probability(actions, older), np.zeros(12, bool)
        rollout = Rollout(x, after, actions, old, rewards, never, never, 48, 0.0)
        learner.add(rollout, terminated)
        rollouts.append((rollout, dense_x, dense_after, terminated))

    seen = {}
    step = learner.optimiser.step
    learner.optimiser.step = lambda gradients, active_rows: (
        seen.update({name: g.copy() for name, g in gradients.items()}),
        step(gradients, active_rows),
    )
    losses = learner.update(0, frames)
    assert losses["clip_fraction"] == 0 and losses["learning_rate"] == pytest.approx(share**0.5 * 1e-9)
    assert sum(losses[f"probability/{name}"] for name in NAMES) == pytest.approx(1)

    def forward(x, weights):
        return anp.maximum(x @ weights[0], 0) @ weights[1]

    advantages = np.concatenate(
        [
            generalised_advantages(
                rollout.rewards,
                rollout.rewards != 0,
                forward(x, start)[:, -1],
                0.0 if terminated else forward(after, start)[0, -1],
                1 - share * (1 - config.gamma),
                config.lambda_,
            )
            for rollout, x, after, terminated in rollouts
        ]
    )
    x = np.concatenate([x for _, x, _, _ in rollouts])
    actions = np.concatenate([rollout.actions for rollout, *_ in rollouts])
    old = np.concatenate([rollout.log_probabilities for rollout, *_ in rollouts])
    returns = advantages + forward(x, start)[:, -1]
    scaled = (advantages - advantages.mean()) / advantages.std()

    def whole(weights):
        out = forward(x, weights)
        return objective(
            out[:, :-1], out[:, -1], actions, old, scaled, returns, config.clip,
            share * 0.01, share * 0.003,
            config.value_coefficient,
        )  # fmt: skip

    for got, want in zip(seen.values(), autograd.grad(whole)(start), strict=True):
        assert np.abs(want).max() > 1e-3
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-11)
    # what was added has been forgotten, and the gradients are zero again
    assert not any(g.any() for g in network.gradients.values())
    assert not any(rows.any() for rows in network.active_rows.values())


def test_bonuses_depend_on_how_seldom_rewards_are():
    assert Fast().bonuses(reward_ends=True) == (0.01, 0.003)
    assert Fast().bonuses(reward_ends=False) == (0.003, 0.001)
    assert Fast(entropy_coefficient=0, log_barrier_coefficient=0.5).bonuses(reward_ends=False) == (0, 0.5)
    bonuses = {
        game: new_learner(Fast(game=game), new_agent(Fast(game=game))).bonuses
        for game in ("ALE/Pong-v5", "ALE/Breakout-v5")
    }
    assert bonuses == {"ALE/Pong-v5": (0.01, 0.003), "ALE/Breakout-v5": (0.003, 0.001)}


def test_the_schedule_runs_over_its_own_frames(random_inputs):
    config = Fast(schedule_frames=1000, learning_rate=0.5, num_hidden_layer_neurons=4)
    learner = PPO(Network.random((30, 4, ACTIONS + 1), np.random.default_rng(0)), NAMES, config)
    x, _ = random_inputs(8, 30)
    rewards = np.array([0, 0, 1, 0, 0, 0, -1, 0], np.float32)
    for frames, rate in ((0, 0.5), (250, 0.5), (625, 0.5 / 10**0.25), (1000, 0.5 / 10**0.5), (1750, 0.05)):
        after, never = x.take(np.array([0])), np.zeros(8, bool)
        learner.add(
            Rollout(x, after, np.zeros(8, np.uint8), np.zeros(8), rewards, never, never, 32, 0.0), False
        )
        assert learner.update(0, frames)["learning_rate"] == pytest.approx(rate)


def test_rewards_are_divided_by_the_scale_of_returns(random_inputs):
    """Values that are 0 miss a return of 1 / 4."""
    network = Network.random((30, 4, 3), np.random.default_rng(0), "float64")
    network.weights["W2"][:] = 0
    learner = PPO(network, ("UP", "DOWN"), Fast(epochs=1, minibatches=1))
    learner.state["mean_square_return"][...] = 1600
    x, _ = random_inputs(1, 30)
    played = np.zeros(1, np.uint8), np.log([0.5]), np.ones(1, np.float32)
    learner.add(Rollout(x, x, *played, np.zeros(1, bool), np.zeros(1, bool), 4, 0.0), True)
    metrics = learner.update(0, 0)
    assert metrics["value_loss"] == pytest.approx(1 / 16)
    assert metrics["return_scale"] == 4
    assert learner.state["mean_square_return"] == pytest.approx(1600 - 1599 / 20)


# --- Rollouts of a fixed length -------------------------------------------------------------------------

SMALL = Fast(num_games=3, rollout_steps=500, epochs=1, num_hidden_layer_neurons=8)


def test_rollouts_of_a_fixed_length_are_whole_games(emulator, new_game, same_rollout):
    """Played on and on they make up the same games as played whole, one after the other in each place."""
    agent = new_agent(SMALL)
    games = first_games(SMALL)
    parts = {}
    for _ in range(4):
        played = play_on(agent, games, SMALL.rollout_steps, SMALL.num_games, 0.0, emulator).segments()
        assert [sum(len(rollout) for rollout, _ in segments) for segments in played] == [500] * 3
        for segments in played:
            for rollout, game in segments:
                parts.setdefault(game.number, []).append((rollout, game))
        games = next_games(played)
    ended = {number: some for number, some in parts.items() if some[-1][1].over}
    assert set(parts) >= {0, 1, 2, 3, 4, 5} and set(ended) >= {0, 1, 2}
    for number, some in ended.items():
        (whole,), (end,) = play(agent, [new_game(number, SMALL.seed)], 27_000, emulator)
        same_rollout(Rollout.join([rollout for rollout, _ in some]), whole)
        assert some[-1][1] == end


def test_what_follows_a_rollout_is_what_the_next_one_sees_first(emulator, new_game):
    agent = new_agent(SMALL)
    game = new_game(5)
    (first,), (game,) = play(agent, [game], 100, emulator)
    (second,), _ = play(agent, [game], 5, emulator)
    np.testing.assert_array_equal(first.next_observation.indices, second.inputs.take(np.array([0])).indices)
    assert len(first.next_observation.indices) > 4


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_workers_plays_the_same_rollouts_one_update_behind(count, emulator, same_rollout):
    """While the second is played the weights after the first are not yet there, and so on."""
    config = Fast(num_games=7, rollout_steps=20, num_hidden_layer_neurons=8)
    agents = [new_agent(replace(config, seed=seed)) for seed in range(5)]
    shared, games = SharedAgent(agents[0]), first_games(config)
    with Workers(shared, count) as team:
        everything = play_for(None, config, team, games, times=4)
        for got, newer, played_by in zip(everything, (1, 2, 3, 4), (0, 0, 1, 2), strict=True):
            want = play_on(agents[played_by], games, 20, 7, 0.0, emulator).segments()
            assert len(got) == len(want) == 7
            for some, wanted in zip(got, want, strict=True):
                for (rollout, game), (rollout_wanted, game_wanted) in zip(some, wanted, strict=True):
                    same_rollout(rollout, rollout_wanted)
                    assert game == game_wanted
            games = next_games(got)
            shared.publish(agents[newer].network.weights)


def test_what_was_played_from_saved_weights_and_games_is_what_would_have_been(emulator, same_rollout):
    """The newest weights and those before, and the games: from these, play goes on the same."""
    config = Fast(num_games=2, rollout_steps=10, num_hidden_layer_neurons=8)
    agents = [new_agent(replace(config, seed=seed)) for seed in range(4)]

    def rollouts(shared, games, times):
        with Workers(shared, 1) as team:
            for played, agent in zip(play_for(None, config, team, games, times), agents[1:], strict=False):
                yield played
                shared.publish(agent.network.weights)

    whole = list(rollouts(SharedAgent(agents[0]), first_games(config), 3))
    later = SharedAgent(agents[0])
    later.publish(agents[1].network.weights)
    again = list(rollouts(later, next_games(whole[0]), 1))
    for segments, wanted in zip(again[0], whole[1], strict=True):
        for (rollout, _), (want, _) in zip(segments, wanted, strict=True):
            same_rollout(rollout, want)


@pytest.mark.parametrize("network", ["sparse", "conv"])
def test_an_update_names_the_rows_that_it_moves(network, emulator):
    """No other row differs afterwards: workers are sent these alone."""
    config = Fast(num_games=2, rollout_steps=16, num_hidden_layer_neurons=8, network=network)
    agent = new_agent(config)
    learner, games = new_learner(config, agent), first_games(config)
    for number in range(2):
        before = agent.copy().network.weights
        places = play_on(agent, games, 16, 2, 0.0, emulator).segments()
        for rollout, _ in [place[0] for place in places]:
            learner.add(rollout, terminated=False)
        learner.update(number, 0)
        for name, array in agent.network.weights.items():
            differ = (array != before[name]).reshape(len(array), -1).any(1)
            assert not differ[~learner.moved[name]].any() and differ.any()
        games = next_games(places)
    assert network == "conv" or learner.moved["W1"].mean() < 0.1


def test_a_new_agent_is_undecided():
    config = Fast()
    agent = new_agent(config)
    assert agent.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    assert agent.actions == (0, 1, 2, 3, 4, 5)
    assert agent.vision == FAST_VISION
    assert {name: w.shape for name, w in agent.network.weights.items()} == {
        "W1": (agent.vision.size, 200),
        "W2": (200, 7),
    }
    assert all(w.dtype == np.float32 for w in agent.network.weights.values())
    assert np.std(agent.network.weights["W1"]) == pytest.approx(0.05, rel=0.01)
    assert np.abs(agent.network.weights["W2"][:, :-1]).max() < 0.01
    assert repr(new_learner(config, agent)).startswith("PPO(LazyRMSProp(")
