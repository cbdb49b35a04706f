"""Commands that are printed for the user: they can be pasted as they stand, wherever pongrad is installed."""

import contextlib
import os
import shlex
import shutil
import sys


def command(*args: object) -> str:
    """`pongrad` with these arguments, quoted for a shell."""
    return shlex.join([*_program(), *map(str, args)])


def python(*args: object) -> str:
    """This Python with these arguments, quoted for a shell."""
    return shlex.join([sys.executable, *map(str, args)])


def _program() -> list[str]:
    """What starts this installation: pongrad where the shell finds it, else its script, else the module."""
    script = os.path.join(os.path.dirname(sys.executable), "pongrad")
    found = shutil.which("pongrad")
    if found and os.path.realpath(found) == os.path.realpath(script):
        return ["pongrad"]
    if os.access(script, os.X_OK):
        with contextlib.suppress(OSError, ValueError):  # the folder we are in is gone, or on another drive
            script = min(script, os.path.relpath(script), key=len)
        return [script]
    return [sys.executable, "-m", "pongrad"]
