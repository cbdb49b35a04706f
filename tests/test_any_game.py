"""Games that are not Pong: the fast emulator is Gymnasium's for every id, and so is what is played again.

The environments of the bad kinds are registered here: real Gymnasium environments, each wrong in one way.
"""

import itertools
import json
import signal
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from conftest import same_arrays

from pongrad import Agent, Fast
from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.games.scores import Reference, reference
from pongrad.ground.errors import UserError
from pongrad.ground.system import limit_seconds
from pongrad.learning.learners import new_agent, new_learner
from pongrad.playing.evaluation import evaluate
from pongrad.playing.play import play, play_on
from pongrad.playing.rollout import Rollout

STEPS = 120


# --- Every Atari game is Gymnasium's ----------------------------------------------------------------------

IDS = [
    "ALE/Breakout-v5",
    "ALE/Tennis-v5",
    "ALE/Carnival-v5",  # 214 rows
    "ALE/KeystoneKapers-v5",  # PAL, 250 rows
    "PongNoFrameskip-v4 noop_max=0",
    "Pong-v0",  # steps of 2 to 4 frames, sticky
    "Breakout-v4",  # steps of 2 to 4 frames
    "ALE/Pong-v5 full_action_space=true",
    "ALE/Breakout-v5 difficulty=1 mode=4",
    "ALE/Pong-v5 frameskip=(3,9) repeat_action_probability=0.5",
    "ALE/Breakout-v5 max_num_frames_per_episode=200",
]


@pytest.mark.parametrize("name", IDS)
def test_an_atari_game_is_gymnasiums(name):
    """Screen for screen, reward for reward, life for life, frame for frame; and resumed in the middle."""
    game_id, options = environment.parse(name)
    options.pop("noop_max", None)  # not Gymnasium's
    env, ours = gymnasium.make(game_id, **options), environment.make(name)
    meanings = env.unwrapped.get_action_meanings()
    assert list(ours.action_names.values()) == meanings
    game = Game(name, 5, Purpose.EVALUATION, 2)
    env.reset(seed=game.env_seed)
    ours.restore(game)
    rng = np.random.default_rng(1)
    for step, timing in enumerate(itertools.islice(ours.timings(game), 1500)):
        ale = env.unwrapped.ale
        np.testing.assert_array_equal(ale.getScreen(), ours.screen)
        assert (ale.lives(), ale.getEpisodeFrameNumber()) == (ours.lives(), ours.frames())
        action = int(rng.integers(len(meanings)))
        _, reward, terminated, truncated, _ = env.step(action)
        assert ours.act(action, timing) == reward
        assert (ours.terminated(), ours.truncated()) == (terminated, truncated)
        if terminated or truncated:
            break
        if step % 50 == 49:  # another emulator takes it up
            value = game._replace(step=step + 1, state=ours.save(), last_action=ours.last_action)
            seen, ours = ours.screen, environment.make(name)
            ours.restore(value)
            ours.screen[:] = seen  # it is stale until a step
    assert step > 40


def test_games_without_chance_begin_with_no_ops():
    """As Gymnasium's AtariPreprocessing draws and plays them; and FIRE where it is asked for."""
    env = gymnasium.make("BreakoutNoFrameskip-v4")
    usual = environment.make("BreakoutNoFrameskip-v4")
    fires = environment.make("BreakoutNoFrameskip-v4 fire_to_start=true noop_max=0")
    begun = set()
    for number in range(6):
        game = Game("BreakoutNoFrameskip-v4", 5, Purpose.EVALUATION, number)
        env.reset(seed=game.env_seed)
        for _ in range(env.unwrapped.np_random.integers(1, 30 + 1)):
            env.step(0)
        usual.restore(game)
        np.testing.assert_array_equal(env.unwrapped.ale.getScreen(), usual.screen)
        begun.add(usual.frames())
        assert usual.frames() == env.unwrapped.ale.getEpisodeFrameNumber()
        fires.restore(game)
        assert fires.frames() == 1
    assert len(begun) > 3
    for always_another in ("ALE/Breakout-v5", "Breakout-v4", "BreakoutNoFrameskip-v4 noop_max=0"):
        ours = environment.make(always_another)
        ours.restore(Game(always_another, 5, Purpose.EVALUATION, 1))
        assert ours.frames() == 0


