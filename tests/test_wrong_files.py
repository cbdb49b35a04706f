"""The wrong environment, the wrong file, the wrong observation: each is named, and says what is right."""

import errno
import io
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import pytest
import safetensors.numpy
from gymnasium import wrappers

from pongrad import Agent, Fast
from pongrad.cli import main
from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.learning.learners import new_agent
from pongrad.network.acting import policy_step
from pongrad.network.agent import FORMAT

gymnasium.register_envs(ale_py)


@pytest.fixture(scope="module")
def champion():
    return Agent.load("champion")


# --- The environment --------------------------------------------------------------------------------------

OTHER_PONGS = {
    "full_action_space is True, not False; its actions are Discrete(18), not Discrete(6)": {
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


def set_by_hand(env):
    env.unwrapped._frameskip = 3
    env.unwrapped.ale.setFloat("repeat_action_probability", 0.5)
    return env


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
        (lambda env: ale_py.AtariEnv("pong", frameskip=1), "frameskip is 1, not 4"),
        (lambda env: set_by_hand(env), "frameskip is 3, not 4; repeat_action_probability is 0.5, not 0.25"),
        (lambda env: gymnasium.make("ALE/Pong-v5", sound_obs=True), "it shows a Dict, not uint8"),
        (lambda env: gymnasium.make("ALE/Pong-v5", continuous=True), "its actions are Box"),
        (lambda env: gymnasium.make_vec("ALE/Pong-v5", 2), "it is a AtariVectorEnv, not one environment"),
        (lambda env: gymnasium.vector.SyncVectorEnv([lambda: env]), "it is a SyncVectorEnv, not one"),
        (lambda env: "ALE/Pong-v5", "it is a str, not one environment"),
        (lambda env: None, "it is a NoneType, not one environment"),
    ],
)
def test_another_environment_is_named(champion, make, difference):
    with pytest.raises(ValueError) as error:
        champion.check_env(make(gymnasium.make("ALE/Pong-v5")))
    assert difference in str(error.value)
    assert str(error.value).endswith("make it with gymnasium.make('ALE/Pong-v5')")


def test_the_right_environment_is_right(champion):
    plain = gymnasium.make("ALE/Pong-v5", mode=0, render_mode="rgb_array", max_num_frames_per_episode=99)
    for env in (plain, wrappers.RecordEpisodeStatistics(wrappers.TimeLimit(plain, 100))):
        champion.check_env(env)
    champion.check_env(gymnasium.make("PongNoFrameskip-v4", frameskip=4, repeat_action_probability=0.25))
    champion.check_env(ale_py.AtariEnv("pong", frameskip=(4, 5)))


SMALL = {"num_hidden_layer_neurons": 2}


def test_options_are_part_of_the_game():
    options = "mode=4", "difficulty=1", "repeat_action_probability=0.1", "noop_max=3"
    breakout = new_agent(Fast(game="ALE/Breakout-v5", env_options=options, **SMALL))
    how = {"difficulty": 1, "mode": 4, "repeat_action_probability": 0.1}
    breakout.check_env(gymnasium.make("ALE/Breakout-v5", **how))
    with pytest.raises(ValueError, match=r"difficulty is 0, not 1; mode is 0, not 4; repeat_") as error:
        breakout.check_env(gymnasium.make("ALE/Breakout-v5"))
    call = str(error.value).partition("make it with ")[2]
    breakout.check_env(eval(call))  # what it says to do is right


def test_all_actions_are_no_difference_where_there_are_no_fewer():
    boxing = new_agent(Fast(game="ALE/Boxing-v5", **SMALL))
    boxing.check_env(gymnasium.make("ALE/Boxing-v5", full_action_space=True))


