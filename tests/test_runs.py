"""A run's folder: one owner, checkpoints that can be gone on from or are refused, metrics without a gap."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.learning.recipes import Fast
from pongrad.playing.play import play
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import CHECKPOINT_FORMAT, RunFolder
from pongrad.runs.training import Training

STEPS = 30


@pytest.fixture
def small(tmp_path, emulator):
    """A run with two games under way and one checkpoint, nobody training."""
    config = Fast(run=tmp_path / "run", num_games=2, num_hidden_layer_neurons=4)
    training = Training(config, time.monotonic())
    _, training.games = play(training.agent, training.games, STEPS, emulator)
    training.agent.network.weights["W1"] += 1
    training.shared.publish(training.agent.network.weights)
    training.progress.update, training.progress.frames = 3, 8 * STEPS
    training.progress.scores.extend([-21, 3])
    training._save()
    training.folder.close()
    path = training.folder.newest_checkpoint()
    return SimpleNamespace(config=replace(config, resume=True), training=training, path=path)


def resumed(config):
    training = Training(config, time.monotonic())
    training.folder.close()
    return training


def refused(config):
    with pytest.raises(UserError) as error:
        Training(config, time.monotonic())
    assert str(error.value).isprintable()
    return str(error.value)


# --- Owners ---------------------------------------------------------------------------------------------


def test_two_runs_cannot_share_a_folder(small):
    owner = Training(small.config, time.monotonic())
    assert f"process {os.getpid()} is training in" in refused(small.config)
    assert f"process {os.getpid()} is training in" in refused(replace(small.config, resume=False))
    owner.folder.close()
    resumed(small.config)


def test_a_refused_run_releases_its_lock(small):
    """A notebook keeps the last exception, and with it all that it has seen."""
    with pytest.raises(UserError, match="holds a run already") as first:
        Training(replace(small.config, resume=False), time.monotonic())
    with pytest.raises(UserError, match="seed") as second:
        Training(replace(small.config, seed=2), time.monotonic())
    with pytest.raises(UserError, match="is finished") as third:
        Training(replace(small.config, frames=1), time.monotonic())
    resumed(small.config)
    assert first and second and third


def test_the_lock_of_a_process_that_was_killed_is_no_lock(small):
    code = (
        "from pongrad.runs.folder import RunFolder; from pathlib import Path; import time\n"
        f"folder = RunFolder(Path({str(small.config.run)!r})); folder.lock()\n"
        "print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    assert f"process {process.pid} is training in" in refused(small.config)
    process.kill()
    process.wait()
    resumed(small.config)


def test_two_runs_started_at_once_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [RunFolder.create(Fast()).path.as_posix() for _ in range(3)]
    assert folders == ["runs/fast-seed1", "runs/fast-seed1-2", "runs/fast-seed1-3"]


# --- Checkpoints ----------------------------------------------------------------------------------------


def test_a_checkpoint_holds_all_there_is(small):
    training, again = small.training, resumed(small.config)
    assert again.progress == training.progress
    for name, array in training.agent.network.weights.items():
        np.testing.assert_array_equal(again.agent.network.weights[name], array)
        for behind in (0, 1):
            published = [t.shared.agent(t.shared.version - behind) for t in (again, training)]
            np.testing.assert_array_equal(*(agent.network.weights[name] for agent in published))
    for name, array in training.learner.state.items():
        np.testing.assert_array_equal(again.learner.state[name], array)
    for game, want in zip(again.games, training.games, strict=True):
        assert game == want


def test_the_last_three_checkpoints_are_kept_and_nothing_half_written(small):
    (small.path.parent / ".00000004.safetensors.new").write_text("half")
    training = resumed(small.config)
    for training.progress.update in range(4, 9):
        training._save()
    names = sorted(file.name for file in small.path.parent.iterdir())
    assert names == [f"0000000{number}.safetensors" for number in (6, 7, 8)]


# What is changed in a checkpoint's tensors and metadata, whose checksum is then made valid again.
SIGNED = {
    "of another seed": lambda t, m: m["hyperparameters"].update(seed=2),
    "of another game": lambda t, m: m["hyperparameters"].update(game="ALE/Breakout-v5"),
    "with another game": lambda t, m: m["games"][0].update(id="ALE/Breakout-v5"),
    "with a game of another seed": lambda t, m: m["games"][0].update(seed=2),
    "with games exchanged": lambda t, m: m["games"].reverse(),
    "with too few games": lambda t, m: m["games"].pop(),
    "with a game of endless steps": lambda t, m: m["games"][0].update(step=10**12),
    "with half a step": lambda t, m: m["games"][0].update(step=0.5),
    "with a game that is over": lambda t, m: m["games"][0].update(terminated=True),
    "with a game that was cut off": lambda t, m: m["games"][0].update(truncated=True),
    "with no such purpose": lambda t, m: m["games"][0].update(purpose=9),
    "with an unknown number": lambda t, m: m["games"][0].update(x=1),
    "without games": lambda t, m: m.pop("games"),
    "games that are no list": lambda t, m: m.update(games=3),
    "progress that is no dictionary": lambda t, m: m.update(progress=[1]),
    "of another update than its name says": lambda t, m: m["progress"].update(update=4),
    "with negative frames": lambda t, m: m["progress"].update(frames=-1),
    "with seconds that are no number": lambda t, m: m["progress"].update(seconds=float("nan")),
    "with impossible scores": lambda t, m: m["progress"].update(scores=[10**60]),
    "with scores that are no list": lambda t, m: m["progress"].update(scores=3),
    "without weights": lambda t, m: t.pop("weights.W1"),
    "without the weights before": lambda t, m: t.pop("weights_before.W1"),
    "with other weights": lambda t, m: t.update({"weights.W\x1b\n9": t["weights.W1"]}),
    "with weights of another shape": lambda t, m: t.update({"weights.W1": t["weights.W1"][1:]}),
    "with weights of another type": lambda t, m: t.update({"weights.W2": t["weights.W2"].astype("f8")}),
    "with weights that are not finite": lambda t, m: t.update({"weights.W2": t["weights.W2"] * np.inf}),
    "without learner state": lambda t, m: t.pop("learner.W2"),
    "with negative learner state": lambda t, m: t.update({"learner.t": np.array(-1)}),
    "with huge learner state": lambda t, m: t.update({"learner.t": np.array(2**63 - 1)}),
    "with pixels off the screen": lambda t, m: t.update({"games.0.now": np.array([60_000], "u2")}),
    "with a pixel twice": lambda t, m: t.update({"games.0.now": np.array([4, 5], "u2")}),
    "with a class that the vision has not": lambda t, m: t.update({"games.0.now": np.array([3], "u2")}),
    "with more pixels than can be on": lambda t, m: t.update({"games.0.now": np.arange(0, 4 * 600, 4, "u2")}),
    "with pixels in disorder": lambda t, m: t.update({"games.0.now": np.array([5, 4], "u2")}),
    "with pixels of another type": lambda t, m: t.update({"games.0.now": np.array([1.5])}),
    "with an emulator state of another type": lambda t, m: t.update({"games.0.state": np.zeros((9, 9))}),
    "without an emulator state": lambda t, m: t.update({"games.0.state": np.empty(0, "u1")}),
}


@pytest.mark.parametrize("change", SIGNED.values(), ids=SIGNED)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_refused(change, small):
    tensors, metadata = storage.load(small.path, CHECKPOINT_FORMAT)
    change(tensors, metadata)
    storage.save(small.path, tensors, metadata)
    line = refused(small.config)
    assert str(small.path) in line and "delete it" in line


def test_a_checkpoint_of_another_folder_is_refused(small, tmp_path):
    other = Fast(run=tmp_path / "other", num_games=2, num_hidden_layer_neurons=4, gamma=0.9)
    folder = RunFolder.create(other)
    os.link(small.path, folder.path / "checkpoints" / small.path.name)
    folder.close()
    assert "of another run" in refused(replace(other, resume=True))


@pytest.mark.parametrize("change", [{"seed": "x"}, {"seed": 1.5}, {"frames": None}, {"clip": [1]}])
def test_a_damaged_configuration_is_refused(change, small):
    file = small.config.run / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert "config.json is damaged" in refused(small.config)


def test_a_run_of_another_version_is_called_that(small):
    file = small.config.run / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"telepathy": True}))
    assert refused(small.config) == f"{file.parent} is a run of another version of pongrad: start a new run"


@pytest.mark.parametrize("change", [3, {"vision": {}}, {"has_lives": "no"}, {"x": 1}])
def test_a_damaged_survey_is_refused(change, small):
    file = small.config.run / "config.json"
    content = json.loads(file.read_text())
    content["survey"] = {**content["survey"], **change} if isinstance(change, dict) else change
    file.write_text(json.dumps(content))
    assert "config.json is damaged" in refused(small.config)


def test_a_resumed_run_sees_as_it_saw(small, monkeypatch):
    """The game is not played at random again: it may look otherwise by now."""
    monkeypatch.setattr("pongrad.runs.training.survey", None)
    assert resumed(small.config).agent.vision == small.training.agent.vision


# --- Disks ----------------------------------------------------------------------------------------------


def test_a_save_that_finds_no_room_leaves_the_last_one(small):
    """The largest file allowed is smaller than a checkpoint, which is to a process what a full disk is."""
    code = (
        "import time, resource\n"
        "from pathlib import Path\n"
        "from pongrad.ground.errors import UserError\n"
        "from pongrad.runs.folder import RunFolder\n"
        "from pongrad.runs.training import Training\n"
        f"config = RunFolder(Path({str(small.config.run)!r})).config()\n"
        "from dataclasses import replace\n"
        "training = Training(replace(config, resume=True), time.monotonic())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "training.progress.update += 1\n"
        "try: training._save()\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "cannot write" in done.stdout and not done.stderr
    assert resumed(small.config).progress.update == 3


@pytest.mark.parametrize("gone", ["checkpoints", "tensorboard", "."])
def test_a_folder_that_vanishes_ends_the_run_with_one_line(gone, small):
    training = resumed(small.config)
    folder = small.config.run / gone
    folder.rename(small.config.run.parent / "elsewhere")
    training.progress.update += 1
    with pytest.raises(UserError, match="cannot write") as error:
        training.folder.add_metrics(METRICS | {"update": 4})
        training._save()
    assert str(error.value).isprintable()


# --- Metrics --------------------------------------------------------------------------------------------

METRICS = {"update": 1, "frames": 1, "games": 0, "seconds": 1.5, "mean_score_100": None, "entropy": 0.5}


def test_metrics_go_on_without_a_gap_or_a_double(tmp_path):
    """Three sessions; the last update of the first and of the second is played again."""
    written = iter(range(1, 100))
    for first, last in ((1, 3), (3, 5), (5, 7)):
        folder = RunFolder(tmp_path)
        folder.rewind_metrics(Progress(update=first - 1))
        for update in range(first, last + 1):
            folder.add_metrics(METRICS | {"update": update, "frames": 10 * update, "try": next(written)})
    assert [(line["update"], line["try"]) for line in folder.metrics()] == [
        (1, 1), (2, 2), (3, 4), (4, 5), (5, 7), (6, 8), (7, 9)
    ]  # fmt: skip
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("try")] == [10, 20, 30, 40, 50, 60, 70]
    assert [event.value for event in events.Scalars("try")] == [1, 2, 4, 5, 7, 8, 9]
    assert events.Tags()["scalars"] == ["update", "games", "seconds", "entropy", "try"]


def test_a_tensorboard_that_looks_on_while_a_run_is_resumed_sees_each_update_once(tmp_path):
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    for update in (1, 2, 3):  # each session plays its only update, and the next takes it up after it
        folder = RunFolder(tmp_path)
        folder.rewind_metrics(Progress(update=update - 1))
        folder.add_metrics(METRICS | {"update": update, "frames": 10 * update})
        events.Reload()
        assert [event.step for event in events.Scalars("update")] == [10 * n for n in range(1, update + 1)]


@pytest.mark.parametrize("rest", [b'{"update": 2, "fra', b"\0\0\0", b"\xff\xfe", b"5\n", b"{}\n"])
def test_a_damaged_end_of_the_metrics_is_forgotten(rest, tmp_path):
    folder = RunFolder(tmp_path)
    folder.rewind_metrics(Progress())
    folder.add_metrics(METRICS)
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(rest)
    assert folder.metrics() == [METRICS]
    folder.rewind_metrics(Progress(update=1))
    assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(METRICS) + "\n"