# --- Environments whose games are played again ------------------------------------------------------------


def test_any_environment_is_gymnasiums():
    """CartPole: its observations are no pictures, so it is rendered, as AddRenderObservation does."""
    game = Game("CartPole-v1", 1, Purpose.EVALUATION, 0)
    ours = environment.make("CartPole-v1")
    env = gymnasium.wrappers.AddRenderObservation(
        gymnasium.make("CartPole-v1", render_mode="rgb_array"), render_only=True
    )
    observation, _ = env.reset(seed=game.env_seed)
    ours.restore(game)
    for timing, action in zip(ours.timings(game), itertools.cycle([0, 1, 1]), strict=False):
        np.testing.assert_array_equal(ours.picture(), observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert ours.act(action, timing) == reward
        assert (ours.terminated(), ours.truncated()) == (terminated, truncated)
        if terminated:
            break


@pytest.fixture(scope="module")
def cart_pole():
    return new_agent(Fast(game="CartPole-v1", num_hidden_layer_neurons=8))


def test_pieces_on_any_environment_are_one_game(cart_pole):
    """With the live environment at hand, without it, and with one that has gone on further than the game."""
    start = Game("CartPole-v1", 3, Purpose.TRAINING, 0)
    first, second = environment.make("CartPole-v1"), environment.make("CartPole-v1")
    (whole,), (end,) = play(cart_pole, [start], STEPS, first)
    assert 8 < len(whole) < STEPS and end.terminated
    parts, game = [], start
    for length, ours in zip(itertools.repeat(5), itertools.cycle([first, second]), strict=False):
        (rollout,), (game,) = play(cart_pole, [game], length, ours)
        parts.append(rollout)
        if game.over:
            break
    assert game == end
    same_arrays(Rollout.join(parts), whole)


def test_each_game_that_is_played_again_may_take_as_long_as_a_task(cart_pole):
    """One task of a resumed run may have many of them."""
    start = Game("CartPole-v1", 3, Purpose.TRAINING, 0)
    _, (game,) = play(cart_pole, [start], 5, environment.make("CartPole-v1"))
    fresh = environment.make("CartPole-v1")
    limit_seconds(100)
    try:
        while signal.getitimer(signal.ITIMER_PROF)[0] > 99.5:
            pass
        fresh.restore(game)
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 99.5
    finally:
        limit_seconds(0)


def test_an_agent_acts_on_the_observations_of_its_environment(cart_pole):
    game = Game("CartPole-v1", 4, Purpose.EVALUATION, 1)
    agent = replace(cart_pole, greedy=True)
    (rollout,), _ = play(agent, [game], STEPS, environment.make("CartPole-v1"))
    env = gymnasium.wrappers.AddRenderObservation(
        gymnasium.make("CartPole-v1", render_mode="rgb_array"), render_only=True
    )
    observation, _ = env.reset(seed=game.env_seed)
    agent.reset()
    agent._stream = game.stream  # draws of its own, otherwise
    for action in rollout.actions:
        assert agent.act(observation) == action
        observation, *_ = env.step(int(action))


class Wrong(gymnasium.Env):
    """A square of 16 x 16 that moves to the right, ten steps long, wrong in one way."""

    observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None, way=""):
        self.way = way
        if type(way) is int:
            self.action_space = gymnasium.spaces.Discrete(2, start=way)
        if way == "box":
            self.action_space = gymnasium.spaces.Box(-1, 1, (1,))
        if way == "blind":
            self.observation_space = gymnasium.spaces.Discrete(5)

    def _picture(self):
        if self.way in ("nothing", "float"):
            return None if self.way == "nothing" else np.zeros((16, 16, 3))
        picture = np.zeros((16 + (self.steps if self.way == "grows" else 0), 16, 3), np.uint8)
        place = np.random.randint(16) if self.way == "random" else self.steps
        picture[4:8, place] = 255
        return picture

    def reset(self, seed=None, options=None):
        if self.way == "reset":
            raise RuntimeError("no\nlevel")
        super().reset(seed=seed)
        self.steps = 0
        return self._picture(), {}

    def step(self, action):
        self.steps += 1
        reward = float("nan") if self.way == "nan" else float(action)
        return self._picture(), reward, self.steps == 10, False, {}


