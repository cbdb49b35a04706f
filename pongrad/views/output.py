"""Standard output on which no work depends: it may be closed, full, or unable to show a character.

Of `pongrad train | head -1` the training goes on, and so does one whose terminal has been closed.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

OUTPUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""Its reader has closed it, as `| head` does, the disk is full, the terminal is gone."""


def show_what_can_be() -> None:
    """Have this process show a question mark for each character that a stream cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def forget_what_cannot_be_shown() -> None:
    """Python would complain, at its end, of what it could not write."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LossyOutput:
    """A text stream that shows what it can, and after a failure nothing more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text; ? for each character that the stream cannot encode."""
        if not self._gone:
            with self._gone_if_it_fails():
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    encoding = self._stream.encoding
                    self._stream.write(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what has been written."""
        if not self._gone:
            with self._gone_if_it_fails():
                self._stream.flush()

    @contextlib.contextmanager
    def _gone_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: this process has closed it
            self._gone = True


@contextlib.contextmanager
def lossy_output() -> Iterator[None]:
    """While the `with` block runs, standard output is a `LossyOutput`."""
    if sys.stdout is None:
        yield
        return
    with contextlib.redirect_stdout(LossyOutput(sys.stdout)):
        yield
