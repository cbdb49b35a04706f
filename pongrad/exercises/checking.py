"""Running a learner's file and saying what is wrong with it."""

import ast
import contextlib
import copy
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pongrad.exercises.comparing import Wrong, compare, same
from pongrad.exercises.exercise import Case, Exercise, Function
from pongrad.ground.errors import UserError

MOST_SHOWN = 20
"""Numbers; where a call has more, only the shapes of its arguments are shown."""


class NotRight(Exception):
    """The learner's file is not right yet; the message says in one or two lines why."""


def check(exercise: Exercise, path: Path) -> None:
    """Compare the learner's function with the reference on all cases.

    Raises:
        NotRight: it is not right yet, or cannot be run.
        UserError: the file cannot be read.
        KeyboardInterrupt: the user stopped it.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    function = _load(exercise, source, path)
    cases = exercise.try_cases()
    got = []
    for case in cases:
        with _errors_of(path, function, f"\nIt was called with {shown(exercise, case)}."):
            got.append(outcome(exercise, function, case))
    want = [outcome(exercise, exercise.reference, case) for case in cases]
    differences = [_difference(exercise, *each) for each in zip(got, want, cases, strict=True)]
    wrong = next((each for each in differences if each), "")
    if not wrong:
        return
    for mistake in exercise.mistakes:
        wrong_results = [outcome(exercise, mistake.function, case)[0] for case in cases]
        if all(_same_results(a, b) for (a, _), b in zip(got, wrong_results, strict=True)):
            raise NotRight(f"{path} is not right yet: {mistake.says}.")
    raise NotRight(f"{path} is not right yet: {wrong}.")


def outcome(exercise: Exercise, function: Function, case: Case) -> tuple[Any, Case]:
    """Call the function with a copy of the arguments; what it gave and the arguments after it.

    What it gave is a tuple of `exercise.results`, or else whatever it returned in its place.
    """
    after = copy.deepcopy(case)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        returned = function(*after)
    if exercise.changes:
        return tuple(after[exercise.arguments.index(name)] for name in exercise.results), after
    return (returned,) if len(exercise.results) == 1 else returned, after


def shown(exercise: Exercise, case: Case) -> str:
    """The arguments of a call, as values where they are few, else as shapes."""
    named: dict[str, Any] = {}
    for name, value in zip(exercise.arguments, case, strict=True):
        if isinstance(value, dict):
            named |= {f"{name}[{key!r}]": array for key, array in value.items()}
        elif not callable(value):
            named[name] = value
    few = sum(np.size(value) for value in named.values()) <= MOST_SHOWN
    return ", ".join(_shown(name, value, few) for name, value in named.items())


def _shown(name: str, value: Any, few: bool) -> str:
    if few and isinstance(value, np.ndarray):
        value = np.array2string(value, precision=4, separator=", ").replace("\n", "")
    return f"{name} = {value}" if few or not np.shape(value) else f"{name} of shape {list(np.shape(value))}"


def _difference(exercise: Exercise, got: tuple[Any, Case], want: tuple[Any, Case], case: Case) -> str:
    """What is wrong with the outcome of a case, with that case; nothing if it is right."""
    (results, after), (wanted, _) = got, want
    try:
        if len(wanted) > 1 and not (isinstance(results, tuple | list) and len(results) == len(wanted)):
            raise Wrong(f"it must return {' and '.join(exercise.results)}, in this order")
        for name, result, right in zip(exercise.results, results, wanted, strict=True):
            compare(name, result, right)
    except Wrong as wrong:
        return f"{wrong},\nwith {shown(exercise, case)}"
    for name, now, before in zip(exercise.arguments, after, case, strict=True):
        if not same(now, before) and not (exercise.changes and name in exercise.results):
            return f"it changes {name}, but must leave it as it was: work on a copy"
    return ""


def _same_results(got: Any, wrong: tuple[Any, ...]) -> bool:
    """Whether a learner's results are those of a known mistake."""
    if not isinstance(got, tuple | list) or len(got) != len(wrong):
        return False
    return all(same(a, b) for a, b in zip(got, wrong, strict=True))


def _load(exercise: Exercise, source: bytes, path: Path) -> Function:
    """The learner's function."""
    with _errors_of(path):
        tree = ast.parse(source, str(path))
        if line := _unfinished(tree):
            raise NotRight(f"{path} is not done yet: line {line} still has ... in place of code.")
        names: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
        exec(compile(tree, str(path), "exec"), names)
    function = names.get(exercise.function)
    if not callable(function):
        raise NotRight(f"{path} is not right yet: it has no function {exercise.function}.")
    return function


def _unfinished(tree: ast.Module) -> int:
    """The first line with a ... that is no index as in x[..., 0]; 0 if there is none."""
    indices = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Subscript)
               for part in ast.walk(node.slice)}  # fmt: skip
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value is ... and id(node) not in indices
    ]
    return min(lines, default=0)


@contextlib.contextmanager
def _errors_of(path: Path, function: Function | None = None, ending: str = ".") -> Iterator[None]:
    """Turn what the learner's code raises into NotRight with the line in the learner's file."""
    try:
        yield
    except NotRight:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise NotRight(f"{path}{line}: {type(error).__name__}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        about = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise NotRight(f"{path}{_line(error, path, function)}: {about}{ending}") from error
    except KeyboardInterrupt as error:
        print(f"\nstopped in {path}{_line(error, path, function)}", flush=True)
        raise


def _line(error: BaseException, path: Path, function: Function | None) -> str:
    """The last line of the learner's file that ran, or the one where the function begins."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    if not lines and (code := getattr(function, "__code__", None)):
        lines = [code.co_firstlineno]
    return f", line {lines[-1]}" if lines else ""