gymnasium.register("Wrong-v0", Wrong)


def test_a_game_that_goes_another_way_begins_anew():
    name = "Wrong-v0 way=random"
    agent = new_agent(Fast(game="Wrong-v0", env_options=("way=random",), num_hidden_layer_neurons=4))
    game = Game(name, 1, Purpose.TRAINING, 0)
    (_,), (after,) = play(agent, [game], 6, environment.make(name))
    assert (after.step, after.restarts) == (6, 0)
    (rollout,), (again,) = play(agent, [after], 3, environment.make(name))
    assert (len(rollout), again.step, again.restarts) == (3, 3, 1)
    steady = new_agent(Fast(game="Wrong-v0", num_hidden_layer_neurons=4))
    _, (after,) = play(steady, [game._replace(id="Wrong-v0")], 6, environment.make("Wrong-v0"))
    _, (again,) = play(steady, [after], 3, environment.make("Wrong-v0"))
    assert (again.step, again.restarts) == (9, 0)


def test_no_check_of_rewards_is_silent():
    name = "Wrong-v0 way=nan"
    agent = new_agent(Fast(game="Wrong-v0", num_hidden_layer_neurons=4))
    with pytest.raises(UserError, match="not finite"):
        play(agent, [Game(name, 1, Purpose.TRAINING, 0)], 6, environment.make(name))


BAD_GAMES = {
    "Pendulum-v1": "discrete",
    "Wrong-v0 way=box": "discrete",
    "Wrong-v0 way=blind": "nothing to see",
    "Wrong-v0 way=reset": "its reset raises RuntimeError: no level",
    "Wrong-v0 colour=red": "cannot be made",
    "ALE/Pong-v5 colour=red": "no option colour",
    "ALE/Pong-v5 mode=9": "there is no mode 9, only 0, 1",
    "ALE/Pong-v5 difficulty=hard": "no difficulty hard",
    "ALE/Pong-v5 frameskip=0": "frameskip",
    "ALE/Pong-v5 frameskip=(5,2)": "frameskip",
    "ALE/Pong-v5 repeat_action_probability=2": "repeat_action_probability",
    "ALE/Pong-v5 full_action_space=3": "full_action_space",
    "ALE/Pong-v5 noop_max=true": "noop_max must be a number",
    "ALE/Pong-v5 fire_to_start=1": "fire_to_start must be true or false",
    "ALE/Pong-v5 obs_type=ram": "no option obs_type",
}


@pytest.mark.parametrize(("name", "why"), BAD_GAMES.items())
def test_what_cannot_be_learned_is_one_clear_line(name, why):
    with pytest.raises(UserError, match=why) as error:
        environment.make(name)
    assert str(error.value).isprintable() and len(str(error.value)) < 320


@pytest.mark.parametrize("options", ["mode", "=1", "mode=", "mode=1 mode=2", "a-b=1"])
def test_options_are_written_as_name_and_value(options):
    with pytest.raises(UserError, match="--env-options"):
        environment.name("ALE/Pong-v5", options.split())


def test_a_file_cannot_have_any_module_imported():
    """An agent's file names its environment; `antigravity` would open a browser."""
    assert "antigravity" not in sys.modules
    for name in ("antigravity:Pong-v0", "pip:Pong-v0"):
        with pytest.raises(UserError, match="unknown game"):
            environment.make(name)
    assert not {"antigravity", "pip"} & sys.modules.keys()


# --- What the numbers mean --------------------------------------------------------------------------------


