"""Stages of a run: which moments are kept, what is kept of them, the film and the pictures they make."""

import itertools
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pongrad import Agent, Fast
from pongrad.cli import main
from pongrad.ground.errors import UserError
from pongrad.learning.learners import new_agent
from pongrad.playing.play import play
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.runs.stages import Stages, files, label
from pongrad.views.lesson import preprocessing, returns
from pongrad.views.moments import moments
from pongrad.views.pictures import ORANGE
from pongrad.views.video import timelapse


@pytest.fixture
def config(tmp_path):
    return Fast(run=tmp_path / "run", num_hidden_layer_neurons=8)


@pytest.fixture
def folder(config):
    return RunFolder.create(config)


def moments_kept(folder):
    return [int(file.stem) for file in files(folder)]


def live(stages, agent, history):
    """Let the run go through these (frames, mean score), with something learned each time."""
    for frames, mean in history:
        agent.network.weights["W1"][1234] += 0.5
        stages.note(agent, Progress(frames=frames, games=200, scores=[mean] * 100))


def test_moments_are_spaced_by_frames_and_by_score(config, folder):
    agent = new_agent(config)
    stages = Stages(folder, agent, Progress())
    live(stages, agent, [(50_000, -21), (101_000, -21), (150_000, -20), (199_999, -18), (210_000, -17.5)])
    assert moments_kept(folder) == [0, 50_000, 101_000, 199_999, 210_000]
    live(stages, agent, [(220_000, -16.1), (230_000, -15.4), (240_000, -13.4), (250_000, -17)])
    assert moments_kept(folder) == [0, 50_000, 101_000, 199_999, 210_000, 230_000, 240_000]
    live(stages, agent, [(260_000, -11.5), (1_700_000, -11), (1_750_000, -11)])
    assert moments_kept(folder)[-2:] == [240_000, 1_700_000]


@pytest.mark.parametrize("unit", [1, 100])
def test_scores_of_any_size_give_about_as_many_stages(unit, config, folder):
    agent = new_agent(config)
    history = [(50_000 + i, unit * 1.02**i) for i in range(400)]  # grows to 2,700 units
    live(Stages(folder, agent, Progress()), agent, history)
    assert 40 <= len(moments_kept(folder)) <= 100


def test_the_same_moments_whether_or_not_it_was_stopped(config, folder, tmp_path):
    history = [(100_000 * i, -21 + i / 2) for i in range(1, 40)]
    agent = new_agent(config)
    live(Stages(folder, agent, Progress()), agent, history)
    whole = {file.name: file.read_bytes() for file in files(folder)}
    for file in files(folder):
        file.unlink()

    agent = new_agent(config)
    live(Stages(folder, agent, Progress()), agent, history[:25])
    agent = new_agent(config)
    agent.network.weights["W1"][1234] += 0.5 * 10
    live(Stages(folder, new_agent(config), Progress(frames=1_000_000)), agent, history[10:])
    assert {file.name: file.read_bytes() for file in files(folder)} == whole


def test_a_stage_is_small_and_plays_as_it_did(config, folder, new_game, emulator):
    agent = new_agent(config)
    stages = Stages(folder, agent, Progress())
    (rollout,), _ = play(agent, [new_game()], 400, emulator)
    agent.network.weights["W1"][np.unique(rollout.inputs.indices)] += 0.25
    stages.note(agent, Progress(frames=120_000, games=3, scores=[-20] * 3))
    untrained, later = files(folder)
    assert later.stat().st_size < agent.vision.size * (8 + 4 + 2) + 5_000
    np.testing.assert_allclose(
        Agent.load(later).network.forward(rollout.inputs), agent.network.forward(rollout.inputs), atol=0.05
    )
    np.testing.assert_allclose(
        Agent.load(untrained).network.forward(rollout.inputs),
        new_agent(config).network.forward(rollout.inputs),
        atol=0.05,
    )
    assert label(untrained) == "untrained" and label(later) == "0.1 million frames, -20.00"


def test_timelapse_shows_every_stage(config, folder, tmp_path):
    agent = new_agent(config)
    stages = Stages(folder, agent, Progress())
    for frames, name in ((200_000, "RIGHT"), (400_000, "LEFT")):  # always up, then always down
        agent.network.weights["W1"][:] = 1.0
        agent.network.weights["W2"][:] = 0.0
        agent.network.weights["W2"][:, agent.action_names.index(name)] = 5.0
        stages.note(agent, Progress(frames=frames, games=1, scores=[-21]))
    out = tmp_path / "life.mp4"
    main(["timelapse", str(folder.path), str(out), "--seconds", "2"])
    film = imageio_ffmpeg.read_frames(str(out))
    width, height = next(film)["size"]
    assert (width, height) == (3 * 320, 34 + 420)
    last = [np.frombuffer(picture, np.uint8).reshape(height, width, 3) for picture in film][-1].astype(int)
    green = np.abs(last - (92, 186, 92)).max(axis=2) < 30  # the agent's paddle
    heights = [
        np.flatnonzero(green[34 + 70 : 34 + 390, 320 * i : 320 * i + 320].any(axis=1)) for i in range(3)
    ]
    assert heights[1].max() < 60 and heights[2].min(initial=999) > 200  # at the top, at the bottom


def test_a_run_without_stages_is_one_clear_line(folder, tmp_path):
    with pytest.raises(UserError, match="has no stages"):
        timelapse(folder, tmp_path / "life.mp4", 0, 1.0)


def test_the_lesson_is_drawn_from_a_run(config, folder, tmp_path, capsys):
    agent = new_agent(config)
    Stages(folder, agent, Progress())
    folder.save_agent("best.safetensors", agent, {})
    main(["lesson", str(folder.path), str(tmp_path / "pictures")])
    names = [Path(line).name for line in capsys.readouterr().out.split()]
    assert names == ["preprocessing.png", "network.png", "weights.png", "returns.png"]
    for name in names:
        picture = np.asarray(Image.open(tmp_path / "pictures" / name).convert("RGB"))
        assert picture.shape[1] > 600 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_preprocessing_is_drawn_as_the_agent_does_it(config, new_game, emulator):
    """The last two panels, drawn from the RGB screen, agree with what the compiled code gave the network."""
    agent = new_agent(config)
    lived = list(itertools.islice(moments(agent, new_game(), emulator), 80))
    panels = preprocessing(agent, lived[74].frames[-1], lived[75]).axes
    on, given = (panels[i].get_images()[0].get_array() for i in (4, 5))
    now = lived[75].inputs[0] > 0
    assert on.shape == agent.vision.shape and 0 < now.sum() < (on > 0).sum() < 100
    assert (on > 0)[now].all() and (given[now] == ORANGE).all()


def test_returns_are_drawn_with_the_runs_discount(emulator, new_game, config):
    lived = list(itertools.islice(moments(new_agent(config), new_game(), emulator), 200))
    (axis,) = returns(lived, 0.9).axes
    assert lived[-1].lost > 0
    returns([replace(moment, won=0, lost=0) for moment in lived], 0.9)  # no reward yet: nothing to mark
    heights = {
        round(y, 9) for area in axis.collections for path in area.get_paths() for _, y in path.vertices
    }
    assert {-1.0, -0.9, -0.81, -0.729} <= heights
