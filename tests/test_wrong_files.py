"""The wrong environment, the wrong file, the wrong observation: each is named, and says what is right."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import pytest
import safetensors.numpy
from gymnasium import wrappers

from pongrad import Agent, Fast
from pongrad.ground.errors import UserError
from pongrad.learning.learners import new_agent

gymnasium.register_envs(ale_py)


@pytest.fixture(scope="module")
def champion():
    return Agent.load("champion")


# --- The environment --------------------------------------------------------------------------------------

OTHER_PONGS = {
    "full_action_space is True, not False; its actions are Discrete(18), not 6 discrete ones": {
        "full_action_space": True
    },
    "mode is 1, not 0": {"mode": 1},
    "difficulty is 3, not 0": {"difficulty": 3},
    "frameskip is 2, not 4": {"frameskip": 2},
    "frameskip is (2, 5), not 4": {"frameskip": (2, 5)},
    "repeat_action_probability is 0.0, not 0.25": {"repeat_action_probability": 0.0},
    "obs_type is grayscale, not rgb": {"obs_type": "grayscale"},
    "obs_type is ram, not rgb; it shows uint8 (128,), not uint8 (210, 160, 3)": {"obs_type": "ram"},
}


@pytest.mark.parametrize("difference", OTHER_PONGS)
def test_an_environment_that_is_played_otherwise_is_named(champion, difference):
    with pytest.raises(ValueError) as error:
        champion.check_env(gymnasium.make("ALE/Pong-v5", **OTHER_PONGS[difference]))
    assert str(error.value).startswith("the agent has learned ALE/Pong-v5, and this is another game: ")
    assert difference in str(error.value)


@pytest.mark.parametrize(
    ("make", "difference"),
    [
        (wrappers.FlattenObservation, "it shows uint8 (100800,)"),
        (wrappers.GrayscaleObservation, "the wrapper GrayscaleObservation changes"),
        (lambda env: wrappers.MaxAndSkipObservation(env, 4), "the wrapper MaxAndSkipObservation changes"),
        (lambda env: wrappers.FrameStackObservation(env, 4), "it shows uint8 (4, 210, 160, 3)"),
        (lambda env: wrappers.StickyAction(env, 0.5), "the wrapper StickyAction changes"),
        (lambda env: gymnasium.make("ALE/Breakout-v5"), "game is breakout, not pong"),
        (lambda env: gymnasium.make("CartPole-v1"), "it is CartPole-v1"),
        (lambda env: ale_py.AtariEnv("pong"), "not made by gymnasium.make"),
    ],
)
def test_another_environment_is_named(champion, make, difference):
    with pytest.raises(ValueError) as error:
        champion.check_env(make(gymnasium.make("ALE/Pong-v5")))
    assert difference in str(error.value)


def test_the_right_environment_is_right(champion):
    plain = gymnasium.make("ALE/Pong-v5", mode=0, render_mode="rgb_array", max_num_frames_per_episode=99)
    for env in (plain, wrappers.RecordEpisodeStatistics(wrappers.TimeLimit(plain, 100))):
        champion.check_env(env)
    champion.check_env(gymnasium.make("PongNoFrameskip-v4", frameskip=4, repeat_action_probability=0.25))
    small = {"num_hidden_layer_neurons": 2}
    breakout = new_agent(Fast(game="ALE/Breakout-v5", env_options=("mode=4", "difficulty=1"), **small))
    breakout.check_env(gymnasium.make("ALE/Breakout-v5", mode=4, difficulty=1))
    with pytest.raises(ValueError, match=r"difficulty is 0, not 1; mode is 0, not 4"):
        breakout.check_env(gymnasium.make("ALE/Breakout-v5"))
    cart_pole = new_agent(Fast(game="CartPole-v1", **small))
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    cart_pole.check_env(wrappers.AddRenderObservation(env, render_only=True))
    with pytest.raises(ValueError, match="it shows float32"):
        cart_pole.check_env(env)


PONG = np.zeros((210, 160, 3), np.uint8)


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        ((PONG, {}), "is a tuple, .* the first is meant"),
        (PONG.tolist(), "is a list"),
        (None, "is a NoneType"),
        (PONG / 255, "is float64"),
        (PONG[np.newaxis], r"is uint8 \(1, 210, 160, 3\)"),
        (PONG.transpose(2, 0, 1), r"is uint8 \(3, 210, 160\)"),
    ],
)
def test_what_is_no_observation_is_refused(champion, observation, why):
    with pytest.raises(ValueError, match=why):
        champion.act(observation)


# --- Python's numbers and paths ---------------------------------------------------------------------------


def test_an_agent_takes_numpys_numbers_and_any_path(champion, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    champion.save("~/a.safetensors", score=np.float32(1.5), games=np.int64(3), at=Path("x"))
    again = Agent.load("~/a.safetensors")
    for name, weights in champion.network.weights.items():
        np.testing.assert_array_equal(again.network.weights[name], weights)
    again.reset(np.int64(3))
    champion.reset(3)
    assert again.act(PONG, greedy=np.False_) == champion.act(PONG, greedy=False)


# --- Files ------------------------------------------------------------------------------------------------


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", content)
    return file.getvalue()


FOREIGN = {
    "weights.pt": zipped(b"torch"),
    "weights.npz": zipped(b"numpy"),
    "model.pkl": b"\x80\x04}\x94.",
    "game.mp4": b"\x00\x00\x00\x20ftypisom" + bytes(100),
    "empty.safetensors": b"",
    "other.safetensors": safetensors.numpy.save({"w": np.zeros(3)}),
    "text.safetensors": b"hello, this is no safetensors file at all",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_nobody_is_told_to_delete_a_foreign_file(name, tmp_path):
    (tmp_path / name).write_bytes(FOREIGN[name])
    with pytest.raises(UserError, match="is not a file that pongrad wrote") as error:
        Agent.load(tmp_path / name)
    assert "delete it" not in str(error.value)


def test_a_damaged_agent_may_be_deleted(champion, tmp_path):
    champion.save(tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"is damaged .* delete it"):
        Agent.load(tmp_path / "a.safetensors")


def test_what_belongs_to_a_run_names_the_run(tmp_path):
    run, new = tmp_path / "runs" / "a", tmp_path / "runs" / "new"
    small = "--num-games", "2", "--num-hidden-layer-neurons", "2", "--workers", "1", "--frames", "1000"
    subprocess.run(
        [sys.executable, "-m", "pongrad", "train", *small, "--run", run], check=True, capture_output=True
    )
    Agent.load(run)
    new.mkdir()
    (new / "config.json").write_bytes((run / "config.json").read_bytes())

    def advice(path):
        with pytest.raises(UserError) as error:
            Agent.load(path)
        assert "delete it" not in str(error.value)
        return str(error.value)

    for name in ("config.json", "metrics.jsonl", "summary.json"):
        assert advice(run / name).endswith(f"give the run's folder, {run}")
    assert "of the kind checkpoint, not agent: give the run's folder" in advice(
        next((run / "checkpoints").iterdir())
    )
    assert advice(tmp_path / "runs").endswith(f"is a folder of runs: give one of them, such as {run}")
    assert "has no agent yet" in advice(new)
    assert "there is no run in" in advice(tmp_path)
    assert advice(run / "best.safetensor").endswith(f"did you mean {run / 'best.safetensors'}?")
    assert advice("champoin").endswith("did you mean champion?")
    assert "give a run's folder" in advice("zzz")
    assert "cannot read" in advice("x" * 5000)


def test_the_version():
    done = subprocess.run([sys.executable, "-m", "pongrad", "--version"], capture_output=True, text=True)
    assert done.stdout == "pongrad 0.1.0\n"
