"""What is shown never decides whether a run lives: closed pipes, full disks, terminals of all kinds."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

from pongrad.games.scores import Reference
from pongrad.learning.recipes import Fast
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.views.terminal import ASCII_BLOCKS, curve
from pongrad.views.time_left import time_left

SMALL = "--num-games", "2", "--num-hidden-layer-neurons", "2", "--workers", "1"
COMMAND = [sys.executable, "-m", "pongrad"]


def finished(folder):
    """Frames of a run that has ended as it should."""
    assert (folder / "summary.json").exists()
    return RunFolder(folder).load_checkpoint().progress.frames


@pytest.mark.parametrize("output", ["closed by its reader", "full disk", "closed"])
def test_training_goes_on_without_an_output(output, tmp_path):
    train = [*COMMAND, "train", *SMALL, "--frames", "2000", "--run", str(tmp_path / "run")]
    shell = {
        "closed by its reader": '"$@" | true; exit ${PIPESTATUS[0]}',
        "full disk": '"$@" > /dev/full',
        "closed": '"$@" >&-',
    }[output]
    done = subprocess.run(["bash", "-c", shell, "bash", *train], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert finished(tmp_path / "run") >= 2000


def test_other_commands_say_that_they_cannot_write():
    evaluate = [*COMMAND, "evaluate", "--games", "1", "--workers", "1"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(evaluate, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        2, "pongrad: cannot write the output: No space left on device\n"
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_without_all_characters(encoding):
    done = subprocess.run(
        [*COMMAND, "evaluate", "--games", "1", "--workers", "1"],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0 and b"mean score" in done.stdout and done.stderr == b""


def on_a_terminal(folder, rows, columns, encoding, frames):
    """A training on a terminal of this size; returns its process and this end of the terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def lead():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*COMMAND, "train", *SMALL, "--frames", str(frames), "--run", str(folder)],
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lead,
        env={**os.environ, "PYTHONIOENCODING": encoding, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    return process, ours


def shown(ours):
    """All that comes out of a terminal until it is closed."""
    text = b""
    while True:
        try:
            text += (piece := os.read(ours, 4096))
        except OSError:
            return text
        if not piece:
            return text


@pytest.mark.parametrize(
    ("rows", "columns", "encoding"),
    [(24, 80, "latin-1"), (24, 80, "utf-8"), (2, 1, "utf-8"), (3, 12, "ascii")],
)
def test_a_panel_in_any_terminal(rows, columns, encoding, tmp_path):
    process, ours = on_a_terminal(tmp_path / "run", rows, columns, encoding, 2000)
    text = shown(ours).decode(encoding)
    assert process.wait(60) == 0, text
    assert finished(tmp_path / "run") >= 2000
    if columns == 80:
        assert ("╭" in text) == (encoding == "utf-8") and "time left" in text


def test_a_terminal_that_is_closed_saves(tmp_path):
    process, ours = on_a_terminal(tmp_path / "run", 24, 80, "utf-8", 10**9)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 2):
        os.read(ours, 4096)
    os.close(ours)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert finished(tmp_path / "run") > 0


def test_a_closed_terminal_that_is_told_of_twice_saves(tmp_path):
    """An interactive shell sends SIGHUP, and at its end the system does."""
    run = tmp_path / "run"
    train = [*COMMAND, "train", *SMALL, "--frames", "1000000000", "--run", str(run)]
    process = subprocess.Popen(train, stdout=subprocess.DEVNULL)
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 2):
        time.sleep(0.1)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.001)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert finished(run) > 0


def test_nohup_is_heeded(tmp_path):
    train = [*COMMAND, "train", *SMALL, "--frames", "1000000000", "--run", str(tmp_path / "run")]
    process = subprocess.Popen(
        train, stdout=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("width", [1, 2, 7, 60])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_curve_of_any_width(width, count):
    lines = curve(np.linspace(-21, 21, count).tolist(), width, Reference(-20.7, 14.6, True), ASCII_BLOCKS)
    rows = str(lines).splitlines()
    assert len(rows) == 8 and {len(row) for row in rows} == {10 + width} and str(lines).isascii()


# --- Time left ------------------------------------------------------------------------------------------


def test_the_time_left_is_that_of_the_soonest_limit():
    """At 1,000 frames/s 500 s of frames are left; of 10 minutes 400 s; to 18 points, one a second, 8 s."""
    progress = Progress(frames=500_000, seconds=200.0)
    curve = [(float(second), -190.0 + second) for second in range(201)]
    far = {"frames": 1_000_000, "until": 1e9}
    assert time_left(Fast(**far), progress, 1000.0, curve) == (500.0, "to 1,000,000 frames")
    assert time_left(Fast(**far, minutes=10), progress, 1000.0, curve) == (400.0, "of 10 minutes")
    seconds, why = time_left(Fast(frames=10**6, until=18), progress, 1000.0, curve)
    assert seconds == pytest.approx(8) and why == "to a score of 18, if it goes on rising as it does"
    falling = [(second, -score) for second, score in curve]
    assert time_left(Fast(frames=10**6, until=18), progress, 1000.0, falling)[0] == 500.0
