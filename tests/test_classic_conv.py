"""The lesson with a convolution: its formulas are right, and the program plays, learns, saves and resumes."""

import ast
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pongrad import classic, classic_conv
from pongrad.classic_conv import backward, cut_patches, forward, policy_gradient

SOURCE = Path(classic_conv.__file__).read_text(encoding="utf-8")
LINE = re.compile(r"game (\d+): score ([+-]\d+), running mean ([+-]\d+\.\d+), \d+ steps")
DIFFERENCE = re.compile(r"(W\d): largest relative difference (\S+) in (\d+) of (\d+) weights")


def test_it_is_short_and_needs_only_the_lesson():
    assert len(SOURCE.splitlines()) < 300
    imported = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module if node.module.startswith("pongrad") else node.module.split(".")[0])
    assert imported - sys.stdlib_module_names - {"collections.abc"} == {
        "numpy",
        "gymnasium",
        "ale_py",
        "pongrad.classic",
    }


def test_its_first_weights():
    weights = classic_conv.initial_weights(np.random.default_rng(0))
    assert weights["W1"].shape == (16, 64)
    assert weights["W2"].shape == (19 * 19 * 16,)
    assert np.std(weights["W1"]) == pytest.approx(1 / 8, rel=0.1)
    assert np.std(weights["W2"]) == pytest.approx(5776**-0.5, rel=0.1)


# --- The formulas, in pictures, filters and strides of any size -----------------------------------------


