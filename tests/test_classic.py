"""The lesson stays one short program on its own, which plays real Pong, saves and goes on.

Its mathematics is checked beside the engine's in the other files.
"""

import ast
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pongrad import classic

SOURCE = Path(classic.__file__).read_text(encoding="utf-8")
LINE = re.compile(r"game (\d+): score ([+-]\d+), running mean ([+-]\d+\.\d+), \d+ steps")


def test_it_is_short_and_needs_only_numpy_and_gymnasium():
    assert len(SOURCE.splitlines()) < 250
    imported = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    assert imported - sys.stdlib_module_names == {"numpy", "gymnasium", "ale_py"}


def test_it_has_the_articles_constants():
    assert classic.batch_size == 10
    assert classic.gamma == classic.decay_rate == 0.99
    assert classic.num_hidden_layer_neurons == 200
    assert classic.learning_rate == 1e-4
    assert classic.epsilon == 1e-5
    assert (classic.UP, classic.DOWN) == (2, 3)


def test_its_first_weights_are_the_articles():
    weights = classic.initial_weights(np.random.default_rng(0))
    assert weights["W1"].shape == (200, 6400)
    assert weights["W2"].shape == (200,)
    assert np.std(weights["W1"]) == pytest.approx(6400**-0.5, rel=0.01)
    assert np.std(weights["W2"]) == pytest.approx(200**-0.5, rel=0.2)


def test_it_plays_real_pong(tmp_path):
    command = [sys.executable, "-m", "pongrad.classic", "--games", "2", "--file", tmp_path / "c.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    games = LINE.findall(done.stdout)
    assert [number for number, _, _ in games] == ["1", "2"]
    first, second = (int(score) for _, score, _ in games)
    assert -21 <= first <= 21 and first != 0
    assert float(games[0][2]) == first
    assert float(games[1][2]) == pytest.approx(0.99 * first + 0.01 * second, abs=1e-3)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the program with an update after every game; the scores and running means it printed."""
    monkeypatch.setattr(classic, "batch_size", 1)

    def main(*flags):
        monkeypatch.setattr(sys, "argv", ["classic", "--file", str(tmp_path / "c.npz"), *flags])
        classic.main()
        return [(int(a), int(b), float(c)) for a, b, c in LINE.findall(capsys.readouterr().out)]

    return main


def test_stopped_and_resumed_it_carries_on(run, tmp_path, monkeypatch):
    ((_, first, _),) = run("--games", "1")
    weights, mean_square, game, running_mean = classic.load(tmp_path / "c.npz")
    assert (game, running_mean) == (1, first)
    untrained = classic.initial_weights(np.random.default_rng(1))  # the default seed
    assert not np.array_equal(weights["W1"], untrained["W1"])

    monkeypatch.setattr(classic, "learning_rate", 0)  # so that the weights show where they came from
    ((number, second, mean),) = run("--games", "2", "--resume")
    assert number == 2
    assert mean == pytest.approx(0.99 * first + 0.01 * second, abs=1e-3)
    after, mean_square_after, game, running_mean = classic.load(tmp_path / "c.npz")
    assert (game, running_mean) == (2, pytest.approx(0.99 * first + 0.01 * second))
    for name in weights:
        np.testing.assert_array_equal(after[name], weights[name])
        assert mean_square[name].any()
        assert (mean_square_after[name] >= np.float32(0.99) * mean_square[name] * (1 - 1e-6)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_there_must_be_something_to_resume(run, capsys):
    with pytest.raises(SystemExit) as stop:
        run("--resume")
    assert stop.value.code == 2
    assert "to resume from" in capsys.readouterr().err.splitlines()[-1]


def error_of(run, capsys, *flags):
    """What the program says in its last line, having played nothing."""
    with pytest.raises(SystemExit) as stop:
        run(*flags)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and "game 1" not in out
    return err.splitlines()[-1]


def test_a_file_that_could_not_be_written_is_refused_before_it_plays(run, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("nowhere", "file"):
        line = error_of(run, capsys, "--file", str(tmp_path / folder / "c.npz"))
        assert f"cannot write to the folder {tmp_path / folder}" in line
    assert "--seed 0 or more" in error_of(run, capsys, "--seed", "-1")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


DAMAGES = {
    "half": lambda good: good[: len(good) // 2],
    "flipped": lambda good: good[:1000] + bytes([good[1000] ^ 255]) + good[1001:],
    "empty": lambda good: b"",
    "text": lambda good: b"hello",
    "pickle": lambda good: pickle.dumps({"W1": 1}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_clear_line(run, capsys, tmp_path, damage):
    weights = classic.initial_weights(np.random.default_rng(0))
    classic.save(tmp_path / "c.npz", weights, weights, 10, -20.5)
    (tmp_path / "c.npz").write_bytes(damage((tmp_path / "c.npz").read_bytes()))
    line = error_of(run, capsys, "--resume")
    assert line.endswith("c.npz is damaged or of another program: give another --file")


@pytest.mark.parametrize("shape", [None, (3, 4)], ids=["other arrays", "another network"])
def test_a_foreign_file_is_one_clear_line(run, capsys, tmp_path, shape):
    w = np.zeros(shape or 1)
    arrays = {"W1": w, "W2": w[0], "mean_square_W1": w, "mean_square_W2": w[0]} if shape else {"a": w}
    np.savez(tmp_path / "c.npz", **arrays, game=1, running_mean=-20.0)
    assert "damaged or of another program" in error_of(run, capsys, "--resume")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")
def test_a_full_disk_is_one_line(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
    code = limit + SOURCE.replace("batch_size = 10", "batch_size = 1")
    line = [sys.executable, "-c", code, "--games", "1", "--file", str(tmp_path / "c.npz")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot go on: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "c.npz").exists()
