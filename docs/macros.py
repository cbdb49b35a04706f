"""What the pages quote from the program, its tests and its results; nothing of it is copied into them.

A page writes `{{ code("pongrad/classic.py", "forward") }}` and gets the function as it stands in the program.
If what is quoted is not there any more, the build fails and one line says so.

Paths are those of the repository. mkdocs-macros calls `define_env`.
"""

import ast
import dataclasses
import importlib
import json
import logging
import re
import statistics
import textwrap
from collections.abc import Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any

LOG = logging.getLogger("mkdocs.macros")
ROOT = Path(__file__).resolve().parents[1]


class MacroError(Exception):
    """A page quotes what is not there."""


def code(path: str, name: str, *, first: str | None = None, last: str | None = None) -> str:
    """Return a Python block with the source of a function, class, `Class.method` or module-level assignment.

    Args:
        path: A Python file.
        name: What to show.
        first: Show only from the first line that contains this text ...
        last: ... to the first line from there on that contains this one.
    """
    lines, node = _lines(path), _find(path, name)
    decorators = getattr(node, "decorator_list", [])
    shown = lines[min(n.lineno for n in [node, *decorators]) - 1 : node.end_lineno]
    if first is not None:
        shown = shown[_line_with(first, shown, f"{name} in {path}") :]
    if last is not None:
        shown = shown[: _line_with(last, shown, f"what is shown of {name} in {path}") + 1]
    source = textwrap.dedent("\n".join(shown))
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`{3,}", source))])
    return f'{fence}python title="{path}"\n{source}\n{fence}'


def result(path: str, *keys: str | int, format: str = "") -> str:
    """Return a number from a committed JSON file.

    Args:
        path: The file.
        keys: The way to the number: names, indices, and "*" for the median over all that is there. There null
            counts as more than any number, because it means "not reached".
        format: As Python's `format` takes it; "M" gives millions, such as 2.0.
    """
    try:
        value = _follow(json.loads(_text(path)), keys)
    except (LookupError, TypeError) as error:
        raise MacroError(f"{path} has no number at {' / '.join(map(str, keys))}: no {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value == float("inf"):
        raise MacroError(f"{path} has no number at {' / '.join(map(str, keys))} but {str(value)[:40]}")
    return f"{value / 1e6:.1f}" if format == "M" else f"{value:{format}}"


def noted(heading: str, text: str) -> str:
    """Return the text if benchmarks/NOTES.md has it in the section whose heading begins so."""
    path, heading = "benchmarks/NOTES.md", " ".join(heading.split())
    section, level, within = [], 0, False
    for line in _lines(path):
        if marks := re.match("(#+) ", line):
            if within and len(marks[1]) <= level:
                break
            if not within and line[marks.end() :].startswith(heading):
                within, level = True, len(marks[1])
        if within:
            section.append(line)
    if not within:
        raise MacroError(f"{path} has no section whose heading begins with {heading!r}")
    if " ".join(text.split()) not in " ".join(" ".join(section).split()):
        raise MacroError(f"{path} does not say {text!r} in the section {heading!r}")
    return text


def lines(path: str) -> str:
    """Return the number of lines of a text file."""
    return f"{len(_lines(path)):,}"


def size(path: str) -> str:
    """Return the size of a file in megabytes, such as 3.3."""
    return f"{_existing(path).stat().st_size / 1e6:.1f}"


def constant(path: str, name: str) -> str:
    """Return the value of a module-level assignment of numbers or a string, such as 0.99 or 6,400."""
    for target, value, _ in _assignments(_tree(path).body):
        if target == name:
            try:
                return _written(eval(ast.unparse(value), {"__builtins__": {}}))
            except NameError:
                raise MacroError(f"{name} in {path} is no plain value but {ast.unparse(value)}") from None
    raise MacroError(f"{path} has no module-level assignment to {name}")


def default(recipe: str, field: str) -> str:
    """Return the default of a recipe's field; `rate` and `units` are those of the sparse network."""
    recipes = importlib.import_module("pongrad.learning.recipes").RECIPES
    if recipe not in recipes:
        raise MacroError(f"there is no recipe {recipe}: {', '.join(recipes)}")
    fields = {f.name for f in dataclasses.fields(recipes[recipe])} | {"rate", "units"}
    value = getattr(recipes[recipe](), field, None) if field in fields else None
    if value is None:
        raise MacroError(f"recipe {recipe} has no default for {field} (rate and units depend on the network)")
    return _written(value)


def tested_by(*tests: str) -> str:
    """Return a small line that names the tests, `FILE::FUNCTION`, that check the formula above."""
    for test in tests:
        path, _, name = test.partition("::")
        if not name.split(".")[-1].startswith("test_"):
            raise MacroError(f"{test} names no test: write FILE::test_NAME")
        _find(path, name)
    named = ", ".join(f"<code>{test}</code>" for test in tests)
    return f'<p class="tested">Checked by {named}</p>'


def exercise(number: int) -> str:
    """Return the title of an exercise and the command that sets and checks it."""
    exercises = importlib.import_module("pongrad.exercises").EXERCISES
    for one in exercises:
        if one.number == number:
            return f"**Exercise {number}: {one.title}**\n\n```sh\npongrad exercise {number}\n```"
    raise MacroError(f"there is no exercise {number}: they are 1 to {len(exercises)}")


MACROS = code, result, noted, lines, size, constant, default, tested_by, exercise


def define_env(env: Any) -> None:
    """Give the pages their macros; called by mkdocs-macros."""
    _text.cache_clear()  # `mkdocs serve` builds again when a file has changed
    _tree.cache_clear()
    for macro in MACROS:
        env.macro(_warning(macro, env), macro.__name__)


def _warning(macro: Callable[..., str], env: Any) -> Callable[..., str]:
    """The macro for pages: an error becomes a warning, which fails the build after all pages are done."""

    @wraps(macro)
    def called(*args: Any, **options: Any) -> str:
        try:
            return macro(*args, **options)
        except MacroError as error:
            LOG.warning("%s: %s", env.page.file.src_uri, error)
            return f"**[{error}]**"

    return called


def _existing(path: str) -> Path:
    file = ROOT / path
    if not file.is_file():
        raise MacroError(f"there is no file {path}")
    return file


@cache
def _text(path: str) -> str:
    return _existing(path).read_text(encoding="utf-8")


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse(_text(path), path)


def _lines(path: str) -> list[str]:
    return _text(path).splitlines()


def _find(path: str, name: str) -> Any:
    """The node of a function, class, method or assignment."""
    node: Any = _tree(path)
    for part in name.split("."):
        inside: dict[str, ast.stmt] = {
            n.name: n for n in node.body if isinstance(n, ast.FunctionDef | ast.ClassDef)
        }
        inside |= {target: statement for target, _, statement in _assignments(node.body)}
        if part not in inside:
            raise MacroError(f"{path} has no {name}")
        node = inside[part]
    return node


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr, ast.stmt]]:
    """Every name that the statements assign to, with its value and the statement."""
    for node in body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value, node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for one, value in zip(target.elts, node.value.elts, strict=True):
                        yield ast.unparse(one), value, node
                else:
                    yield ast.unparse(target), node.value, node


def _line_with(text: str, among: list[str], where: str) -> int:
    for number, line in enumerate(among):
        if text in line:
            return number
    raise MacroError(f"no line of {where} contains {text!r}")


def _follow(value: Any, keys: tuple[str | int, ...]) -> Any:
    for place, key in enumerate(keys):
        if key == "*":
            several = value.values() if isinstance(value, dict) else value
            each = [_follow(one, keys[place + 1 :]) for one in several]
            return statistics.median(float("inf") if one is None else one for one in each)
        value = value[key]
    return value


def _written(value: Any) -> str:
    """A value as the text has it: 6,400 and 1e-5, not 6400 and 1e-05."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return re.sub(r"e([+-])0", r"e\1", f"{value:g}") if isinstance(value, float) else str(value)
