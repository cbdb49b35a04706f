"""The search space: which flags are searched and between which values, read from a TOML or JSON file.

[learning-rate]            # a flag of `pongrad train`, with or without its dashes
low = 2e-4
high = 6e-3
log = true                 # every factor is as likely as every other; step = 0.1 searches multiples of it

[minibatches]
choices = [2, 4, 8]
start = 4                  # the first trial's value; left out: the recipe's default

The spaces searched unless told otherwise are such files, too: `fast.toml` and `classic.toml`.
"""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from pongrad.ground.arguments import flag, plain
from pongrad.ground.errors import UserError
from pongrad.learning.recipes import Fast, Recipe

DIGITS = 4
"""Significant digits of a value that is searched: enough to learn with, short enough to paste."""

_NOT_SEARCHED = {"recipe", "game", "env_options", "seed"}
_KEYS = {"low", "high", "log", "step", "choices", "start"}


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One flag and its values: from `low` to `high`, or one of `choices`.

    Attributes:
        whole: whether the values between low and high are whole numbers.
        start: the first trial's value; None where it is not known.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    whole: bool = False
    start: Any = None

    def contains(self, value: Any) -> bool:
        """Whether a trial may have this value."""
        if self.choices:
            return value in self.choices
        if self.step and not math.isclose((value - self.low) / self.step % 1 or 1, 1, abs_tol=1e-9):
            return False
        return self.low <= value <= self.high


Space = dict[str, Dimension]
"""Names of the recipe's fields, and what is searched for each."""


def read(file: Path | None, recipe: Recipe, fixed: set[str]) -> Space:
    """The search space of a file.

    Args:
        file: in TOML, or JSON if its name ends in .json; None: the recipe's own.
        recipe: the defaults, and the values that are fixed.
        fixed: names of the fields that the user has given a value.

    Raises:
        UserError: the file cannot be read, or makes no sense for this recipe.
    """
    if file is None:
        own = Path(__file__).with_name(f"{recipe.recipe}.toml")
        space = parse(tomllib.loads(own.read_text()), recipe)
        return {name: dimension for name, dimension in space.items() if name not in fixed}
    try:
        text = file.read_text()
        tables = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; give another --space") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if file.suffix.lower() == ".json" else "TOML"
        raise UserError(f"{file} is not {kind} ({error}): correct it, or give another --space") from error
    try:
        space = parse(tables, recipe)
        for name in fixed & space.keys():
            raise UserError(f"{flag(name)} is fixed on the command line: leave it out here or there")
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    return space


def parse(tables: Any, recipe: Recipe) -> Space:
    """The search space from what a file holds.

    Raises:
        UserError: it makes no sense for this recipe; says which flag and why.
    """
    if not isinstance(tables, dict) or not tables:
        raise UserError("there must be a table for each flag that is searched, such as [learning-rate]")
    names = {_plain_name(name): name for name in recipe.hyperparameters if name not in _NOT_SEARCHED}
    space: Space = {}
    for key, table in tables.items():
        name = names.get(_plain_name(key))
        if name is None:
            raise UserError(f"{key} is no hyperparameter of recipe {recipe.recipe}: see pongrad train --help")
        space[name] = _dimension(name, table, recipe)
    for which in (0, -1):  # every limit and every first and last choice is looked at
        replace(recipe, **{name: _ends(dimension)[which] for name, dimension in space.items()}).check()
    return space


def start(space: Space) -> dict[str, Any]:
    """The first trial's parameters; those whose default is not known, or not in the space, are left out."""
    return {
        name: encoded(dimension.start)
        for name, dimension in space.items()
        if dimension.start is not None and dimension.contains(dimension.start)
    }


def values(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters as fields of the recipe, numbers rounded to `DIGITS`."""
    found = {}
    for name, value in parameters.items():
        dimension = space[name]
        if dimension.choices:
            found[name] = next(choice for choice in dimension.choices if encoded(choice) == value)
        elif dimension.whole:
            found[name] = int(value)
        else:
            found[name] = min(max(float(f"{value:.{DIGITS}g}"), dimension.low), dimension.high)
    return found


def encoded(value: Any) -> Any:
    """A value as Optuna stores it: it knows no tuples."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def description(space: Space) -> dict[str, Any]:
    """The space as JSON has it."""
    return json.loads(json.dumps({name: asdict(dimension) for name, dimension in space.items()}))


def flags(config: Recipe, default: Recipe | None = None) -> list[str]:
    """The flags that make this recipe of another one.

    Args:
        config: the recipe.
        default: the other one; None: its own defaults, beside --recipe.
    """
    words: list[str] = []
    for field in fields(config):
        value = getattr(config, field.name)
        own = Fast if field.name == "recipe" else type(config)
        if value is None or value == getattr(default or own, field.name):
            continue
        name = flag(field.name)
        if value is True:
            words.append(name)
        elif isinstance(value, tuple):
            words += [name, *map(str, value)]
        else:
            words += [name, str(value)]
    return words


def _plain_name(name: str) -> str:
    return name.strip("-_").replace("-", "_")


def _ends(dimension: Dimension) -> Sequence[Any]:
    return dimension.choices or (dimension.low, dimension.high)


def _dimension(name: str, table: Any, recipe: Recipe) -> Dimension:
    what = flag(name)
    if not isinstance(table, dict) or not table.keys() <= _KEYS:
        raise UserError(f"{what} must be a table of {', '.join(sorted(_KEYS))}, not {table!r}")
    if ("choices" in table) == bool(table.keys() & {"low", "high", "log", "step"}):
        raise UserError(f"{what} needs either choices, or low and high")
    kind = get_type_hints(type(recipe))[name]
    first = table.get("start", recipe.hyperparameters[name])
    first = plain(what, first, kind if "start" in table else kind | None)
    if "choices" in table:
        if not isinstance(table["choices"], list) or not table["choices"]:
            raise UserError(f"the choices of {what} must be a list")
        choices = tuple(plain(what, choice, kind) for choice in table["choices"])
        return Dimension(choices=choices, start=first)
    number = next((k for k in get_args(kind) or (kind,) if k is not NoneType), kind)
    if number not in (int, float):
        raise UserError(f"{what} is no number: give its choices")
    if not {"low", "high"} <= table.keys():
        raise UserError(f"{what} needs low and high")
    low, high = (plain(what, table[end], number) for end in ("low", "high"))
    log = plain(f"log of {what}", table.get("log", False), bool)
    step = plain(f"step of {what}", table.get("step"), number | None)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{what}: low must be below high, not {low} and {high}")
    if log and (low <= 0 or step is not None):
        raise UserError(f"{what}: with log, low must be above 0 and there is no step")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{what}: step must be above 0 and at most high - low")
    return Dimension(low=low, high=high, log=log, step=step, whole=number is int, start=first)
