"""Arguments as users write them, made the plain types that are meant: NumPy's numbers, paths as text, 20M.

What has been through here can be written as JSON and read again.
"""

import contextlib
import numbers
import os
import types
from dataclasses import fields
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from pongrad.ground.errors import UserError

_UNITS = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_MOST_DIGITS = 40


def normalise(instance: Any) -> None:
    """Make every field of a dataclass, frozen or not, the plain type that it is declared as.

    Raises:
        UserError: a value cannot mean that; names the field.
    """
    kinds = get_type_hints(type(instance))
    for each in fields(instance):
        value = plain(flag(each.name), getattr(instance, each.name), kinds[each.name])
        object.__setattr__(instance, each.name, value)


def plain(name: str, value: Any, kind: Any) -> Any:
    """A value as this type: int, float, bool, str, Path, a Literal, a tuple of one of them; or None.

    Args:
        name: of the field, for the message.
        value: any number that is whole is an int, any path or text a Path, in which ~ is the user's home.
        kind: the type, `| None` where None is allowed.

    Raises:
        UserError: the value cannot mean that.
    """
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if value is None and type(None) in options:
        return None
    (kind, *_) = [option for option in options if option is not type(None)]
    number = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(plain(name, item, get_args(kind)[0]) for item in value)
    if kind is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    if kind is int and number and value == value // 1:
        return int(value)
    with contextlib.suppress(OverflowError, RuntimeError):  # too large for a float; no such user
        if kind is float and number:
            return float(value)
        if kind is Path and isinstance(value, str | os.PathLike) and value:
            return Path(value).expanduser()
    if kind is str and isinstance(value, str):
        return str(value)
    raise UserError(f"{name} must be {_words(kind)}, not {value!r}")


def whole_number(text: str) -> int:
    """A whole number as people write it: 20000000, 20_000_000, 2e7 or 20M.

    Raises:
        ValueError: it is none.
    """
    try:
        value = Decimal(text[:-1] if text[-1:] in _UNITS else text)
    except InvalidOperation:
        value = Decimal("nan")
    if value.is_finite() and abs(value.adjusted()) < _MOST_DIGITS:  # else it overflows
        with localcontext(prec=2 * _MOST_DIGITS):
            value *= _UNITS.get(text[-1:], 1)
    else:
        value = Decimal("nan")
    if value.is_nan() or value != value.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number, such as 20000000, 2e7 or 20M")
    return int(value)


def flag(name: str) -> str:
    """A field's name as it is written on the command line."""
    return "--" + name.strip("_").replace("_", "-")


def _words(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list, and each of it {_words(get_args(kind)[0])}"
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}
    return words[kind]
