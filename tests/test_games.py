"""The engine's games are Gymnasium's, and games are values: any process can resume them at any step."""

import pickle
import sys
from itertools import cycle, islice

import ale_py
import numpy as np
import pytest
from conftest import ACTION_NAMES, FAST_VISION, PONG

from pongrad import classic
from pongrad.games import environment
from pongrad.games.colours import CLASSES
from pongrad.games.emulator import Emulator
from pongrad.games.environment import action_names
from pongrad.games.randomness import Purpose
from pongrad.ground.errors import UserError
from pongrad.playing.play import play
from pongrad.playing.rollout import Rollout
from pongrad.vision.pixels import active_pixels
from pongrad.vision.preprocessing import Vision

WHOLE_GAME = 27_000  # steps; no game is longer

# --- Gymnasium's environment, screen for screen and reward for reward -----------------------------------


def assert_same_game(env, emulator, game, actions):
    """Play these actions in both, to the end of the game; return how many steps and what score."""
    vision, out = Vision(), np.empty(6400, np.uint16)
    screen, _ = env.reset(seed=game.env_seed)
    emulator.restore(game)
    timings = emulator.timings(game)
    over, steps, score = False, 0, 0.0
    while True:
        np.testing.assert_array_equal(env.unwrapped.ale.getScreen(), emulator.screen)
        seen = (
            out[: active_pixels(vision.preprocessing_args(emulator.screen), np.empty_like(out), out)]
            // CLASSES
        )
        np.testing.assert_array_equal(classic.preprocess(screen).nonzero()[0], seen)
        assert emulator.over() == over
        if over:
            return steps, score
        action = int(next(actions))
        screen, reward, terminated, truncated, _ = env.step(action)
        assert emulator.act(action, next(timings)) == reward
        over = terminated or truncated
        steps += 1
        score += reward


@pytest.mark.parametrize("number", range(3))
def test_random_games_are_gymnasiums(number, env, emulator, new_game):
    rng = np.random.default_rng(number)
    actions = (rng.integers(6) for _ in range(WHOLE_GAME))
    steps, score = assert_same_game(env, emulator, new_game(number, seed=100), actions)
    assert steps > 700 and score < -10


def test_agents_games_are_gymnasiums(env, emulator, real_games):
    for game, rollout, end in zip(real_games.starts, real_games.rollouts, real_games.ends, strict=True):
        actions = np.array(real_games.agent.actions)[rollout.actions]
        assert set(actions) == {2, 3}
        steps, score = assert_same_game(env, emulator, game, iter(actions))
        assert (steps, score) == (len(rollout), end.score) == (end.step, rollout.rewards.sum())
        assert end.over and end.terminated and not end.truncated and end.lost == 21


def test_a_quarter_of_the_frames_is_sticky(emulator, new_game):
    sticky = np.array(list(islice(emulator.timings(new_game()), 5000))) % 256
    for frames, share in enumerate([3 / 4, 3 / 16, 3 / 64, 3 / 256, 1 / 256]):
        assert (sticky == frames).mean() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("step", [1, 1000, 1023, 1024, 2900])
@pytest.mark.parametrize("game_id", [PONG, "Pong-v0"])
def test_timings_do_not_depend_on_where_a_piece_begins(game_id, step, new_game):
    game, emulator = new_game()._replace(id=game_id), Emulator(game_id)
    want = list(islice(emulator.timings(game), step, step + 2000))
    assert list(islice(emulator.timings(game._replace(step=step)), 2000)) == want


def test_the_frame_limit_cuts_a_game_off_as_in_gymnasium(env, emulator, new_agent, new_game):
    # Nobody plays 108,000 frames in a test: the counters of frames in both emulators' states are put
    # forward instead. They are found as the places that hold the number of frames at two known moments.
    agent, game = new_agent(), new_game()
    counters = set(range(1000))
    for step in (300, 10):
        (rollout,), (stopped,) = play(agent, [game], step, emulator)
        frames = (4 * step).to_bytes(4, "little")
        counters = {i for i in counters if stopped.state[i : i + 4] == frames}
    assert counters

    def put_forward(state):
        state = bytearray(state)
        for i in counters:
            state[i : i + 4] = (108_000 - 20).to_bytes(4, "little")
        return bytes(state)

    late = stopped._replace(state=put_forward(stopped.state))
    (last,), (end,) = play(agent, [late], 50, emulator)
    assert len(last) == 5 and end.over and end.truncated and not end.terminated and end.score == 0

    env.reset(seed=game.env_seed)
    for action in rollout.actions:
        env.step(agent.actions[action])
    ale = env.unwrapped.ale
    state = ale_py.ALEState.__new__(ale_py.ALEState)
    state.__setstate__(put_forward(ale.cloneState().__getstate__()))
    ale.restoreState(state)
    ends = [env.step(agent.actions[action])[2:4] for action in last.actions]
    assert ends == [(False, False)] * 4 + [(False, True)]


