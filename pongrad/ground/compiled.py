"""Compiling inner loops with Numba, and keeping the machine code on disk.

Every compiled loop runs in one fixed order on one thread, and none may reorder floating-point sums, so the
same numbers come out whatever the number of workers. float32 and float64 arrays both work: Numba compiles a
version for each (`python -m pongrad.runs.warm` compiles them ahead).
"""

import contextlib
import functools
import getpass
import hashlib
import multiprocessing
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

from pongrad.ground.system import is_being_started

PACKAGE = Path(__file__).parents[1]

SECONDS_KEPT = 24 * 3600

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """A decorator: `numba.njit` with these options, its machine code kept in `cache_folder`."""

    def decorate(function: Function) -> Function:
        config: Any = numba.config
        folder, before = cache_folder(), config.CACHE_DIR
        config.CACHE_DIR = str(folder or "")  # read while the function is decorated
        try:
            return numba.njit(cache=folder is not None, **options)(function)
        finally:
            config.CACHE_DIR = before

    return decorate


@functools.cache
def cache_folder() -> Path | None:
    """Where machine code is kept: in the package or, if that cannot be written to, in the user's cache.

    If neither can, as in a container that runs as another user, it is kept among the temporary files, where
    only the user can write. NUMBA_CACHE_DIR names another place.

    Numba compiles a function anew when its own file changes, not when a function that it calls has changed in
    another file. So the folder is named by a hash of all files with compiled functions.

    Returns:
        The folder; None if no place can be written to, which it says on stderr.
    """
    name = f"numba-{source_hash(b'@compiled(')}"
    config: Any = numba.config
    temporary = _temporary_folders()
    usual = [PACKAGE / "__pycache__", Path("~/.cache/pongrad"), *temporary]
    for parent in [Path(config.CACHE_DIR)] if config.CACHE_DIR else usual:
        try:
            parent = parent.expanduser()
            if parent in temporary:
                parent.mkdir(mode=0o700, exist_ok=True)
                _check_private(parent)
            (parent / name).mkdir(parents=True, exist_ok=True)
            (parent / name / "writable").touch()
        except (OSError, RuntimeError):
            continue
        _remove_unused(parent)
        return parent / name
    if multiprocessing.parent_process() is None and not is_being_started():  # workers need not say it again
        print(
            "pongrad: no folder for compiled code can be written to, so each start takes half a minute: "
            "set NUMBA_CACHE_DIR to one that can",
            file=sys.stderr,
        )
    return None


def _temporary_folders() -> list[Path]:
    """The user's folder among the temporary files; none where no such files can be."""
    try:
        user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
        return [Path(tempfile.gettempdir(), f"pongrad-{user}")]
    except OSError:
        return []


def _check_private(folder: Path) -> None:
    """Raise PermissionError if other users can write to a folder: what is read there is run."""
    if hasattr(os, "getuid"):  # Windows gives each user other temporary files
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(folder)


def _remove_unused(parent: Path) -> None:
    """Remove the machine code of sources that no process has started with for a day."""
    for marker in parent.glob("numba-*/writable"):
        with contextlib.suppress(OSError):
            if time.time() - marker.stat().st_mtime > SECONDS_KEPT:
                shutil.rmtree(marker.parent)


def source_hash(text: bytes = b"") -> str:
    """A hash of the package's source files that contain this text: of all, unless told otherwise."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        content = file.read_bytes()
        if text in content:
            digest.update(content)
    return digest.hexdigest()[:16]
