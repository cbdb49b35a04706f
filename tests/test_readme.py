"""What the README shows works as it stands there."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from pongrad.cli import _command
from pongrad.ground.errors import UserError
from pongrad.learning.recipes import Classic, Recipe

README = (Path(__file__).parents[1] / "README.md").read_text()
OTHER_GAMES = (Path(__file__).parents[1] / "docs" / "other-games.md").read_text()


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_gymnasium_loop_wins_a_game():
    (code,) = (block for block in blocks("python") if "gymnasium" in block)
    names = {}
    exec(code, names)
    assert names["over"] and names["reward"] == 1  # the last point


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in blocks("sh") + blocks("sh", OTHER_GAMES)
        for line in block.splitlines()
        if line.startswith("pongrad ")
    ],
)
def test_commands_are_understood(line):
    args = shlex.split(line, comments=True)[1:]
    if "--help" not in args:
        try:
            command = _command(args)
            if isinstance(command, Recipe) and ":" not in command.game:  # MiniGrid is not installed
                command.check()
        except UserError as error:
            assert str(error).startswith("there is no run")  # to resume: it was understood


def test_the_number_of_lines_is_true():
    lines = len((Path(__file__).parents[1] / "pongrad" / "classic.py").read_text().splitlines())
    assert f"one file of {lines} lines" in README.replace("\n", " ")


def test_files_named_in_the_table_are_those_of_a_run():
    import pongrad.runs.folder

    table = README.split("| file | holds |")[1].split("\n\n")[0]
    names = re.findall(r"`([^`]+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert len(names) == 9
    for name in names:
        assert name.rstrip("/") in pongrad.runs.folder.__doc__


def test_the_python_names_exist():
    import pongrad

    assert pongrad.Classic is Classic and callable(pongrad.train)


def test_scores_of_other_games_are_those_measured():
    """Of both seeds: the best agent's after 2 and 10 million frames, then those of training games."""

    def written(score):
        return f"{score:,.0f}" if score >= 100 else f"{score:.1f}"

    results = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "games.json").read_text())
    table = OTHER_GAMES.split("| game | random play |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 8
    for row in table:
        name, _, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        measured = results[f"ALE/{name.replace(' ', '')}-v5"]
        what = itertools.product(("mean_score", "last_100_in_training"), (2_000_000, 10_000_000))
        for cell, (key, frames) in zip(cells, what, strict=False):
            runs = [measured.get(f"seed {seed}, {frames} frames") for seed in (171, 172)]
            assert cell == ", ".join(written(run[key]) for run in runs if run), name
