"""Files that are whole or not there: safetensors with JSON beside the numbers, written atomically.

Nothing is ever unpickled, so a file from a stranger can be wrong but cannot run code.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from pongrad.errors import UserError

Tensors = dict[str, NDArray[Any]]

_KEY = "pongrad"


def write(path: Path, content: bytes) -> None:
    """Write a file that appears whole under its name or not at all, and survives a power cut once there.

    Raises:
        UserError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; free or choose another folder") from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def save(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Write arrays and a JSON-able dictionary as one safetensors file."""
    write(path, safetensors.numpy.save(tensors, {_KEY: json.dumps(metadata)}))


def load(path: Path, format: str) -> tuple[Tensors, dict[str, Any]]:
    """The arrays and the dictionary of a safetensors file.

    Args:
        path: the file.
        format: what its dictionary's "format" must be.

    Raises:
        UserError: no such file, damaged, or of another format.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            if not isinstance(metadata, dict) or metadata.get("format") != format:
                raise UserError(f"{path} is not a file of format {format}: give one that pongrad wrote")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): use another checkpoint or agent") from error