def test_environments_that_are_no_atari_games():
    cart_pole = new_agent(Fast(game="CartPole-v1", **SMALL))
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array", sutton_barto_reward=False)
    cart_pole.check_env(wrappers.AddRenderObservation(env))
    assert cart_pole.act(wrappers.AddRenderObservation(env).reset()[0]) in (0, 1)
    other = gymnasium.make("CartPole-v1", sutton_barto_reward=True)
    for wrong, difference in (
        (env, r"it shows float32 \(4,\), not uint8 .*, as AddRenderObservation gives it"),
        (other, "sutton_barto_reward is True, not False; it shows"),
        (other.unwrapped, "sutton_barto_reward is True, not False; it shows"),
        (type(other.unwrapped)(), "nothing says how it was made"),
        (gymnasium.make("ALE/Pong-v5"), "it is ALE/Pong-v5; make it with gymnasium.make\\('CartPole-v1'\\)"),
        (ale_py.AtariEnv("pong"), "it is <AtariEnv"),
    ):
        with pytest.raises(ValueError, match=difference):
            cart_pole.check_env(wrong)
    lake = new_agent(Fast(game="FrozenLake-v1", env_options=('desc=["SF","FG"]',), **SMALL))
    lake.check_env(wrappers.AddRenderObservation(frozen_lake(("SF", "FG"))))
    with pytest.raises(ValueError, match=r"desc is .*'FH'.*, not .*'FG'"):
        lake.check_env(wrappers.AddRenderObservation(frozen_lake(["SH", "FH"])))


def frozen_lake(desc):
    return gymnasium.make("FrozenLake-v1", desc=desc, render_mode="rgb_array")


PONG = np.zeros((210, 160, 3), np.uint8)


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (
            (PONG, {}),
            r"is a tuple \(of what env.reset\(\) and env.step\(\) return, give the first\), want uint8",
        ),
        (PONG.tolist(), "is a list"),
        (None, "is a NoneType"),
        ({"image": PONG}, "is a dict"),
        (PONG / 255, r"is float64 \(210, 160, 3\) \(give it as the environment does, not scaled\)"),
        (PONG[np.newaxis], r"is uint8 \(1, 210, 160, 3\) \(give one at a time\), want uint8 \(210, 160, 3\)"),
        (PONG.transpose(2, 0, 1), r"is uint8 \(3, 210, 160\) \(give the colours last\)"),
        (PONG[..., 0], r"is uint8 \(210, 160\) \(give colours, not greys\)"),
        (PONG[::2], r"is uint8 \(105, 160, 3\), want uint8"),
    ],
)
def test_what_is_no_observation_is_refused(champion, observation, why):
    with pytest.raises(ValueError, match=why):
        champion.act(observation)


# --- Python's numbers and paths ---------------------------------------------------------------------------


