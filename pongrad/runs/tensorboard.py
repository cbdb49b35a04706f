"""TensorBoard's file: the lines of metrics.jsonl once more, one event a line, against frames.

It is made from those lines anew whenever a run is resumed, so it has no gap and no double either. Its clock
is the run's own: breaks between sessions do not count, and a computer's clock that jumps changes nothing.
"""

import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from pongrad.ground import storage

_NAME = "events.out.tfevents"


class EventFile:
    """A session's file of events; its name says when the run began and which session this is."""

    def __init__(self, folder: Path, lines: Sequence[dict[str, Any]]) -> None:
        """Write these lines anew.

        TensorBoard reads one file after the other, and forgets at this one's start what it read before. The
        last one before stays, so that a TensorBoard that is looking on finds its way from there to here.

        Raises:
            UserError: the folder cannot be written to.
        """
        folder.mkdir(exist_ok=True)
        before = sorted(folder.glob(f"{_NAME}.{'[0-9]' * 10}.{'[0-9]' * 4}"))
        started, session = before[-1].name.split(".")[-2:] if before else (f"{time.time():010.0f}", "0000")
        self._started = float(started)
        self._path = folder / f"{_NAME}.{started}.{int(session) + 1:04}"
        events = [
            Event(wall_time=self._started, file_version="brain.Event:2"),
            Event(wall_time=self._started, session_log=SessionLog(status=SessionLog.START), step=0),
            *map(self._event, lines),
        ]
        storage.write(self._path, b"".join(map(_record, events)))
        for file in before[:-1]:
            file.unlink(missing_ok=True)

    def add(self, line: dict[str, Any]) -> None:
        """Add one update's line.

        Raises:
            UserError: the file cannot be written to.
        """
        storage.append(self._path, _record(self._event(line)))

    def _event(self, line: dict[str, Any]) -> Event:
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in line.items()
            if name != "frames" and value is not None
        ]
        return Event(
            wall_time=self._started + line["seconds"], step=line["frames"], summary=Summary(value=values)
        )


def _record(event: Event) -> bytes:
    """An event as it stands in the file: its length and itself, a checksum after each."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return b"".join([length, _checksum(length), content, _checksum(content)])


def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))
