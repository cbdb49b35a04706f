"""What an exercise is: a file to fill in, the right function, cases to try it on, and known mistakes."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray
Function = Callable[..., Any]
Case = tuple[Any, ...]
"""The arguments of one call."""


@dataclass(frozen=True)
class Mistake:
    """A wrong function that learners write."""

    says: str
    """What is wrong with it, as the learner is told."""
    function: Function
    """The wrong function: the learner's is known by computing the same."""


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One function of which some lines are missing."""

    number: int
    title: str
    chapter: int
    """Of the lesson."""
    code: str
    """The learner's file below its header: imports, constants and the function, with ... to be replaced."""
    reference: Function
    """The right function, the program's own where it has one."""
    cases: Callable[[np.random.Generator], list[Case]]
    """What to call both functions with; the first case is small enough to be shown."""
    results: tuple[str, ...] = ("the result",)
    """What the function returns, or the arguments that it changes."""
    changes: bool = False
    """Whether `results` are arguments that the function changes in place, and it returns nothing."""
    mistakes: tuple[Mistake, ...]
    formula: str
    """What the learner has written when it is right."""
    where: str
    """Where the program does the same."""
    tested_by: str
    """The test that checks the program's formula, file::name."""

    @property
    def file(self) -> str:
        """The name of the learner's file."""
        return f"exercise_{self.number}.py"

    @property
    def skeleton(self) -> str:
        """What the learner's file contains at first."""
        header = f"Exercise {self.number} of the lesson (chapter {self.chapter}): {self.title}."
        task = f"Replace each ... by code, then check it: pongrad exercise {self.number}"
        return f'"""{header}\n\n{task}\n"""\n\n{self.code.strip()}\n'

    @property
    def function(self) -> str:
        """The function's name."""
        return self._definition.name

    @property
    def arguments(self) -> list[str]:
        """The names of its arguments."""
        return [each.arg for each in self._definition.args.args]

    def try_cases(self) -> list[Case]:
        """The arguments of all calls, the same ones each time."""
        return self.cases(np.random.default_rng(self.number))

    @cached_property
    def _definition(self) -> ast.FunctionDef:
        (found,) = (each for each in ast.parse(self.code).body if isinstance(each, ast.FunctionDef))
        return found
