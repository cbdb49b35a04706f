"""A run as a user starts it: complete folder, same bytes on any number of workers, exact stop and resume,
and real, if short, learning."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import FAST_VISION
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pongrad import Agent, Classic, Fast
from pongrad.ground.errors import UserError
from pongrad.runs.folder import RunFolder
from pongrad.runs.training import Training, speeds

SUMMARY_KEYS = {
    "game", "recipe", "network", "seed", "workers", "frames", "games", "seconds", "mean_score_100",
    "best_mean_score_100", "beat_frames", "beat_seconds", "frames_per_second",
}  # fmt: skip
METRICS_KEYS = {
    "update", "frames", "games", "seconds", "mean_score_100", "mean_score_20", "frames_per_second",
}  # fmt: skip


def command(*args):
    return [sys.executable, "-m", "pongrad", "train", *map(str, args)]


def train(folder, *args):
    """Run `pongrad train` to its end and return what it printed."""
    done = subprocess.run(command("--run", folder, *args), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(folder):
    return (folder / "best.safetensors").read_bytes(), newest_checkpoint(folder).weights["W1"].tobytes()


def newest_checkpoint(folder):
    return RunFolder(folder).load_checkpoint()


FRAMES = 40_000
RUNS = {  # flags of a run of three updates
    "classic": ["--recipe", "classic", "--batch-size", 4, "--frames", FRAMES],
    "fast": ["--num-games", 4, "--rollout-steps", 1000, "--frames", FRAMES],
    "conv": [
        "--network",
        "conv",
        "--biases",
        "--num-games",
        10,
        "--rollout-steps",
        400,
        "--epochs",
        1,
        "--frames",
        FRAMES,
        "--conv-filters",
        4,
        8,
        "--num-hidden-layer-neurons",
        16,
    ],
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    """A finished run of three updates on two workers: flags, folder, and what it printed."""
    flags = RUNS[request.param]
    folder = tmp_path_factory.mktemp("runs") / "run"
    output = train(folder, "--seed", 5, *flags, "--workers", 2)
    flags = ["--seed", 5, *flags]
    recipe = "classic" if request.param == "classic" else "fast"
    return SimpleNamespace(kind=request.param, recipe=recipe, flags=flags, folder=folder, output=output)


def test_the_run_folder_is_complete(run):
    folder = run.folder
    summary = json.loads((folder / "summary.json").read_text())
    assert summary.keys() == SUMMARY_KEYS
    network = "conv" if run.kind == "conv" else "sparse"
    assert (summary["recipe"], summary["network"]) == (run.recipe, network)
    assert summary["frames"] >= FRAMES
    assert summary["games"] == 12 if run.recipe == "classic" else summary["games"] > 5
    assert summary["beat_frames"] is None and summary["beat_seconds"] is None

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [1, 2, 3]
    assert all(line.keys() >= METRICS_KEYS for line in lines)
    assert lines[-1]["frames"] == summary["frames"] and lines[-1]["games"] == summary["games"]

    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 5 and config["gamma"] == 0.99 and "ale-py" in config["versions"]
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    shape = {"classic": (6400, 200), "fast": (FAST_VISION.size, 200), "conv": (8 * 8 * 4, 4)}[run.kind]
    assert Agent.load(folder).network.weights["W1"].shape == shape
    assert len(list((folder / "checkpoints").iterdir())) == 1

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    scalars = events.Scalars("mean_score_100")
    scored = [line["frames"] for line in lines if line["mean_score_100"] is not None]
    assert [event.step for event in scalars] == scored
    assert scalars[-1].value == pytest.approx(lines[-1]["mean_score_100"], abs=1e-5)


def test_the_last_lines_say_where_everything_is(run):
    folder, output = run.folder, run.output
    for name in ("best.safetensors", "learning_curve.png", "summary.json", "metrics.jsonl", "tensorboard"):
        assert f"{folder}/{name}" in output
    for command in ("evaluate", "watch", "record", "play"):
        assert f"pongrad {command} {folder}" in output
    assert "\x1b" not in output  # not a terminal: plain lines


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bytes(run, tmp_path, workers):
    train(tmp_path / "run", *run.flags, "--workers", workers)
    assert weights(tmp_path / "run") == weights(run.folder)


def started_and_after_two_updates(run, folder, **how):
    line = command("--run", folder, *run.flags, "--workers", 2)
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **how)
    while process.poll() is None:
        if len(RunFolder(folder).metrics()) == 2:
            return process
        time.sleep(0.02)
    raise AssertionError("it ended too early")


@pytest.mark.parametrize("run", ["fast", "classic"], indirect=True)
def test_stopped_and_resumed_is_as_if_never_stopped(run, tmp_path):
    number, code = (signal.SIGINT, 130) if run.kind == "fast" else (signal.SIGTERM, 143)
    stopped = tmp_path / "run"
    process = started_and_after_two_updates(run, stopped)
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(timeout=30) == code
    assert f"pongrad train --run {stopped} --resume" in rest
    assert newest_checkpoint(stopped).progress.update == 2

    done = subprocess.run(command("--run", stopped, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert weights(stopped) == weights(run.folder)
    assert_metrics_of_three_updates(stopped)


def assert_metrics_of_three_updates(folder):
    assert [line["update"] for line in RunFolder(folder).metrics()] == [1, 2, 3]
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("update")] == [1, 2, 3]


@pytest.mark.parametrize("run", ["fast", "conv"], indirect=True)
def test_killed_and_resumed_is_as_if_never_killed(run, tmp_path):
    """Without a word of warning, and with a line of metrics half written."""
    killed = tmp_path / "run"
    process = started_and_after_two_updates(run, killed)
    process.kill()
    process.wait()
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"update": 3, "fra')
    done = subprocess.run(command("--run", killed, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert weights(killed) == weights(run.folder)
    assert_metrics_of_three_updates(killed)


@pytest.mark.parametrize("run", ["fast"], indirect=True)
def test_a_second_signal_ends_at_once_and_damages_nothing(run, tmp_path):
    stopped = tmp_path / "run"
    process = started_and_after_two_updates(run, stopped)
    process.send_signal(signal.SIGINT)
    while "Stopping" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) in (-signal.SIGINT, 130)  # 130: it had saved already
    done = subprocess.run(command("--run", stopped, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert weights(stopped) == weights(run.folder)


def children(process):
    return [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]


def test_a_run_outlives_its_workers(run, tmp_path):
    process = started_and_after_two_updates(run, tmp_path / "run")
    for worker in children(process):
        worker.kill()
    process.communicate()
    assert process.returncode == 0
    assert weights(tmp_path / "run") == weights(run.folder)


@pytest.mark.parametrize("run", ["fast"], indirect=True)
def test_a_run_whose_workers_die_again_and_again_is_saved(run, tmp_path):
    process = started_and_after_two_updates(run, tmp_path / "run", stderr=subprocess.PIPE)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in children(process):
                worker.kill()
        time.sleep(0.01)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert re.fullmatch(r"pongrad: 3 workers died .* resume it with --resume .*\n", errors)
    assert newest_checkpoint(tmp_path / "run").progress.update == 2


@pytest.mark.parametrize("recipe", ["fast", "classic"])
def test_numbers_that_are_not_finite_end_the_run_before_it_is_saved(recipe, tmp_path):
    flags = ["--recipe", recipe, "--num-hidden-layer-neurons", 4, "--learning-rate", 1e38, "--workers", 2]
    line = command("--run", tmp_path / "run", *flags)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(
        r"pongrad: the .* are no longer finite .* --learning-rate below 1e\+38\n", done.stderr
    )
    saved = [file.parent.name for file in (tmp_path / "run").glob("**/*.safetensors")]
    assert saved == ["stages"]  # the untrained agent's


def test_what_is_not_finite_is_never_written(tmp_path):
    training = Training(Fast(run=tmp_path / "run", num_hidden_layer_neurons=4), time.monotonic())
    training._save()
    for arrays in (training.agent.network.weights, training.learner.state):
        for value in (np.nan, np.inf):
            arrays["W2"][0, 0] = value
            training.progress.update += 1
            with pytest.raises(UserError, match="update 0 is kept"):
                training._save()
            arrays["W2"][0, 0] = 0
    assert newest_checkpoint(tmp_path / "run").progress.update == 0
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize("run", ["fast"], indirect=True)
def test_a_finished_run_can_be_extended(run, tmp_path):
    """Resuming with a later end gives what the longer run would have given."""
    short = tmp_path / "short"
    train(short, *run.flags, "--frames", 1)
    assert newest_checkpoint(short).progress.update == 1
    again = subprocess.run(command("--run", short, "--resume"), capture_output=True, text=True)
    assert again.returncode == 2 and "is finished: give a larger --frames" in again.stderr
    train(short, "--resume", "--frames", FRAMES)
    assert weights(short) == weights(run.folder)


@pytest.mark.parametrize(("game", "to_pass"), [("ALE/Pong-v5", 0), ("ALE/Breakout-v5", 30.5)])
def test_passing_the_reference_is_noted_once_and_the_agent_kept(tmp_path, game, to_pass):
    """The computer in a duel, the human tester's score in another game."""
    training = Training(Fast(game=game, run=tmp_path / "run"), time.monotonic())
    progress = training.progress
    progress.scores.extend([to_pass + 1] * 99)
    progress.frames, progress.seconds = 1000, 10.0
    training._note_records()
    assert progress.beat_frames is None  # 99 games are not enough
    for score, frames in ((-99, 2000), (3, 3000), (1, 4000)):  # means as much, then above
        progress.scores.append(to_pass + score)
        progress.frames = frames
        training._note_records()
        assert progress.beat_frames == (None if frames == 2000 else 3000)
    assert progress.best_mean_score_100 == pytest.approx(to_pass + 0.02)
    beat = Agent.load(tmp_path / "run" / "beat.safetensors")
    assert beat.game == game and beat.greedy and not training.agent.greedy


