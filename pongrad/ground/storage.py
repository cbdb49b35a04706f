"""Files that are whole or not there: safetensors with JSON beside the numbers, a checksum over both.

Nothing is ever unpickled, so a file from a stranger can be wrong but cannot run code; and its size is looked
at before it is read, so that it cannot fill the memory either.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from pongrad.ground.errors import UserError

Tensors = dict[str, NDArray[Any]]

LARGEST_FILE = 2**30
LARGEST_HEADER = 2**24
"""Bytes; a file of more is neither written nor read. The defaults make 21 MB and 20 kB."""

_KEY = "pongrad"
_CHECKSUM = "sha256"

_INSTEAD = "move it elsewhere, or give another one"

_START = 2**10
_OURS = re.compile(rb'.{8}\{"__metadata__":\{"pongrad":"\{\\"format\\": \\"[\w-]+-\d+\\"', re.DOTALL)
"""How a file of ours begins, damaged or not, unless the damage is right there."""

_KINDS = {
    rb"\Z": "for it is empty",
    rb"PK\x03\x04": "but a zip archive, as PyTorch and NumPy write them",
    rb"\x80[\x02-\x05]": "but a pickle of Python's",
    rb"\x93NUMPY": "but an array of NumPy's",
    rb"(?s:....)ftyp|GIF8|\x89PNG": "but a picture or a video",
    rb"[\s\x20-\x7e]+\Z": "but text",
}
"""What else people take for one, by how it begins."""


def write(path: Path, content: bytes) -> None:
    """Write a file that appears whole under its name or not at all, and survives a power cut once there.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _cannot("write", path, error) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to be written in the `with` block, which at its end takes the place of this one.

    Whatever fails, the one that was there stays as it is, and no part of the new one is left.
    """
    temporary = path.parent / f".{path.name}.new"
    try:
        yield temporary
        flush(temporary)  # else a power cut may leave the new name without its content
        os.replace(temporary, path)
        flush(path.parent)  # else it may undo the renaming
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file. A crash may leave part of it, and a power cut nothing: see `flush`.

    Raises:
        UserError: the file cannot be written to.
    """
    try:
        with open(path, "ab") as file:
            file.write(content)
    except OSError as error:
        raise _cannot("write", path, error) from error


