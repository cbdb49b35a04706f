"""The command line as a user meets it: what is wrong is said in one line, with exit code 2."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from pongrad.cli import main
from pongrad.ground.arguments import flag
from pongrad.learning.recipes import RECIPES, Classic
from pongrad.network.agent import Agent
from pongrad.network.finding import CHAMPION
from pongrad.network.network import Network
from pongrad.runs.folder import RunFolder


@pytest.fixture(scope="module")
def agent_file(tmp_path_factory):
    """An untrained agent on disk."""
    path = tmp_path_factory.mktemp("agent") / "agent.safetensors"
    network = Network.random((6400, 200, 1), np.random.default_rng(0))
    Agent(network, "ALE/Pong-v5", (2, 3), ("RIGHT", "LEFT")).save(path)
    return path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def error_of(capfd, *args, said=""):
    """Run the command, which must fail as users' errors do after saying this, and return its one line."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out, err = capfd.readouterr()
    assert stop.value.code == 2
    assert err.startswith("pongrad: ") and err.endswith("\n") and err.count("\n") == 1
    assert "Traceback" not in err and (out.startswith(said) if said else not out)
    return err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("", "train"),
        ("learn", "learn"),
        ("train --gama 0.9", "--gama"),
        ("train --gamma high", "--gamma"),
        ("train --recipe fastest", "--recipe"),
        ("train --game ALE/Pang-v5", "unknown game 'ALE/Pang-v5'"),
        ("train --game ALE/Pogn-v5", "unknown game 'ALE/Pogn-v5'"),
        ("train --game Pendulum-v1", "has actions Box"),
        ("train --env-options mode=9", "there is no mode 9"),
        ("train --env-options fast", "write each as name=value"),
        ("train --recipe classic --game ALE/Breakout-v5", "with recipe fast"),
        ("train --reward-ends-return maybe", "--reward-ends-return"),
        ("train --network deep", "--network"),
        ("train --conv-filters 8 8", "--conv-filters is for convolutions: add --network conv"),
        ("train --network conv --conv-filters 0 2", "--conv-filters must be numbers from 1 to 1024"),
        ("train --network conv --conv-strides 4", "must be as many"),
        ("train --network conv --conv-kernels 8 30", "--conv-kernels 30 does not fit the 20 x 20 pixels"),
        ("train --workers 0", "--workers must be above 0"),
        ("train --frames -1", "--frames must be above 0"),
        ("train --minutes 0", "--minutes must be above 0"),
        ("train --minutes nan", "--minutes must be above 0"),
        ("train --seed -1", "--seed must be 0 or more"),
        ("train --gamma 1.5", "--gamma must lie between 0 and 1"),
        ("train --lambda -0.1", "--lambda must lie between 0 and 1"),
        ("train --minibatches 5000", "--minibatches must not be more than"),
        ("train --recipe classic --decay-rate 1", "--decay-rate must be below 1"),
        ("train --recipe fast --batch-size 10", "--batch-size"),
        ("train --recipe", "--recipe"),
        ("train --run", "--run"),
        ("train --learning-rate 0", "--learning-rate must be above 0"),
        ("train --recipe classic --batch-size 0", "--batch-size must be above 0"),
        ("train --until nan", "--until"),
        ("evaluate nowhere.safetensors", "no such file: nowhere.safetensors"),
        ("evaluate {agent} --games 0", "--games must be 1 or more"),
        ("evaluate {agent} --seed -3", "--seed must be 0 or more"),
        ("evaluate {agent} --workers 0", "--workers must be 1 or more"),
        ("evaluate {agent} --greedy --sample", "exclude each other"),
        ("record", "give the video's name"),
        ("record a b c.mp4", "give the video's name"),
        ("record {agent} game.mov", "must end in .mp4 or .gif"),
        ("record {agent} nowhere/game.mp4", "there is no folder nowhere"),
        ("record nobody.safetensors game.mp4", "no such file: nobody.safetensors"),
        ("record {agent} game.mp4 --seconds 0", "--seconds must be above 0"),
        ("record {agent} game.mp4 --seed -1", "--seed must be 0 or more"),
        ("plot -o curve.png", "at least one run"),
        ("plot nowhere -o curve.png", "there is no run in nowhere"),
        ("plot nowhere -o curve.txt", "must end in .png"),
        ("watch nobody.safetensors", "no such file: nobody.safetensors"),
        ("watch {agent} --port 70000", "give another --port"),
        ("watch {agent} --host 192.0.2.1", "cannot listen on 192.0.2.1"),
        ("watch {agent} --seed -1", "--seed must be 0 or more"),
        ("timelapse nowhere life.mp4", "there is no run in nowhere"),
        ("timelapse nowhere life.avi", "must end in .mp4 or .gif"),
        ("timelapse nowhere life.mp4 --seconds nan", "--seconds must be above 0"),
        ("lesson nowhere pictures", "there is no run in nowhere"),
        ("bench --seconds 0", "--seconds must be above 0"),
        ("bench --workers 0", "--workers must be 1 or more"),
    ],
)
def test_mistakes_get_one_clear_line(capfd, agent_file, args, says):
    assert says in error_of(capfd, *args.format(agent=agent_file).split())