def test_references():
    """Pong is a duel, Breakout has a human score, and of CartPole nothing is known."""
    assert reference("ALE/Pong-v5") == reference("PongNoFrameskip-v4") == Reference(-20.7, 14.6, True)
    assert reference("ALE/Pong-v5").beaten_above == 0
    assert reference("ALE/Breakout-v5").beaten_above == 30.5
    assert reference("CartPole-v1") == Reference() and Reference().beaten_above is None
    assert reference("ALE/Breakout-v5").human_normalised(1.7) == 0
    assert reference("ALE/Breakout-v5").human_normalised(30.5) == pytest.approx(1)
    assert reference("ALE/Breakout-v5 difficulty=1 mode=4") == Reference()  # none are published
    assert reference("ALE/Pong-v5 mode=1") == Reference(duel=True)
    assert reference("ALE/Breakout-v5 full_action_space=true").human == 30.5


def test_a_return_ends_where_the_game_says_so():
    """Pong: with a reward. Breakout: with a life, not with a brick. Boxing: not with a punch."""
    rewards, lives_lost = np.array([0, 1, 0, -1], np.float32), np.array([False, False, True, False])
    segment = Rollout(None, None, None, None, rewards, lives_lost, np.zeros(4, bool), 16, 0.0)
    ends = {}
    for game in ("ALE/Pong-v5", "ALE/Breakout-v5", "ALE/Boxing-v5"):
        for how in ("auto", "no"):
            config = Fast(
                game=game, reward_ends_return=how, life_loss_ends_return=how, num_hidden_layer_neurons=4
            )
            ends[game, how] = new_learner(config, new_agent(config))._ends(segment).tolist()
    assert ends["ALE/Pong-v5", "auto"] == [False, True, False, True]
    assert ends["ALE/Breakout-v5", "auto"] == [False, False, True, False]
    assert ends["ALE/Boxing-v5", "auto"] == [False] * 4
    assert ends["ALE/Pong-v5", "no"] == ends["ALE/Breakout-v5", "no"] == [False] * 4


def test_a_lost_life_is_written_down():
    agent = new_agent(Fast(game="ALE/Breakout-v5", num_hidden_layer_neurons=4))
    ours = environment.make("ALE/Breakout-v5")
    (rollout,), (end,) = play(agent, [Game("ALE/Breakout-v5", 2, Purpose.TRAINING, 0)], 4000, ours)
    assert end.terminated and rollout.lives_lost.sum() == 5 and rollout.lives_lost[-1]
    assert end.score == rollout.rewards.sum() and rollout.frames == end.frames == ours.frames()


# --- A sample of the sweep over all games -----------------------------------------------------------------


