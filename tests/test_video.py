"""Looking at a game: it is the game that `play` plays; videos and pictures hold what they should."""

import itertools
import json
import os
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from conftest import FAST_VISION
from PIL import Image

from pongrad.games import environment
from pongrad.games.emulator import Emulator
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.learning import learners
from pongrad.learning.recipes import Fast
from pongrad.network.agent import Agent
from pongrad.playing.play import play
from pongrad.runs.folder import RunFolder
from pongrad.views.moments import moments
from pongrad.views.pictures import BLUE, ORANGE, Inside, neurons, seen
from pongrad.vision.preprocessing import Vision

STEPS = 300


@pytest.mark.parametrize("vision", [Vision(), FAST_VISION], ids=["classic", "fast"])
@pytest.mark.parametrize("greedy", [True, False])
def test_a_game_looked_at_is_the_game_that_is_played(new_agent, new_game, emulator, vision, greedy):
    """Same inputs, actions and points, sticky actions and all; and what it makes of them is the network's."""
    agent = new_agent(hidden=(20,), critic=vision.offsets, vision=vision, greedy=greedy)
    (rollout,), (after,) = play(agent, [new_game()], STEPS, emulator)
    looked = list(itertools.islice(moments(agent, new_game(), Emulator(agent.game)), STEPS))
    assert [moment.action for moment in looked] == rollout.actions.tolist()
    assert (looked[-1].won, looked[-1].lost) == (after.won, after.lost) and after.lost > 0
    outputs = agent.network.forward(rollout.inputs)
    for t, moment in enumerate(looked):
        start, end = rollout.inputs.indptr[t : t + 2]
        flat = moment.inputs.ravel()
        indices, values = rollout.inputs.indices[start:end], rollout.inputs.values[start:end]
        shown = indices < vision.channels * vision.pixels  # relative offsets are no pixels
        np.testing.assert_array_equal(flat.nonzero()[0], np.sort(indices[shown]))
        np.testing.assert_array_equal(flat[flat != 0], values[shown])
        if vision.offsets:
            odds = np.exp(outputs[t, :-1])
            np.testing.assert_allclose(moment.probabilities, odds / odds.sum(), rtol=1e-4)
            np.testing.assert_allclose(moment.value, outputs[t, -1], rtol=1e-3, atol=1e-5)
        else:
            up = 1 / (1 + np.exp(-outputs[t, 0]))
            np.testing.assert_allclose(moment.probabilities, [up, 1 - up], rtol=1e-4)
            assert moment.value is None
        assert np.exp(rollout.log_probabilities[t]) == pytest.approx(
            moment.probabilities[moment.action], rel=1e-4
        )
        weights = agent.network.weights["W1"]
        hidden = np.maximum(values.astype(np.float32) @ weights[indices], 0)
        np.testing.assert_allclose(moment.hidden, hidden, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("game", ["ALE/Pong-v5", "ALE/Boxing-v5", "CartPole-v1"])
def test_the_inside_of_any_agent_is_drawn(game):
    """Whatever the screen's size and the number of actions; Boxing has 18."""
    agent = learners.new_agent(Fast(game=game, num_hidden_layer_neurons=8))
    inside, ours = Inside(agent), environment.make(game)
    for moment in itertools.islice(moments(agent, Game(game, 1, Purpose.EVALUATION, 0), ours), 5):
        panel = inside.draw(moment)
        assert panel.shape == (630, 480, 3) and panel.std() > 5


def test_every_frame_has_its_picture(env, new_agent, new_game, emulator):
    """The last frame of a step is the screen that Gymnasium shows after it."""
    agent, game = new_agent(greedy=True), new_game(3)
    env.reset(seed=game.env_seed)
    different = 0
    for moment in itertools.islice(moments(agent, game, emulator), 100):
        observation, *_ = env.step(agent.actions[moment.action])
        np.testing.assert_array_equal(moment.frames[-1], observation)
        different += len({frame.tobytes() for frame in moment.frames})
    assert different > 250  # of 400: things move on nearly every frame once the ball is in play


def test_a_whole_game_ends_as_it_is_played(new_agent, new_game, emulator, real_games):
    last = list(moments(real_games.agent, real_games.starts[0], emulator))[-1]
    assert (last.won, last.lost) == (real_games.ends[0].won, real_games.ends[0].lost)
    assert last.step + 1 == real_games.ends[0].step


def test_colours_say_what_pixels_and_weights_do(new_agent):
    change = np.zeros((1, 80, 80), np.float32)
    change[0, 3, 4], change[0, 5, 6] = 1, -1
    assert tuple(seen(change)[3, 4]) == ORANGE and tuple(seen(change)[5, 6]) == BLUE
    assert not seen(change)[0, 0].any()
    pair = np.zeros((2, 80, 80), np.float32)
    pair[:, 1, 1] = pair[0, 3, 4] = pair[1, 5, 6] = 1
    assert tuple(seen(pair)[1, 1]) == tuple(seen(pair)[3, 4]) == ORANGE and tuple(seen(pair)[5, 6]) == BLUE

    agent = new_agent(hidden=(3,))
    agent.network.weights["W1"][:] = 0
    agent.network.weights["W1"][4 * 80 : 8 * 80, 1] = 2.0  # a band of four rows
    small = neurons(agent, 20)
    assert small.shape == (3, 20, 20)
    assert (small[1, 1] == 1).all() and not small[1, 2:].any() and not small[[0, 2]].any()


def test_the_inside_lights_up_the_neurons_that_fire(new_agent, new_game, emulator):
    agent = new_agent(hidden=(200,))
    moment = next(itertools.islice(moments(agent, new_game(), emulator), 40, None))
    assert 0 < (moment.hidden > 0).sum() < 200
    picture = Inside(agent).draw(moment)
    assert picture.shape == (630, 480, 3)
    tiles = picture[403 : 403 + 220, 15 : 15 + 440].reshape(10, 22, 20, 22, 3).swapaxes(1, 2).reshape(200, -1)
    firing = moment.hidden > 0
    assert tiles[firing].mean(axis=1).min() > tiles[~firing].mean(axis=1).max()


def pongrad(*args):
    """Run a command without a display."""
    bare = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    line = [sys.executable, "-m", "pongrad", *map(str, args)]
    return subprocess.run(line, env=bare, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def agent_file(new_agent, tmp_path_factory):
    path = tmp_path_factory.mktemp("agent") / "agent.safetensors"
    new_agent(hidden=(20,)).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "inside", "size", "frames"),
    [("game.mp4", [], (480, 630), 96), ("game.gif", ["--inside"], (960, 630), 32)],
)
def test_record_writes_a_moving_game(agent_file, tmp_path, name, inside, size, frames):
    """1.6 seconds: 24 steps, 96 frames; a GIF shows every third."""
    out = tmp_path / name
    said = pongrad("record", agent_file, out, "--seconds", 1.6, *inside)
    assert str(out) in said and "2 seconds of play, 0-0" in said
    film = imageio_ffmpeg.read_frames(str(out))
    about = next(film)
    assert about["size"] == size and about["duration"] == pytest.approx(1.6, abs=0.05)
    pictures = [np.frombuffer(picture, np.uint8).reshape(*size[::-1], 3).astype(int) for picture in film]
    assert len(pictures) == frames
    assert abs(pictures[-1][:, :480] - pictures[0][:, :480]).max() > 60  # a paddle has moved
    assert abs(pictures[-1][300, 200] - (144, 72, 17)).max() < 12  # Pong is brown


