"""The exercises: each can be solved, known mistakes are named, and every other one gets a clear line."""

import ast
import doctest
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

from pongrad.cli import main
from pongrad.exercises import EXERCISES
from pongrad.exercises.checking import NotRight, check
from pongrad.games.colours import CLASSES
from pongrad.ground.errors import UserError
from pongrad.vision.relative_offsets import (
    MOST_POINTS,
    REACH_COLUMNS,
    REACH_ROWS,
    relative_offsets,
    sizes,
)

ROOT = Path(__file__).parents[1]

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.function)

SOLUTIONS = {
    1: [
        "image[::2, ::2]",
        "image[:, :, 0]",
        "(image != 144) & (image != 109)",
        "image.astype(np.int8).ravel()",
    ],
    2: ["now - (now if previous is None else previous)"],
    3: ['x @ weights["W1"].T', "np.maximum(h, 0)", 'h @ weights["W2"]', "1 / (1 + np.exp(-logit))"],
    4: ["y - p"],
    5: ["running *= rewards[t] == 0", "rewards[t] + gamma * running"],
    6: ["(returns - returns.mean()) / returns.std() if returns.std() > 1e-12 else 0 * returns"],
    7: ["d_logit @ h", 'np.outer(d_logit, weights["W2"])', "dh[h <= 0] = 0", "dh.T @ x"],
    8: ["decay_rate * c + (1 - decay_rate) * g**2", "learning_rate * g / (np.sqrt(c) + epsilon)"],
    9: [
        "move = step * (np.arange(len(w)) == i)",
        "(objective(w + move) - objective(w - move)) / (2 * step)",
    ],
    10: [
        "next_value, next_advantage = np.array([next_value, next_advantage]) * (not ends[t])",
        "rewards[t] + gamma * next_value - values[t]",
        "delta + gamma * lambda_ * next_advantage",
    ],
    11: [
        "np.exp(log_p - old_log_p)",
        "np.clip(ratio, 1 - clip, 1 + clip) * advantages",
        "np.where(gain <= clipped_gain, gain, 0)",
    ],
    12: [
        "if abs(row - old_row) <= reach_rows and abs(column - old_column) <= reach_columns:"
        " offsets.add((row - old_row, column - old_column))"
    ],
    13: [
        "range(0, columns - filter_size + 1, stride)",
        "images[:, top : top + filter_size, left : left + filter_size].reshape(T, -1)",
        "patch @ W1.T",
    ],
    14: [
        "d_logit @ h",
        'np.outer(d_logit, weights["W2"])',
        "dh[h <= 0] = 0",
        "dh.reshape(-1, K)",
        "dh.T @ patches.reshape(-1, S)",
    ],
    15: ["rewards + gamma * np.where(terminated, 0, next_values)"],
}
"""What takes the place of each ... of a skeleton, in turn."""


def solved(exercise):
    """The skeleton with its solution."""
    lines = exercise.skeleton.splitlines(keepends=True)
    tokens = tokenize.generate_tokens(io.StringIO(exercise.skeleton).readline)
    gaps = [token for token in tokens if token.string == "..." and token.type == tokenize.OP]
    for gap, code in zip(gaps, SOLUTIONS[exercise.number], strict=True):
        (row, start), (_, end) = gap.start, gap.end
        lines[row - 1] = lines[row - 1][:start] + code + lines[row - 1][end:]
    return "".join(lines)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def why_not_right(exercise, text):
    """What is said about a learner's file; nothing if it is right."""
    path = Path(exercise.file)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        check(exercise, path)
    except NotRight as error:
        said = str(error)
        assert said.startswith(exercise.file) and said.count("\n") <= 1 and said.endswith(".")
        return said
    return ""


def test_they_are_fifteen():
    assert [exercise.number for exercise in EXERCISES] == list(range(1, 16))
    assert [exercise.chapter for exercise in EXERCISES] == [2, 2, 3, 4, 5, 5, 6, 7, 9, 11, 11, 12, 13, 13, 14]


@each_exercise
def test_a_skeleton_is_short_and_not_done(exercise):
    lines = exercise.skeleton.splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 110
    line = next(i for i, text in enumerate(lines, 1) if "..." in text and i > len(lines) - 12)
    assert why_not_right(exercise, exercise.skeleton) == (
        f"{exercise.file} is not done yet: line {line} still has ... in place of code."
    )


@each_exercise
def test_the_example_of_a_skeleton_is_true(exercise):
    function = next(each for each in ast.parse(exercise.skeleton).body if isinstance(each, ast.FunctionDef))
    names = {exercise.function: exercise.reference, "np": np}
    example = doctest.DocTestParser().get_doctest(ast.get_docstring(function), names, function.name, None, 0)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@each_exercise
def test_it_can_be_solved(exercise):
    assert why_not_right(exercise, solved(exercise)) == ""