def test_a_folder_that_holds_a_run_is_not_overwritten(capfd, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "holds a run already: add --resume" in error_of(capfd, "train", "--run", tmp_path)


def test_nothing_to_resume(capfd):
    assert "no run under runs/ to resume" in error_of(capfd, "train", "--resume")
    assert "no run in elsewhere to resume" in error_of(capfd, "train", "--resume", "--run", "elsewhere")


def test_a_folder_that_cannot_be_made_or_written(capfd, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot make the folder" in error_of(capfd, "train", "--run", tmp_path / "file" / "run")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        assert "cannot make the folder" in error_of(capfd, "train", "--run", tmp_path / "run")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "text"])
def test_damaged_agents_are_refused(capfd, agent_file, tmp_path, damage):
    good = agent_file.read_bytes()
    bad = {
        "truncated": good[: len(good) // 2],
        "flipped": good[:4] + bytes([good[4] ^ 0xFF]) + good[5:],
        "empty": b"",
        "foreign": good.replace(b"pongrad-agent", b"another-thing"),
        "text": b"hello",
    }[damage]
    path = tmp_path / "agent.safetensors"
    path.write_bytes(bad)
    assert str(path) in error_of(capfd, "evaluate", path)


def test_a_clock_that_jumps_costs_no_time(monkeypatch):
    """The run's clock starts with the process, but only if that can be a moment ago."""
    started = []
    monkeypatch.setattr("pongrad.views.training_view.train", lambda config, start: started.append(start))
    for jump in (0, 1e6, -1e6):
        now = time.time() + jump
        born = now - jump - 5
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(psutil.Process, "create_time", lambda self, born=born: born)
        main(["train"])
    monotonic = time.monotonic()
    assert [round(monotonic - start) for start in started] == [5, 0, 0]


def test_a_network_larger_than_memory_is_the_users_error(capfd, tmp_path):
    huge = "train", "--run", tmp_path / "run", "--num-hidden-layer-neurons", 10**12
    assert "not enough memory" in error_of(capfd, *huge, said="Looking at ALE/Pong-v5")


def test_a_resumed_run_may_not_learn_differently(capfd, tmp_path):
    RunFolder.create(Classic(run=tmp_path / "run", gamma=0.9))
    line = error_of(capfd, "train", "--resume", "--run", tmp_path / "run", "--gamma", "0.99")
    assert "--gamma 0.99 differs from the run's 0.9" in line


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_hyperparameter_is_a_documented_flag(capfd, recipe):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--recipe", recipe, "--help"])
    assert stop.value.code == 0
    out, _ = capfd.readouterr()
    for name in RECIPES[recipe].__dataclass_fields__:
        assert f"{flag(name)} " in out


def test_evaluate_prints_fresh_games(agent_file):
    def evaluate(*args):
        line = [sys.executable, "-m", "pongrad", "evaluate", str(agent_file), *args]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        return done.stdout

    text = evaluate("--games", "3", "--seed", "4")
    assert "always playing an action drawn by its probability" in text
    assert text.count("\ngame ") == 3 and "The agent does not beat the computer." in text

    result = json.loads(evaluate("--games", "3", "--seed", "4", "--json", "--workers", "1"))
    assert list(result) == [
        "game",
        "games",
        "mean_score",
        "standard_error",
        "wins",
        "losses",
        "human_normalised",
        "frames",
        "seed",
    ]
    assert result["games"] == 3 == result["wins"] + result["losses"] and result["seed"] == 4
    assert result["human_normalised"] == pytest.approx((result["mean_score"] + 20.7) / (14.6 + 20.7))
    assert f"mean score {result['mean_score']:+.2f} ± {result['standard_error']:.2f}" in text

    assert "always playing the likeliest action" in evaluate("--games", "1", "--greedy")


def test_bench_measures_everything():
    done = subprocess.run(
        [sys.executable, "-m", "pongrad", "bench", "--seconds", "1", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert list(result) == [
        "workers", "emulator_frames_per_second", "collect_frames_per_second", "train_frames_per_second",
        "collect_ratio", "train_ratio", "classic_engine_frames_per_second",
        "classic_script_frames_per_second", "peak_rss_bytes",
    ]  # fmt: skip
    assert all(value > 0 for value in result.values())
    assert result["collect_ratio"] < 1.5 and result["train_ratio"] < 1.5  # nothing outruns the emulator


def test_importing_the_package_is_cheap():
    heavy = ("numba", "ale_py", "matplotlib", "uvicorn")
    code = f"import sys, pongrad; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_champion_ships_and_wins():
    """It is small, and without being told which agent `evaluate` takes it; two games, greedy as it says."""
    assert CHAMPION.stat().st_size <= 4_000_000
    line = [sys.executable, "-m", "pongrad", "evaluate", "--games", "2", "--json"]
    result = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    assert result["wins"] == 2
    assert Agent.load("champion").greedy
