"""Comparing what a function computes with what it should, and saying what differs."""

from typing import Any

import numpy as np

RELATIVE, ABSOLUTE = 1e-6, 1e-8
"""Numbers may differ by so much: by rounding, not by a mistake."""


class Wrong(Exception):
    """A result is wrong; the message says what differs, in one line."""


def same(got: Any, want: Any) -> bool:
    """Whether `compare` finds no difference."""
    try:
        compare("", got, want)
    except Wrong:
        return False
    return True


def compare(name: str, got: Any, want: Any) -> None:
    """Compare numbers, arrays, lists of numbers, sets, and dictionaries of them.

    Args:
        name: of the result, for the message.
        got: what was computed; anything.
        want: what is right; None and functions are not compared.

    Raises:
        Wrong: they differ in what they are, in shape or by more than rounding.
    """
    if want is None or callable(want):
        return
    if got is None:
        raise Wrong(f"{name} is None; is a return missing?")
    if isinstance(want, dict):
        if not isinstance(got, dict) or set(got) != set(want):
            raise Wrong(f"{name} must be a dictionary with the keys {' and '.join(map(repr, want))}")
        for key, value in want.items():
            compare(f"{name}[{key!r}]", got[key], value)
    elif isinstance(want, set):
        _compare_sets(name, got, want)
    else:
        _compare_arrays(name, got, np.asarray(want))


def _compare_sets(name: str, got: Any, want: set[Any]) -> None:
    if not isinstance(got, set):
        raise Wrong(f"{name} must be a set, it is a {type(got).__name__}")
    if missing := want - got:
        raise Wrong(f"{name} lacks {min(missing)}")
    if extra := got - want:
        raise Wrong(f"{name} has {next(iter(extra))}, which it must not")


def _compare_arrays(name: str, got: Any, want: np.ndarray) -> None:
    try:
        array = np.asarray(got)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{name} must be numbers, it is a {type(got).__name__}")
    if array.shape != want.shape:
        raise Wrong(f"{name} has the shape {list(array.shape)}, it must have {list(want.shape)}")
    if want.dtype.kind == "i" and array.dtype.kind in "bu":
        raise Wrong(f"{name} is {array.dtype}, which cannot be negative; make it np.int8")
    wrong = np.argwhere(~np.isclose(array.astype(float), want, RELATIVE, ABSOLUTE, equal_nan=True))
    if len(wrong):
        first = tuple(int(i) for i in wrong[0])
        at = f" at {list(first)}" if first else ""
        share = f" ({len(wrong)} of {want.size} numbers are wrong)" if want.size > 1 else ""
        is_, must_be = (f"{number:.6g}" for number in (array[first], want[first]))
        if is_ == must_be:
            is_, must_be = (f"{number:.12g}" for number in (array[first], want[first]))
        raise Wrong(f"{name}{at} is {is_}, it must be {must_be}{share}")