def test_plot_compares_runs(tmp_path):
    for i, colour_of in enumerate(("first", "second")):
        run = tmp_path / colour_of
        RunFolder.create(Fast(run=run)).close()
        lines = [
            {
                "update": n,
                "frames": 10**6 * n,
                "games": n,
                "seconds": 60 * n,
                "mean_score_100": 20 * n / 9 - 10 * i,
            }
            for n in range(10)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pongrad("plot", tmp_path / "first", tmp_path / "second", "-o", tmp_path / "both.png")
    pongrad("plot", tmp_path / "first", "-o", tmp_path / "one.png")
    both, one = (
        np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int) for name in ("both.png", "one.png")
    )
    second = np.abs(both - (255, 127, 14)).max(axis=2) < 10  # Matplotlib's second colour
    assert second.sum() > 300 and not (np.abs(one - (255, 127, 14)).max(axis=2) < 10).any()
    thirds = np.array_split(second.any(axis=0), 3)
    assert all(third.any() for third in thirds)  # in each of the three diagrams


def test_a_video_that_cannot_be_written_is_one_clear_line(agent_file, tmp_path):
    (tmp_path / "game.mp4").mkdir()
    line = [sys.executable, "-m", "pongrad", "record", str(agent_file), str(tmp_path / "game.mp4")]
    done = subprocess.run([*line, "--seconds", "1"], capture_output=True, text=True)
    assert done.returncode == 2 and "cannot write" in done.stderr and done.stderr.count("\n") == 1
    assert Agent.load(agent_file)