@pytest.mark.parametrize(
    "game",
    ["ALE/Breakout-v5", "ALE/SpaceInvaders-v5", "ALE/KeystoneKapers-v5", "PongNoFrameskip-v4", "CartPole-v1"],
)
def test_a_game_is_trained_killed_resumed_evaluated_and_recorded(game, tmp_path):
    def pongrad(*args, check=True):
        return subprocess.run(
            [sys.executable, "-m", "pongrad", *map(str, args)], capture_output=True, text=True, check=check
        ).stdout

    frames = 1000 if game == "CartPole-v1" else 8000
    small = "--num-hidden-layer-neurons", 16, "--num-games", 8
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    pongrad("train", "--game", game, "--frames", frames, "--run", whole, "--workers", 2, *small)
    pongrad("train", "--game", game, "--frames", frames // 2, "--run", stopped, "--workers", 1, *small)
    pongrad("train", "--run", stopped, "--resume", "--frames", frames, "--workers", 2)
    assert (whole / "best.safetensors").read_bytes() == (stopped / "best.safetensors").read_bytes()
    result = json.loads(pongrad("evaluate", whole, "--games", 1, "--json"))
    assert result["game"] == game and np.isfinite(result["mean_score"])
    assert (result["wins"] is None) == (game != "PongNoFrameskip-v4")
    pongrad("record", whole, tmp_path / "game.mp4", "--inside", "--seconds", 1)
    assert (tmp_path / "game.mp4").stat().st_size > 5000


def test_evaluation_does_not_depend_on_the_workers(cart_pole):
    assert evaluate(cart_pole, 5, 1, 1) == evaluate(cart_pole, 5, 1, 2)


def test_workers_play_other_games_on(cart_pole):
    """The next game in a place is the one numbered after all others."""
    games = [Game("CartPole-v1", 3, Purpose.TRAINING, number) for number in range(2)]
    (segments, _) = play_on(cart_pole, games, STEPS, 2, 0.0, environment.make("CartPole-v1")).segments()
    assert [game.number for _, game in segments] == [2 * i for i in range(len(segments))]
    assert len(segments) > 2 and sum(len(rollout) for rollout, _ in segments) == STEPS


def test_an_agent_of_another_game_is_not_taken_for_one(tmp_path):
    agent = new_agent(Fast(game="ALE/Freeway-v5", num_hidden_layer_neurons=4))
    agent.save(tmp_path / "a.safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "pongrad", "play", tmp_path / "a.safetensors"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "only in Pong can you play against it" in done.stderr
    with pytest.raises(ValueError, match="want uint8"):
        Agent.load(tmp_path / "a.safetensors").act(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("start", [0, 3])
def test_actions_have_gymnasiums_numbers(start):
    """An environment whose actions begin at 3: what `act` gives is what `step` takes."""
    name = f"Wrong-v0 way={start}"
    agent = new_agent(Fast(game="Wrong-v0", env_options=(f"way={start}",), num_hidden_layer_neurons=4))
    assert agent.actions == (start, start + 1) and agent.action_names == (str(start), str(start + 1))
    (rollout,), (end,) = play(agent, [Game(name, 1, Purpose.TRAINING, 0)], 20, environment.make(name))
    assert end.terminated and end.step == 10 and end.score == sum(agent.actions[a] for a in rollout.actions)
    observation, _ = (env := gymnasium.make("Wrong-v0", way=start)).reset()
    assert env.action_space.contains(agent.act(observation))


def test_a_screen_of_another_size_is_not_looked_at(cart_pole):
    """Compiled loops do not check where they read."""
    with pytest.raises(UserError, match="take an agent that was trained on it"):
        play(cart_pole, [Game("Wrong-v0", 1, Purpose.TRAINING, 0)], 5, environment.make("Wrong-v0"))


@pytest.mark.parametrize("way", ["nothing", "float", "grows"])
def test_pictures_that_are_none_are_one_clear_line(way):
    name = f"Wrong-v0 way={way}"
    with pytest.raises(UserError, match="looks at pictures of one size"):
        play(
            new_agent(Fast(game="Wrong-v0", num_hidden_layer_neurons=4)),
            [Game(name, 1, Purpose.TRAINING, 0)], 5, environment.make(name),
        )  # fmt: skip


def test_rendering_that_changes_an_environment_changes_nothing():
    """LunarLander's rendering does: a game played again is rendered as often."""
    pytest.importorskip("Box2D")
    agent = new_agent(Fast(game="LunarLander-v3", num_hidden_layer_neurons=4))
    start = Game("LunarLander-v3", 3, Purpose.TRAINING, 0)
    (whole,), (end,) = play(agent, [start], 60, environment.make("LunarLander-v3"))
    game, parts = start, []
    for _ in range(3):
        (rollout,), (game,) = play(agent, [game], 20, environment.make("LunarLander-v3"))
        parts.append(rollout)
    assert game == end
    same_arrays(Rollout.join(parts), whole)


def test_a_game_that_cannot_be_learned_leaves_no_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pongrad", "train", "--game", "Pendulum-v1", "--run", tmp_path / "run"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "discrete" in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", [{"frames": 2**32}, {"step": 7}, {"state": bytes(4) + bytes([9] * 6)}])
def test_a_game_of_actions_that_cannot_be_is_refused(change):
    agent = new_agent(Fast(game="Wrong-v0", num_hidden_layer_neurons=4))
    ours = environment.make("Wrong-v0")
    _, (after,) = play(agent, [Game("Wrong-v0", 1, Purpose.TRAINING, 0)], 6, ours)
    ours.check(after)
    with pytest.raises(ValueError, match="actions"):
        ours.check(after._replace(**change))