def test_an_agent_takes_numpys_numbers_and_any_path(champion, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    about = {"score": np.float32(1.5), "games": np.int64(3), "at": Path("x"), "won": np.True_}
    champion.save("~/a.safetensors", small=np.True_, **about)
    champion.save(tmp_path / "b.safetensors")
    again = Agent.load("~/a.safetensors")
    assert storage.load(tmp_path / "a.safetensors", FORMAT)[1]["about"] == {
        "score": 1.5, "games": 3, "at": "x", "won": True,
    }  # fmt: skip
    for name, weights in Agent.load(str(tmp_path / "b.safetensors")).network.weights.items():
        np.testing.assert_array_equal(weights, champion.network.weights[name])
    champion.reset(3)
    champion.act(PONG, greedy=False)
    versions = len(policy_step.signatures)
    for seed, greedy in ((3, False), (np.int64(3), np.False_), (np.uint8(3), 0)):
        again.reset(seed)
        champion.reset(3)
        assert again.act(PONG, greedy=greedy) == champion.act(PONG, greedy=False)
    assert len(policy_step.signatures) == versions


def test_what_is_no_path_is_the_users_error(champion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (".", "", None, tmp_path, "no/a.safetensors"):
        with pytest.raises(UserError):
            champion.save(path)
    for path in ("", None, 3, "a\0b"):
        with pytest.raises(UserError):
            Agent.load(path)
    assert not list(tmp_path.iterdir())


# --- Files ------------------------------------------------------------------------------------------------


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", content)
    return file.getvalue()


FOREIGN = {
    "weights.pt": (zipped(b"torch"), "but a zip archive, as PyTorch and NumPy write them"),
    "weights.npz": (zipped(b"numpy"), "but a zip archive"),
    "model.pkl": (b"\x80\x04}\x94.", "but a pickle"),
    "game.mp4": (b"\x00\x00\x00\x20ftypisom" + bytes(100), "but a picture or a video"),
    "empty.safetensors": (b"", "for it is empty"),
    "other.safetensors": (safetensors.numpy.save({"w": np.zeros(3)}), "but a safetensors file of another"),
    "pt.safetensors": (
        safetensors.numpy.save({"w": np.zeros(3)}, {"format": "pt"}),
        "but a safetensors file",
    ),
    "text.safetensors": (b"hello, this is no safetensors file at all", "but text"),
    "notes.md": (b"pongrad-agent-6 is a format, pongrad-checkpoint-10 another", "but text"),
    "noise": (bytes(range(255, 0, -1)), "or not whole"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_no_advice_deletes_a_foreign_file(name, tmp_path):
    content, kind = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"is not a file that pongrad wrote, {kind}") as error:
        Agent.load(tmp_path / name)
    assert "delete it" not in str(error.value) and "give a run's folder" in str(error.value)


def test_what_may_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="is not a file on a disk: give a run's folder"):
            Agent.load(path)


def test_a_damaged_agent_may_be_deleted(champion, tmp_path):
    champion.save(tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"is damaged .* delete it"):
        Agent.load(tmp_path / "a.safetensors")


def test_what_belongs_to_a_run_names_the_run(tmp_path, monkeypatch, capfd):
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
        assert advice(run / name).endswith(f"belongs to a run and is no agent: give the run's folder, {run}")
    checkpoint = next((run / "checkpoints").iterdir())
    whose = f"give the run's folder, {run}"
    assert advice(checkpoint).endswith(f"is of the kind checkpoint, not agent: {whose}")
    for part in ("checkpoints", "stages", "tensorboard", next((run / "tensorboard").iterdir())):
        assert advice(run / part).endswith(whose)
    moved = checkpoint.rename(tmp_path / "checkpoint.safetensors")
    assert advice(moved).endswith("give a run's folder, an agent's .safetensors file, or champion")
    assert advice(tmp_path / "runs").endswith(f"give one of the folders in it that hold one, such as {run}")
    assert advice(tmp_path).endswith(f"such as {run}")
    assert advice(new).endswith("it has one within a minute of training")
    (run / "stages").rename(new / "stages")
    assert advice(new).endswith(f"until then give one of its stages, such as {next(new.glob('stages/*'))}")
    monkeypatch.chdir(tmp_path)
    for name, meant in {
        run / "best.safetensor": run / "best.safetensors",
        run / "best": run / "best.safetensors",
        "a": "runs/a",
        "runs/A": "runs/a",
        "champoin": "champion",
        "Champion.safetensors": "champion",
    }.items():
        assert advice(name).endswith(f"did you mean {meant}?")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("zzz", "broken", "x" * 5000):
        assert "did you mean" not in advice(name)
    for command in ("timelapse runs out.mp4", "lesson runs out", "plot runs -o out.png"):
        with pytest.raises(SystemExit):
            main(command.split())
        assert f"no run in runs: give one of the folders in it that hold one, such as {Path('runs/a')}" in (
            capfd.readouterr().err
        )


@pytest.mark.parametrize("command", ["evaluate closed", "play closed", "watch closed", "lesson closed out"])
def test_a_folder_that_cannot_be_read(command, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "closed").mkdir()
    error = PermissionError(errno.EACCES, "Permission denied")  # root may look anywhere
    monkeypatch.setattr(os, "listdir", lambda path: (_ for _ in ()).throw(error))
    with pytest.raises(SystemExit):
        main(command.split())
    assert "cannot read closed: Permission denied; give another one" in capfd.readouterr().err


def test_the_home_of_an_unknown_user_is_the_users_error(capfd):
    with pytest.raises(SystemExit):
        main(["evaluate", "~no-such-user/a.safetensors"])
    assert "~no-such-user/a.safetensors" in capfd.readouterr().err


def test_the_version():
    code = """
import sys
from pongrad.__main__ import main
sys.argv = ["pongrad", "--version"]
main()
print([m for m in ("numpy", "numba", "gymnasium", "ale_py", "tyro", "matplotlib") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"pongrad {version('pongrad')}\n[]\n"


def test_the_help_names_the_version_flag(capfd):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "pongrad --version" in capfd.readouterr().out
