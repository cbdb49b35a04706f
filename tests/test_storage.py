"""Files are whole or not there, and a bad file is one line for its user, never a traceback."""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from conftest import FAST_VISION
from hypothesis import given, settings
from hypothesis import strategies as st

from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.network.agent import FORMAT, Agent


@pytest.fixture
def raises_one_line():
    def check(call, *args):
        with pytest.raises(UserError) as error:
            call(*args)
        assert "\n" not in str(error.value)
        return str(error.value)

    return check


# --- Writing --------------------------------------------------------------------------------------------


def test_writing_replaces_the_file(tmp_path):
    for content in (b"first", b"second"):
        storage.write(tmp_path / "a.txt", content)
        assert (tmp_path / "a.txt").read_bytes() == content
        assert os.listdir(tmp_path) == ["a.txt"]
    storage.write_json(tmp_path / "b.json", {"seed": 1})
    assert json.loads((tmp_path / "b.json").read_text()) == {"seed": 1}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [b"old", None])
def test_a_write_that_fails_changes_nothing(step, failure, existing, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    if existing is not None:
        path.write_bytes(existing)

    def fail(*_):
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(UserError if isinstance(failure, OSError) else KeyboardInterrupt):
        storage.write(path, b"new")
    assert (path.read_bytes() if path.exists() else None) == existing
    # What a crash may leave behind has a name that neither a listing nor a `*` shows
    assert [file.name for file in tmp_path.glob("[!.]*")] == ([] if existing is None else ["a.txt"])
    monkeypatch.undo()
    storage.write(path, b"new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_is_renamed_is_on_the_disk_and_so_is_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args)))
    storage.write(tmp_path / "a.txt", b"new")
    assert calls == ["fsync", "replace", "fsync"]


def test_what_a_killed_write_left_can_be_removed(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from pongrad.ground import storage\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"storage.write(Path({str(tmp_path)!r}, 'a.txt'), b'new')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == [".a.txt.new"]
    (tmp_path / "b.txt").write_text("")
    storage.remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_folder_that_is_not_there_is_the_users_error(tmp_path, raises_one_line):
    assert "cannot write" in raises_one_line(storage.write, tmp_path / "no" / "a.txt", b"")


# --- Reading --------------------------------------------------------------------------------------------

TENSORS = {"W1": np.arange(6, dtype=np.float32).reshape(3, 2), "c": np.array([1e-300])}


def test_tensors_and_metadata_come_back(tmp_path):
    storage.save(tmp_path / "a.safetensors", TENSORS, {"format": "test-1", "note": "Grüße", "n": [1, 2.5]})
    tensors, metadata = storage.load(tmp_path / "a.safetensors", "test-1")
    assert metadata == {"format": "test-1", "note": "Grüße", "n": [1, 2.5]}
    assert_same(tensors, TENSORS)


def assert_same(tensors, want):
    assert tensors.keys() == want.keys()
    for name, array in want.items():
        assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(tensors[name], array)


def saved(metadata):
    return safetensors.numpy.save(TENSORS, metadata)


def signed():
    with tempfile.TemporaryDirectory() as folder:
        storage.save(Path(folder, "a"), TENSORS, {"format": "test-1", "n": [1, 2.5]})
        return Path(folder, "a").read_bytes()


GOOD = signed()
BAD_FILES = {
    "empty": b"",
    "text": b"not an agent at all\n",
    "a huge header": (2**62).to_bytes(8, "little") + GOOD[8:],
    "cut short": GOOD[:-1],
    "too long": GOOD + b"\0",
    "another number": GOOD.replace(b"2.5", b"3.5"),
    "another name": GOOD.replace(b'"W1"', b'"W2"'),
    "another type": GOOD.replace(b"F32", b"I32"),
    "a type that NumPy has not": GOOD.replace(b'"F64","shape":[1]', b'"F8_E4M3","shape":[8]'),
    "without a checksum": saved({"pongrad": '{"format": "test-1"}'}),
    "a stranger's": saved(None),
    "of another format": saved({"pongrad": '{"format": "test-2"}'}),
    "without format": saved({"pongrad": "{}"}),
    "metadata not a dictionary": saved({"pongrad": '["test-1"]'}),
    "metadata not JSON": saved({"pongrad": "{\n{"}),
    "metadata without bottom": saved({"pongrad": "[" * 100_000}),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_the_users_error(content, tmp_path, raises_one_line):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert str(path) in raises_one_line(storage.load, path, "test-1")


def test_no_file_and_no_agent_in_a_folder(tmp_path, raises_one_line):
    assert "no such file" in raises_one_line(storage.load, tmp_path / "a.safetensors", "test-1")
    assert str(tmp_path) in raises_one_line(storage.load, tmp_path, "test-1")
    assert "there is no run" in raises_one_line(Agent.load, tmp_path)


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, len(GOOD) - 1))
def test_a_truncated_file_is_the_users_error(length, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "truncated.safetensors"
    path.write_bytes(GOOD[:length])
    with pytest.raises(UserError):
        storage.load(path, "test-1")


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_harmless_or_the_users_error(place, value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])
    try:
        tensors, metadata = storage.load(path, "test-1")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert_same(tensors, TENSORS)
        assert metadata == {"format": "test-1", "n": [1, 2.5]}


@pytest.mark.parametrize(
    ("version", "says"), [("2", "newer pongrad"), ("0", "older pongrad"), ("x", "not a file")]
)
def test_a_file_of_another_version_is_said_to_be_one(version, says, tmp_path, raises_one_line):
    storage.save(tmp_path / "a", TENSORS, {"format": f"test-{version}"})
    assert says in raises_one_line(storage.load, tmp_path / "a", "test-1")


def test_sizes_are_looked_at_before_anything_is_read(tmp_path, raises_one_line, monkeypatch):
    monkeypatch.setattr(safetensors, "safe_open", lambda *_: 1 / 0)
    with open(tmp_path / "a", "wb") as file:  # a file with a hole takes no room on the disk
        file.write(GOOD)
        file.truncate(storage.LARGEST_FILE + 1)
    assert "none of ours is larger" in raises_one_line(storage.load, tmp_path / "a", "test-1")
    (tmp_path / "b").write_bytes((len(GOOD) - 7).to_bytes(8, "little") + GOOD[8:])
    assert "cut short" in raises_one_line(storage.load, tmp_path / "b", "test-1")
    assert "not a file on a disk" in raises_one_line(storage.load, Path("/dev/zero"), "test-1")


def test_what_could_not_be_read_again_is_not_written(tmp_path, raises_one_line, monkeypatch):
    monkeypatch.setattr(storage, "LARGEST_FILE", len(GOOD) - 1)
    line = raises_one_line(storage.save, tmp_path / "a", TENSORS, {"format": "test-1", "n": [1, 2.5]})
    assert "use fewer neurons" in line and not (tmp_path / "a").exists()


def test_a_message_is_one_line_whatever_a_file_says():
    message = str(UserError("a tensor named \x1b[2J\nW1\r" + "x" * 10_000))
    assert message.isprintable() and len(message) < 2000


# --- Agents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(8,), (8, 4)], ids=str)
def test_an_agent_comes_back_from_its_file(hidden, dtype, new_agent, tmp_path):
    agent = new_agent(dtype=dtype, hidden=hidden, greedy=True, vision=FAST_VISION)
    agent.save(tmp_path / "best.safetensors", score=3)
    for source in (tmp_path / "best.safetensors", str(tmp_path)):  # the file, or its run folder
        loaded = Agent.load(source)
        assert loaded.description() == agent.description()
        assert loaded.vision == agent.vision
        assert list(loaded.network.weights) == list(agent.network.weights)
        for name, array in agent.network.weights.items():
            assert loaded.network.weights[name].dtype == dtype
            np.testing.assert_array_equal(loaded.network.weights[name], array)


def test_a_small_file_holds_every_weight_in_8_bits(new_agent, tmp_path):
    agent = new_agent(hidden=(4,))
    W1, W2 = agent.network.weights.values()
    W1[7] = 0
    W1[8] = [1e20, -1e20, 3e19, 0]
    agent.save(tmp_path / "small.safetensors", small=True, run="x")
    assert (tmp_path / "small.safetensors").stat().st_size < 6400 * (4 + 4 + 2) + 2000
    loaded = Agent.load(tmp_path / "small.safetensors").network.weights
    assert loaded["W1"].dtype == np.float32
    largest = np.abs(W1).max(axis=1, keepdims=True)
    assert (np.abs(loaded["W1"] - W1) <= largest / 253).all()
    np.testing.assert_array_equal(loaded["W2"], W2)


def test_a_small_file_leaves_out_rows_of_zeros(new_agent, tmp_path):
    agent = new_agent(hidden=(4,))
    agent.network.weights["W1"][100:] = 0
    agent.save(tmp_path / "small.safetensors", small=True)
    assert (tmp_path / "small.safetensors").stat().st_size < 100 * (4 + 4 + 2) + 2000
    loaded = Agent.load(tmp_path / "small.safetensors").network.weights["W1"]
    assert loaded.shape == (6400, 4) and not loaded[100:].any()
    np.testing.assert_allclose(loaded[:100], agent.network.weights["W1"][:100], atol=1e-3)


SMALL = {
    "W1": np.ones((6400, 4), np.int8),
    "W1.scale": np.ones(6400, np.float32),
    "W1.rows": np.arange(6400, dtype=np.uint16),
}
BAD_SMALL_WEIGHTS = {
    "whole weights": {"W1": np.ones((6400, 4), np.float32)},
    "one dimension": {"W1": SMALL["W1"][:, 0]},
    "too few scales": {"W1.scale": SMALL["W1.scale"][1:]},
    "whole scales": {"W1.scale": SMALL["W1.scale"].astype(np.int64)},
    "endless scales": {"W1.scale": SMALL["W1.scale"] * np.inf},
    "too large": {"W1": np.ones((6400, 11_000), np.int8)},
    "too few rows": {"W1.rows": SMALL["W1.rows"][1:]},
    "rows of another type": {"W1.rows": SMALL["W1.rows"].astype(np.int64)},
    "a row twice": {"W1.rows": np.maximum(SMALL["W1.rows"], 1)},
    "a row too far": {"W1.rows": SMALL["W1.rows"] + np.uint16(1)},
}


@pytest.mark.parametrize("weights", BAD_SMALL_WEIGHTS.values(), ids=BAD_SMALL_WEIGHTS)
def test_unusable_8_bit_weights_are_the_users_error(weights, new_agent, tmp_path, raises_one_line):
    path = tmp_path / "a.safetensors"
    weights = {**SMALL, **weights}
    weights["W2"] = np.ones((weights["W1"].shape[-1], 1), np.float32)
    storage.save(path, weights, {"format": FORMAT, **new_agent(hidden=(4,)).description()})
    assert "W1" in raises_one_line(Agent.load, path)


def test_a_copy_has_weights_of_its_own(new_agent):
    agent = new_agent(hidden=(4,))
    copy = agent.copy()
    copy.network.weights["W1"][:] = 0
    assert agent.network.weights["W1"].any()
    assert copy.description() == agent.description()


W1, W2 = np.ones((6400, 4), np.float32), np.ones((4, 1), np.float32)
BAD_WEIGHTS = {
    "too few pixels": {"W1": W1[1:], "W2": W2},
    "layers that do not fit": {"W1": W1, "W2": W2[1:]},
    "four outputs for two actions": {"W1": W1, "W2": np.ones((4, 4), np.float32)},
    "one dimension": {"W1": W1, "W2": W2[:, 0]},
    "integers": {"W1": W1.astype(np.int32), "W2": W2},
    "NaN": {"W1": W1, "W2": np.array([[1], [1], [np.nan], [1]], np.float32)},
    "infinite": {"W1": W1 * np.float32(np.inf), "W2": W2},
    "no weights": {},
    "one layer": {"W1": W1[:, :1]},
    "other names": {"W1": W1, "W3": W2},
    "two precisions": {"W1": W1, "W2": W2.astype(np.float64)},
}


@pytest.mark.parametrize("weights", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_unusable_weights_are_the_users_error(weights, new_agent, tmp_path, raises_one_line):
    path = tmp_path / "a.safetensors"
    storage.save(path, weights, {"format": FORMAT, **new_agent(hidden=(4,)).description()})
    assert "not a usable agent" in raises_one_line(Agent.load, path)


def coded(content):
    """Bytes as a vision's description has them."""
    return base64.b64encode(zlib.compress(content)).decode()


BAD_DESCRIPTIONS = {
    "three actions": {"actions": [2, 3, 0], "action_names": ["RIGHT", "LEFT", "NOOP"]},
    "no actions": {"actions": [], "action_names": []},
    "an action twice": {"actions": [2, 2], "action_names": ["RIGHT", "RIGHT"]},
    "greedy by name": {"greedy": "yes"},
    "another game": {"game": "ALE/Freeway-v5"},
    "a game with other actions": {"game": "ALE/Pong-v5 full_action_space=true"},
    "actions not a list": {"actions": 2},
    "an action that the game has not": {"actions": [2, 6]},
    "names of other actions": {"action_names": ["LEFT", "RIGHT"]},
    "names that are no list": {"action_names": 7},
    "a vision that is no dictionary": {"vision": [35, 195]},
}
BAD_VISIONS = {
    "unknown parts": {"colour": "red"},
    "rows of text": {"top": "35"},
    "no stride": {"stride": 0},
    "other types": {"offsets": "yes"},
    "a background that is too small": {"background": coded(bytes(6399))},
    "a background that grows without end": {"background": coded(bytes(10**8))},
    "a background that is no code": {"background": "????"},
    "classes that there are not": {"classes": coded(bytes([7] * 256))},
    "too few classes": {"classes": coded(bytes(255))},
    "a palette of text": {"palette": [["a", "b"]]},
    "a palette of numbers": {"palette": [1, 2]},
    "a palette of numbers that are no colours": {"palette": [[0, 256]]},
    "rows below the screen": {"top": 1035, "bottom": 1195},
    "rows above the screen": {"top": -40, "bottom": 120},
    "a stride that words do not hold": {"stride": 5},
    "a huge screen": {"height": 10**9, "bottom": 10**9},
}


# Compiled code reads where it is told to, so a vision that does not fit a screen must not get that far.
@pytest.mark.parametrize("change", BAD_VISIONS.values(), ids=BAD_VISIONS)
@pytest.mark.parametrize("small", [False, True])
def test_unusable_visions_are_the_users_error(change, small, new_agent, tmp_path, raises_one_line):
    path, description = tmp_path / "a.safetensors", new_agent(hidden=(4,)).description()
    description["vision"] |= change
    weights = {"W1": W1, "W2": W2}
    if small:
        rows = np.arange(len(W1)).astype(np.uint16)
        weights |= {"W1": W1.astype(np.int8), "W1.scale": np.ones(len(W1), np.float32), "W1.rows": rows}
    storage.save(path, weights, {"format": FORMAT, **description})
    assert "not a usable agent" in raises_one_line(Agent.load, path)


@pytest.mark.parametrize("change", BAD_DESCRIPTIONS.values(), ids=BAD_DESCRIPTIONS)
def test_unusable_descriptions_are_the_users_error(change, new_agent, tmp_path, raises_one_line):
    path = tmp_path / "a.safetensors"
    storage.save(
        path, {"W1": W1, "W2": W2}, {"format": FORMAT, **new_agent(hidden=(4,)).description(), **change}
    )
    assert "not a usable agent" in raises_one_line(Agent.load, path)


def test_what_a_later_version_wrote_is_said(new_agent, tmp_path, raises_one_line):
    path, description = tmp_path / "a.safetensors", new_agent(hidden=(4,)).description()
    description["vision"]["infrared"] = True
    storage.save(path, {"W1": W1, "W2": W2}, {"format": FORMAT, **description})
    assert "a vision with infrared, perhaps of a later version" in raises_one_line(Agent.load, path)
