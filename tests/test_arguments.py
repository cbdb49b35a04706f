"""Numbers and paths as people have them: in Python, and on the command line."""

import json
import os
import shlex
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pongrad import Classic, Fast, train
from pongrad.ground.arguments import whole_number
from pongrad.ground.commands import command
from pongrad.ground.errors import UserError
from pongrad.runs.folder import RunFolder

SAME = [
    ("seed", np.int64(3), 3),
    ("seed", 3.0, 3),
    ("frames", 2e6, 2_000_000),
    ("workers", np.uint8(2), 2),
    ("minutes", 2, 2.0),
    ("minutes", np.float32(0.5), 0.5),
    ("gamma", Fraction(1, 2), 0.5),
    ("until", None, None),
    ("live", np.True_, True),
    ("env_options", ["mode=1"], ("mode=1",)),
    ("run", "runs/a", Path("runs/a")),
    ("run", os.fspath(Path("~/a")), Path.home() / "a"),
    ("recipe", "fast", "fast"),
]


@pytest.mark.parametrize(("name", "given", "want"), SAME)
def test_what_is_meant_is_taken(name, given, want):
    value = getattr(Fast(**{name: given}), name)
    assert value == want and type(value) is type(want)


WRONG = [
    ("seed", 3.5, "--seed must be a whole number, not 3.5"),
    ("seed", True, "--seed must be a whole number, not True"),
    ("seed", "3", "--seed"),
    ("frames", float("inf"), "--frames"),
    ("frames", float("nan"), "--frames"),
    ("frames", None, "--frames"),
    ("minutes", "3", "--minutes must be a number"),
    ("minutes", 10**400, "--minutes"),
    ("lambda_", 1j, "--lambda must be a number"),
    ("gamma", Decimal("0.5"), "--gamma"),
    ("live", 1, "--live must be True or False"),
    ("run", 3, "--run must be a path"),
    ("run", "", "--run must be a path"),
    ("game", 3, "--game must be a text"),
    ("env_options", "mode=1", "--env-options must be a list"),
    ("reward_ends_return", "maybe", "--reward-ends-return must be 'auto' or 'yes' or 'no'"),
]


@pytest.mark.parametrize(("name", "given", "message"), WRONG)
def test_what_cannot_be_meant_is_refused_at_once(name, given, message):
    with pytest.raises(UserError, match=message):
        Fast(**{name: given})


def test_train_takes_a_recipe():
    with pytest.raises(UserError, match="train takes a recipe"):
        train("fast")


def test_a_run_of_numpys_numbers_can_be_resumed(tmp_path):
    config = Classic(
        seed=np.int64(3),
        frames=np.float64(4e6),
        batch_size=np.int8(2),
        gamma=np.float32(0.5),
        run=str(tmp_path),
    )
    folder = RunFolder.create(config)
    folder.close()
    assert json.loads((tmp_path / "config.json").read_text())["frames"] == 4_000_000
    assert folder.config().hyperparameters == config.hyperparameters


@pytest.mark.parametrize(
    ("text", "want"),
    [("1e6", 10**6), ("20M", 2 * 10**7), ("1.5M", 1_500_000), ("20_000", 20_000), ("8k", 8000)],
)
def test_whole_numbers_as_people_write_them(text, want):
    assert whole_number(text) == want


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_are_exact(number):
    assert whole_number(str(number)) == whole_number(f"{number:_}") == number


@pytest.mark.parametrize(
    "text",
    ["", "M", "1.5", "1e-3", "x", "1e999999999", "1e999999M", "1e-9999999M", "inf", "nan", "2MM", "0x10"],
)
def test_what_is_no_whole_number(text):
    with pytest.raises(ValueError, match="is not a whole number"):
        whole_number(text)


def pongrad(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "pongrad", *map(str, args)], capture_output=True, text=True, **options
    )


def test_the_command_line_takes_them_and_prints_commands_that_can_be_pasted(tmp_path):
    """A folder in ~ with a space in its name; a shell leaves the ~ of --run=~/x as it is."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    small = "--recipe", "classic", "--num-hidden-layer-neurons", "2", "--batch-size", "1", "--workers", "1"
    done = pongrad("train", "--frames", "1e3", "--run=~/my runs/a", *small, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "my runs/a/config.json").read_text())["frames"] == 1000
    [line] = [line for line in done.stdout.splitlines() if "how good it is" in line]
    again = subprocess.run(
        line.split("how good it is")[1] + " --games 1 --workers 1 --json",
        shell=True, capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(again.stdout)["games"] == 1, again.stderr
    assert not (tmp_path / "~").exists()
    done = pongrad("train", "--frames", "many")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pongrad: Error parsing --frames: 'many' is not a whole number")


def test_commands_are_quoted():
    assert shlex.split(command("watch", "a b", "$x", "it's"))[-4:] == ["watch", "a b", "$x", "it's"]


def test_commands_can_be_made_where_there_is_no_folder(tmp_path):
    code = "import os; os.rmdir(os.getcwd()); from pongrad.ground.commands import *; print(command('watch'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split()[-1] == "watch", done.stderr