@st.composite
def cases(draw):
    """A few steps of a game: images in -1, 0, 1, the first of them blank, and random weights."""
    size, stride, filters = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    steps, rows, columns = (draw(st.integers(*limits)) for limits in ((2, 7), (size, 12), (size, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.choice(np.array([-1, 0, 1], np.int8), (steps, rows, columns), p=[0.15, 0.7, 0.15])
    x[0] = 0
    down, right = (rows - size) // stride + 1, (columns - size) // stride + 1
    return SimpleNamespace(
        x=x,
        y=rng.integers(0, 2, steps),
        advantage=rng.standard_normal(steps),
        weights={
            "W1": rng.standard_normal((filters, size * size)),
            "W2": rng.standard_normal(down * right * filters),
        },
        filters=rng.standard_normal((filters, size, size)),
        size=size,
        stride=stride,
        places=(down, right),
        # Fewer than the steps: the gradients of several pieces are summed.
        constants=mock.patch.multiple(classic_conv, filter_size=size, stride=stride, steps_at_once=3),
    )


@given(cases())
def test_forward_is_the_convolution_as_it_is_defined(case):
    """Four loops: over steps, places down, places across and filters."""
    filters = case.weights["W1"].reshape(-1, case.size, case.size)
    want = np.zeros((len(case.x), *case.places, len(filters)))
    for t, i, j, k in np.ndindex(want.shape):
        patch = case.x[t, i * case.stride :, j * case.stride :][: case.size, : case.size]
        want[t, i, j, k] = max(0, np.sum(patch * filters[k]))
    want = want.reshape(len(want), -1)
    with case.constants:
        h, p = forward(cut_patches(case.x), case.weights)
    np.testing.assert_allclose(h, want, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-want @ case.weights["W2"])), rtol=1e-9)


def objective(w1, w2, case):
    """sum_t A_t log pi(y_t | x_t), the convolution as a sum over a filter's pixels of shifted images."""
    (down, right), stride = case.places, case.stride
    h = 0
    for a, b in product(range(case.size), repeat=2):
        shifted = case.x[:, a:, b:][:, : down * stride : stride, : right * stride : stride]
        h = h + shifted[..., None] * w1[:, a * case.size + b]
    logit = anp.dot(anp.reshape(anp.maximum(h, 0), (len(case.x), -1)), w2)
    log_pi = -anp.logaddexp(0, anp.where(case.y == 1, -logit, logit))
    return anp.sum(case.advantage * log_pi)


@given(cases())
def test_the_gradient_is_autograds(case):
    with case.constants:
        got = policy_gradient(case.x, case.y, case.advantage, case.weights)
    w1, w2 = case.weights.values()
    want = autograd.grad(lambda both: objective(*both, case))((w1, w2))
    for gradient, wanted in zip(got.values(), want, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-8, atol=1e-10)


@given(cases(), st.data())
def test_the_gradient_is_the_slope(case, data):
    with case.constants:
        assume(classic_conv.smooth(cut_patches(case.x), case.weights).all())
        got = policy_gradient(case.x, case.y, case.advantage, case.weights)
    for name, w in case.weights.items():
        i = data.draw(st.integers(0, w.size - 1))
        slope = classic_conv.slope(lambda: objective(*case.weights.values(), case), w, i)
        assert got[name].flat[i] == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_a_small_example_worked_by_hand():
    """One image of 3 x 3, one filter of 2 x 2 that is moved one pixel at a time: four places."""
    x = np.array([[[1, 0, 0], [0, -1, 0], [0, 0, 1]]], np.int8)
    weights = {"W1": np.array([[1.0, -2, 3, 4]]), "W2": np.array([7.0, 5, 3, -2])}
    with mock.patch.multiple(classic_conv, filter_size=2, stride=1):
        patches = cut_patches(x)
    assert patches.tolist() == [[[1, 0, 0, -1], [0, 0, -1, 0], [0, -1, 0, 0], [-1, 0, 0, 1]]]
    h, p = forward(patches, weights)  # 1 - 4 and -3 are below 0; 2; -1 + 4
    assert h.tolist() == [[0, 0, 2, 3]]
    assert p.tolist() == [0.5]  # 3 * 2 - 2 * 3 = 0
    gradient = backward(patches, h, np.array([0.5]), weights)
    assert gradient["W2"].tolist() == [0, 0, 1, 1.5]
    # 0.5 * 3 times the third patch and 0.5 * -2 times the fourth
    assert gradient["W1"].tolist() == [[1, -1.5, 0, -1]]


# --- The program ----------------------------------------------------------------------------------------


def log_pi(x, y, weights):
    _, p = forward(cut_patches(x), weights)
    return np.log(np.where(y == 1, p, 1 - p))


def test_rewarded_actions_become_likelier_and_punished_ones_less(env):
    weights = classic_conv.initial_weights(np.random.default_rng(3))
    x, y, _ = classic_conv.play_game(env, weights, np.random.default_rng(3), 3)
    assert x.dtype == np.int8 and x.shape == (len(y), 80, 80) and set(y) == {0, 1}
    x, y = x[100:180:20], y[100:180:20]
    before = log_pi(x, y, weights)
    for t, advantage in product(range(len(x)), (1.0, -1.0)):
        new = {name: w.copy() for name, w in weights.items()}
        one = slice(t, t + 1)
        gradient = policy_gradient(x[one], y[one], np.array([advantage]), new)
        classic.rmsprop(new, gradient, {name: np.zeros_like(w) for name, w in new.items()})
        assert np.sign(log_pi(x[one], y[one], new) - before[one]) == advantage


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the program with an update after every game; the scores and running means it printed."""
    monkeypatch.setattr(classic_conv, "batch_size", 1)

    def main(*flags):
        monkeypatch.setattr(sys, "argv", ["classic_conv", "--file", str(tmp_path / "c.npz"), *flags])
        classic_conv.main()
        return [(int(a), int(b), float(c)) for a, b, c in LINE.findall(capsys.readouterr().out)]

    return main


def test_it_plays_real_pong_learns_and_resumes(run, tmp_path, monkeypatch):
    games, play_game = [], classic_conv.play_game

    def remembered(*arguments):
        games.append(play_game(*arguments))
        return games[-1]

    monkeypatch.setattr(classic_conv, "play_game", remembered)
    ((_, first, mean),) = run("--games", "1")
    ((x, y, rewards),) = games
    assert -21 <= first <= 21 and first == mean == rewards.sum() != 0

    untrained = classic_conv.initial_weights(np.random.default_rng(1))  # the default seed
    weights, mean_square, game, running_mean = classic_conv.load(tmp_path / "c.npz")
    assert (game, running_mean) == (1, first)
    advantage = classic.standardise(classic.discount(rewards))
    assert advantage @ log_pi(x, y, weights) > advantage @ log_pi(x, y, untrained) + 1
    for name, gradient in policy_gradient(x, y, advantage, untrained).items():
        np.testing.assert_allclose(mean_square[name], 0.01 * gradient**2, rtol=1e-6, atol=1e-12)

    monkeypatch.setattr(classic, "learning_rate", 0)  # so that the weights show where they came from
    ((number, second, mean),) = run("--games", "2", "--resume")
    assert (number, mean) == (2, pytest.approx(0.99 * first + 0.01 * second, abs=1e-3))
    after, *_ = classic_conv.load(tmp_path / "c.npz")
    for name in weights:
        np.testing.assert_array_equal(after[name], weights[name])
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_a_file_of_the_other_lesson_is_one_clear_line(run, tmp_path, capsys):
    weights = classic.initial_weights(np.random.default_rng(0))
    classic.save(tmp_path / "c.npz", weights, weights, 10, -20.5)
    for flags, line in ((), "exists: add --resume"), (("--resume",), "damaged or of another program"):
        with pytest.raises(SystemExit) as stop:
            run(*flags)
        assert stop.value.code == 2
        assert line in capsys.readouterr().err.splitlines()[-1]


def test_check_finds_the_gradient_right(tmp_path):
    command = [sys.executable, "-m", "pongrad.classic_conv", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    found = DIFFERENCE.findall(done.stdout)
    assert [name for name, *_ in found] == ["W1", "W2"]
    assert all(float(difference) < 1e-5 and int(checked) > 1000 for _, difference, checked, _ in found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["W1", "W2", "nan"])
def test_check_finds_a_wrong_gradient(run, monkeypatch, capsys, wrong):
    def broken(patches, h, d_logit, weights):
        gradient = backward(patches, h, d_logit, weights)
        if wrong == "W1":  # the ReLU forgotten
            dh = np.outer(d_logit, weights["W2"]).reshape(-1, 16)
            gradient["W1"] = dh.T @ patches.reshape(-1, 64)
        elif wrong == "W2":  # wrong by a thousandth
            gradient["W2"] *= 1.001
        else:
            gradient["W2"][:] = np.nan
        return gradient

    monkeypatch.setattr(classic_conv, "backward", broken)
    with pytest.raises(SystemExit) as stop:
        run("--check")
    assert stop.value.code not in (0, None)
    differences = {name: float(value) for name, value, *_ in DIFFERENCE.findall(capsys.readouterr().out)}
    good = "W2" if wrong == "W1" else "W1"
    assert differences.pop(good) < 1e-5
    assert not all(difference < 1e-4 for difference in differences.values())
