"""Standard output on which no work depends: it may be closed, full, or unable to show a character.

Of `pongrad train | head -1` the training goes on, and so does one whose terminal has been closed.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO


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