@pytest.mark.parametrize(
    ("exercise", "place"),
    [(exercise, place) for exercise in EXERCISES for place in range(len(exercise.mistakes))],
    ids=lambda value: getattr(value, "function", str(value)),
)
def test_a_known_mistake_is_wrong_and_named(exercise, place):
    text = f"""
from pongrad.exercises import EXERCISES
{exercise.function} = EXERCISES[{exercise.number - 1}].mistakes[{place}].function
"""
    says = exercise.mistakes[place].says
    assert why_not_right(exercise, text) == f"{exercise.file} is not right yet: {says}."


@each_exercise
def test_where_the_program_does_it_and_what_checks_it_exist(exercise):
    names, file = exercise.where.split(" in ")
    found = {
        name
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for name in (
            [node.name] if isinstance(node, ast.FunctionDef)
            else [f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)]
            if isinstance(node, ast.ClassDef) else []
        )
    }  # fmt: skip
    assert set(names.split(" and ")) <= found
    file, test = exercise.tested_by.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_relative_offsets_are_the_engines():
    """Its inputs for offsets in time, of points of one class that are too few to be gathered."""
    rows, columns = 60, 40
    in_space, in_time = sizes(rows, columns, CLASSES)
    exercise = EXERCISES[11]
    for now, before in exercise.try_cases():
        codes = [
            np.array(sorted({CLASSES * (row * columns + column) for row, column in points}), np.uint16)
            for points in (now, before)
        ]
        inputs, values = np.zeros(20_000, np.uint16), np.zeros(20_000, np.int8)
        room, given = np.zeros((3, MOST_POINTS), np.int64), np.zeros(1 + in_space + in_time, np.int64)
        count, _ = relative_offsets(*codes, rows, columns, CLASSES, 1, room, given, inputs, values)
        numbers = [int(i) - 1 - in_space for i in inputs[:count] if i > in_space]
        places = [divmod(number, 2 * REACH_COLUMNS + 1) for number in numbers]
        got = {(down - REACH_ROWS, right - REACH_COLUMNS) for down, right in places}
        assert got == exercise.reference(now, before)


# --- What learners write --------------------------------------------------------------------------------