def test_the_best_agent_does_not_depend_on_when_it_is_saved(tmp_path):
    files = []
    for name, save_often in (("seldom", False), ("often", True)):
        training = Training(Classic(run=tmp_path / name), time.monotonic())
        for update, score in enumerate([0] * 99 + [3, 0, -5], start=1):
            training.progress.update = update
            training.progress.scores.append(score)
            training._note_records()
            training.agent.network.weights["W2"] += 0.01  # learning goes on
            if save_often and update > 99:
                training._save()
        training._save()
        files.append((tmp_path / name / "best.safetensors").read_bytes())
    assert files[0] == files[1]


def test_a_terminal_shows_a_live_panel(tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, command("--run", tmp_path / "run", "--frames", 80_000))
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the other end has closed
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = shown.decode()
    for word in ("╭", "mean score", "frames/s", "of the workers' time", "-21", "0"):
        assert word in text


def test_speeds_are_those_of_several_updates():
    """Updates of 1, 0.1 and 1.9 seconds, the second of games played before: 300 frames in 3 seconds."""
    updates = [(1.0, 100, 0.9), (0.1, 100, 0.9), (1.9, 100, 0.0)]
    assert speeds(updates) == pytest.approx((100, (1 * 0.9 + 0.1 * 9) / 3))
    assert speeds([(2.0, 180, 1.0)]) == (90, 0.5)


def test_time_limits_are_kept(tmp_path):
    start = time.monotonic()
    output = train(tmp_path / "run", "--minutes", 0.01)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "Done" in output and summary["games"] == 0
    assert summary["seconds"] <= time.monotonic() - start  # they count from the start of the process


def test_it_learns(tmp_path):
    """Half a minute of real Pong: the last 20 games are clearly better than the first."""
    output = train(tmp_path / "run", "--seed", 3, "--frames", 550_000)
    metrics = RunFolder(tmp_path / "run").metrics()
    first = next(line for line in metrics if line["games"] >= 20)
    last = metrics[-1]
    assert last["games"] >= 60
    assert last["mean_score_20"] > first["mean_score_20"] + 1
    assert last["entropy"] < first["entropy"] and last["explained_variance"] > 0.2
    shown = [float(x) for x in re.findall(r"last 100 games ([+-]\d+\.\d+)", output)]
    assert shown[-1] == pytest.approx(last["mean_score_100"], abs=0.005)