def flush(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on the disk before going on.

    Windows opens no folders; it keeps names by itself.

    Raises:
        OSError: the disk cannot.
    """
    if not path.is_dir():
        descriptor = os.open(path, os.O_RDWR)  # Windows flushes nothing that may only be read
    elif os.name == "nt":
        return
    else:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what a `write` that was killed left behind."""
    for file in folder.glob(".*.new"):
        file.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def save(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Write arrays and a JSON-able dictionary, with a checksum over both, as one safetensors file.

    Raises:
        UserError: it cannot be written, or would be too large to be read again.
    """
    metadata = json.loads(json.dumps(metadata, default=_plain))  # as it will be read
    text = json.dumps({**metadata, _CHECKSUM: _checksum(tensors, metadata)})
    content = safetensors.numpy.save(tensors, {_KEY: text})
    if len(content) > LARGEST_FILE or _header_size(content) > LARGEST_HEADER:
        raise UserError(f"{path} would be larger than {LARGEST_FILE:,} bytes: use fewer neurons or games")
    write(path, content)


def load(path: Path, format: str, instead: str = _INSTEAD) -> tuple[Tensors, dict[str, Any]]:
    """The arrays and the dictionary of a safetensors file.

    Args:
        path: the file.
        format: what its dictionary's "format" must be: a name and, after the last dash, a version.
        instead: what the user had better do if the file is none of ours, or of another format.

    Raises:
        UserError: no such file, damaged, not of this format, or of another version of it.
    """
    try:
        _check_size(path, instead)
        with safetensors.safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            _check_format(path, metadata, format, instead)
            checksum = metadata.pop(_CHECKSUM, None)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except OSError as error:
        raise _cannot("read", path, error) from error
    except (safetensors.SafetensorError, ValueError, RecursionError, MemoryError, *_UNKNOWN_DTYPE) as error:
        raise damaged(path, error, instead) from error
    if checksum != _checksum(tensors, metadata):
        raise damaged(path, "it is not what was written: its checksum differs")
    return tensors, metadata


def damaged(path: Path, why: object, instead: str = _INSTEAD) -> UserError:
    """The error for a file that cannot be used; one of ours may be deleted, one of a stranger may not."""
    start = b"\0"
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(_START)
    if _OURS.match(start):
        return UserError(f"{path} is damaged ({why}): move it elsewhere or delete it, and use another one")
    kind = next(
        (kind for pattern, kind in _KINDS.items() if re.match(pattern, start)), f"or not whole ({why})"
    )
    return UserError(f"{path} is not a file that pongrad wrote, {kind}: {instead}")


_UNKNOWN_DTYPE = (AttributeError, KeyError, TypeError)
"""What safetensors raises for numbers that NumPy does not have."""


def _cannot(do: str, path: Path, error: OSError) -> UserError:
    advice = "free or choose another folder" if do == "write" else "give another file"
    return UserError(f"cannot {do} {path}: {error.strerror or error}; {advice}")


def _checksum(tensors: Tensors, metadata: dict[str, Any]) -> str:
    """SHA-256 over the metadata and every array's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for name, array in sorted(tensors.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON can hold of a value that it does not know: a number of NumPy's, or a text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _header_size(start: bytes) -> int:
    return int.from_bytes(start[:8], "little")


def _check_size(path: Path, instead: str) -> None:
    """Raise ValueError if the file is too large to be ours, or its header than the file."""
    status = os.stat(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # it may wait, or never end
        raise UserError(f"{path} is not a file on a disk: {instead}")
    with open(path, "rb") as file:
        size, header = status.st_size, _header_size(file.read(8))
    if size > LARGEST_FILE:
        raise ValueError(f"{size:,} bytes; none of ours is larger than {LARGEST_FILE:,}")
    if not 2 <= header <= min(size - 8, LARGEST_HEADER):
        raise ValueError(f"cut short or not a safetensors file: a header of {header:,} bytes in {size:,}")


def _check_format(path: Path, metadata: Any, format: str, instead: str) -> None:
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if found == format:
        return
    name, _, version = format.rpartition("-")
    found_name, _, found_version = str(found).rpartition("-")
    if not found_version.isdecimal():
        raise UserError(
            f"{path} is not a file that pongrad wrote, but a safetensors file of another program: {instead}"
        )
    if found_name != name:
        kind, wanted = found_name.removeprefix("pongrad-"), name.removeprefix("pongrad-")
        raise UserError(f"{path} is of the kind {kind}, not {wanted}: {instead}")
    if int(found_version) > int(version):
        raise UserError(f"{path} was written by a newer pongrad ({found}, not {format}): update pongrad")
    raise UserError(f"{path} was written by an older pongrad ({found}, not {format}): recreate it")


def packed_text(content: bytes) -> str:
    """Bytes as text, for JSON; see `unpacked_text`."""
    return base64.b64encode(zlib.compress(content)).decode()


def unpacked_text(text: str, most: int) -> bytes:
    """The bytes of `packed_text`.

    Args:
        text: what it gave.
        most: how many bytes they may be: a few bytes of text can stand for thousands of millions.

    Raises:
        TypeError, ValueError: the text is damaged, or stands for more.
    """
    unpack = zlib.decompressobj()
    try:
        content = unpack.decompress(base64.b64decode(text, validate=True), most + 1)
    except zlib.error as error:
        raise ValueError(f"damaged text ({error})") from error
    if len(content) > most:
        raise ValueError(f"text for more than {most} bytes")
    return content