DISCOUNT, RMSPROP = EXERCISES[4], EXERCISES[7]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def discount(rewards)\n", "exercise_5.py, line 1: SyntaxError: expected ':'."),
        ("x = 1\n  y = 2\n", "exercise_5.py, line 2: IndentationError: unexpected indent."),
        ("def discount(rewards):\nreturn", "exercise_5.py, line 2: IndentationError: "),
        (b"# \xff\n", "exercise_5.py"),
        (b"x = 1\0", "exercise_5.py"),
        ("import nmpy\n", "line 1: ModuleNotFoundError: No module named 'nmpy'."),
        ("raise SystemExit\n", "line 1: SystemExit."),
        ("", "it has no function discount."),
        ("discount = 1", "it has no function discount."),
        ("def discount(rewards):\n    return reward\n", "line 2: NameError: name 'reward' is not defined\n"
         "It was called with rewards = [ 0,  0,  1,  0, -1]."),
        ("\ndef discount():\n    pass\n", "line 2: TypeError: discount() takes 0 positional arguments"),
        ("def helper(r):\n    return r[9]\ndef discount(rewards):\n    return helper(rewards)\n",
         "line 2: IndexError: index 9 is out of bounds"),
        ("def discount(rewards):\n    return discount(rewards)\n", "line 2: RecursionError: "),
        ("def discount(rewards):\n    pass\n", "the result is None; is a return missing?"),
        ("def discount(rewards):\n    return 'high'\n", "the result must be numbers, it is a str"),
        ("def discount(rewards):\n    return [[1], [1, 2]]\n", "the result must be numbers, it is a list"),
        ("def discount(rewards):\n    return rewards[1:]\n", "has the shape [4], it must have [5]"),
        ("def discount(rewards):\n    return rewards * float('nan')\n", "the result at [0] is nan"),
        ("def discount(rewards):\n    return rewards / 0\n", "the result at [0] is nan"),
        ("def discount(rewards):\n    return 3 * rewards\n", "the result at [0] is 0, it must be 0.9801 (5 of"
         " 5 numbers are wrong),\nwith rewards = [ 0,  0,  1,  0, -1]."),
        ("from pongrad.classic import discount as right\ndef discount(rewards):\n    x = right(rewards)\n"
         "    rewards[:] = 0\n    return x\n", "it changes rewards, but must leave it as it was"),
        ("def discount(rewards):\n    x = rewards[..., 0]\n    return ...\n", "line 3 still has ..."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_or_two_lines(text, says):
    assert says in why_not_right(DISCOUNT, text)


@pytest.mark.parametrize(
    ("number", "text", "says"),
    [
        (3, "def forward(x, weights):\n    return 1\n", "it must return h and p, in this order"),
        (7, "def backward(x, h, d_logit, weights):\n    return 1, 2\n", "with the keys 'W1' and 'W2'"),
        (12, "def relative_offsets(now, before):\n    return []\n", "must be a set, it is a list"),
        (12, "def relative_offsets(now, before):\n    return {(0, 0)}\n", "the result lacks (-3, 4)"),
        (13, "def convolve(images, W1):\n    return W1\n", "with images of shape [1, 12, 16], W1 of shape"),
        (8, "def rmsprop(weights, gradient, mean_square):\n    weights.clear()\n", "weights must be a dict"),
    ],
)
def test_results_of_every_kind_are_compared(number, text, says):
    assert says in why_not_right(EXERCISES[number - 1], text)


def test_numbers_that_differ_little_are_shown_with_more_digits():
    off = solved(DISCOUNT).replace("return returns", "return returns + 2e-6")
    assert "is 0.980102, it must be 0.9801 " in why_not_right(DISCOUNT, off)
    off = solved(EXERCISES[8]).replace("return gradient", "return gradient + 1.3e-5")
    assert "is 12.000013" in why_not_right(EXERCISES[8], off)


def test_rounding_is_no_mistake():
    assert why_not_right(DISCOUNT, solved(DISCOUNT).replace("return returns", "return returns + 1e-12")) == ""


def test_arguments_that_are_not_to_be_changed_in_place():
    changed = solved(RMSPROP) + "        g[:] = 0\n"
    assert "it changes gradient" in why_not_right(RMSPROP, changed)


# --- The command line -----------------------------------------------------------------------------------


def exercise_command(capfd, *args):
    """The exit code of `pongrad exercise` with these arguments and what it prints."""
    code = 0
    try:
        main(["exercise", *args])
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return code, out + err


def test_the_list_names_all_of_them(capfd):
    code, out = exercise_command(capfd)
    assert code == 0
    for exercise in EXERCISES:
        assert f"{exercise.number:2}  {exercise.title} (chapter {exercise.chapter})\n" in out


@pytest.mark.parametrize("number", [1, 5, 15])
def test_a_learners_way(number, capfd):
    exercise = EXERCISES[number - 1]
    path = Path(exercise.file)
    code, out = exercise_command(capfd, str(number))
    assert code == 0 and f"pongrad exercise {number}\n" in out and exercise.title in out
    assert path.read_text(encoding="utf-8") == exercise.skeleton

    code, out = exercise_command(capfd, str(number))
    assert code == 1 and out.startswith(f"{path} is not done yet: line ")
    assert path.read_text(encoding="utf-8") == exercise.skeleton

    path.write_text(solved(exercise), encoding="utf-8")
    code, out = exercise_command(capfd, str(number))
    assert code == 0 and out.startswith(f"{path} is right: {exercise.formula}.\n")
    assert exercise.tested_by in out
    following = f"Next: pongrad exercise {number + 1}" if number < 15 else "This was the last exercise."
    assert following in out
    assert [each.name for each in Path.cwd().iterdir()] == [path.name]  # no __pycache__


def test_in_a_process_of_its_own(tmp_path):
    path = tmp_path / DISCOUNT.file
    path.write_text(solved(DISCOUNT).replace("running *= rewards[t] == 0", "pass"), encoding="utf-8")
    command = [sys.executable, "-m", "pongrad", "exercise", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 1 and not done.stderr
    assert done.stdout == (
        "exercise_5.py is not right yet: the return does not start anew where a point ends.\n"
    )


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("99", "there is no exercise 99: they are 1 to 15"),
        ("-1", "there is no exercise -1"),
        ("five", "'five'"),
    ],
)
def test_no_such_exercise(number, says, capfd):
    code, out = exercise_command(capfd, number)
    assert code == 2 and out.startswith("pongrad: ") and says in out and out.count("\n") == 1


def test_files_that_cannot_be_written_or_read_are_one_line(capfd, monkeypatch):
    Path("exercise_3.py").mkdir()
    code, out = exercise_command(capfd, "3")
    assert code == 2 and out.startswith("pongrad: cannot read exercise_3.py: ") and out.count("\n") == 1

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    code, out = exercise_command(capfd, "4")
    assert code == 2 and "cannot write exercise_4.py into this folder: Permission denied" in out


def test_stopping_one_that_does_not_end_tells_where(capfd):
    text = "def discount(rewards):\n    while True:\n        raise KeyboardInterrupt\n"
    Path(DISCOUNT.file).write_text(text, encoding="utf-8")
    code, out = exercise_command(capfd, "5")
    assert code == 130 and out == "\nstopped in exercise_5.py, line 3\n"


def test_a_file_that_is_gone_is_the_users_business():
    with pytest.raises(UserError, match="cannot read"):
        check(DISCOUNT, Path("gone.py"))


# --- Its page -------------------------------------------------------------------------------------------


def test_the_page_shows_what_the_command_prints(capfd):
    page = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
    shown = [block.split("```")[0] for block in page.split("```text\n")[1:]]
    printed = [exercise_command(capfd)[1], exercise_command(capfd, "5")[1], exercise_command(capfd, "5")[1]]
    right = solved(DISCOUNT)
    wrong = right.replace("running *= rewards[t] == 0", "pass")
    for text in (wrong, right.replace("rewards[t] + gamma", "2 * rewards[t] + gamma"), right):
        Path(DISCOUNT.file).write_text(text, encoding="utf-8")
        printed.append(exercise_command(capfd, "5")[1])
    assert shown == printed