@pytest.mark.parametrize("game", ["ALE/Pnog-v5", "ALE/Pong-v99", "os:Pong-v5", "no such game!", "", "a:b:c"])
def test_an_unknown_game_is_the_users_error(game):
    with pytest.raises(UserError, match="unknown game"):
        environment.make(game)


# --- Games are values -----------------------------------------------------------------------------------


def test_pieces_on_any_emulator_are_one_game(real_games, same_rollout):
    # Three games in turn, each handed to and fro between two emulators, and pickled as between processes:
    # whatever an emulator kept of another game, or did not put into the value, would show.
    emulators = cycle([Emulator(PONG), Emulator(PONG)])
    games, pieces = list(real_games.starts), [[] for _ in real_games.starts]
    lengths = cycle([1, 2, 33, 1, 107, 5, 251, 64])
    while not all(game.over for game in games):
        length = next(lengths)
        for i, game in enumerate(games):
            if not game.over:
                game = pickle.loads(pickle.dumps(game))
                (rollout,), (games[i],) = play(real_games.agent, [game], length, next(emulators))
                assert len(rollout) == length or games[i].over
                pieces[i].append(rollout)
    for parts, game, whole, end in zip(pieces, games, real_games.rollouts, real_games.ends, strict=True):
        same_rollout(Rollout.join(parts), whole)
        assert game == end


def test_play_leaves_the_games_it_is_given_alone(real_games, emulator, same_rollout):
    start = real_games.starts[0]
    _, (game,) = play(real_games.agent, [start], 20, emulator)
    before = pickle.dumps(game)
    (first,), (first_end,) = play(real_games.agent, [game], 20, emulator)
    (second,), (second_end,) = play(real_games.agent, [game], 20, emulator)
    assert pickle.dumps(game) == before
    same_rollout(first, second)
    assert first_end == second_end


def test_play_lets_go_of_the_weights(new_agent, new_game, emulator):
    """A compiled generator that is not run to its end never does."""
    agent, game = new_agent(), new_game()
    weights = agent.network.weights["W1"]
    play(agent, [game], 30, emulator)
    before = sys.getrefcount(weights)
    for until in (1, 2, WHOLE_GAME):
        play(agent, [game], until, emulator)
    assert sys.getrefcount(weights) == before


def test_no_two_games_share_their_randomness(new_game):
    games = [
        new_game(number, seed, purpose) for number in range(20) for seed in range(3) for purpose in Purpose
    ]
    for randomness in ("env_seed", "stream"):
        assert len({getattr(game, randomness) for game in games}) == len(games)
        assert getattr(new_game(1), randomness) == getattr(new_game(1), randomness)


# --- The agent in a plain Gymnasium loop ----------------------------------------------------------------


@pytest.mark.parametrize("greedy", [False, True], ids=["sampled", "greedy"])
@pytest.mark.parametrize("recipe", [{}, {"critic": True, "vision": FAST_VISION}], ids=["classic", "fast"])
def test_act_chooses_what_play_chose(recipe, greedy, env, emulator, new_agent, new_game):
    game, agent = new_game(5), new_agent(greedy=greedy, **recipe)
    (rollout,), _ = play(agent, [game], 400, emulator)
    want = np.array(agent.actions)[rollout.actions].tolist()
    assert len(set(want)) > 1

    agent = new_agent(**recipe)
    screen, _ = env.reset(seed=game.env_seed)
    agent.reset()
    agent._stream = game.stream  # draws of its own, otherwise
    got = []
    for _ in want:
        got.append(agent.act(screen, greedy=greedy))
        screen, *_ = env.step(got[-1])
    assert got == want


def test_reset_forgets_the_game_before(env, new_agent):
    def actions(agent, seed):
        screen, _ = env.reset(seed=3)
        agent.reset(seed)
        result = []
        for _ in range(60):
            result.append(agent.act(screen))
            screen, *_ = env.step(result[-1])
        return result

    agent = new_agent()
    first = actions(agent, 1)
    assert actions(agent, 1) == first
    assert actions(agent, 2) != first
    assert actions(agent, None) != actions(agent, None)
    assert type(first[0]) is int


def test_the_actions_are_called_what_gymnasium_calls_them(env):
    assert tuple(action_names(PONG).values()) == tuple(env.unwrapped.get_action_meanings()) == ACTION_NAMES


def test_act_refuses_other_observations(new_agent):
    for screen in (np.zeros((210, 160), np.uint8), np.zeros((210, 160, 3)), np.zeros((84, 84, 3), np.uint8)):
        with pytest.raises(ValueError, match="want uint8"):
            new_agent().act(screen)
