"""Machine code on disk is never older than the sources it was made from."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pongrad

SCRIPT = """
import numpy as np
from pongrad.network.network import first_outputs
one = np.ones(1, np.uint16), np.ones(1, np.int8)
print(first_outputs(*one, (np.full((2, 3), 5.0),), (np.zeros((1, 3)),), 1)[0])
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package, without what has been compiled."""
    source = Path(pongrad.__file__).parent
    return shutil.copytree(source, tmp_path / "pongrad", ignore=shutil.ignore_patterns("__pycache__"))


def printed(package, **environment):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=package.parent, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def cached(folder):
    return [file.name for file in folder.rglob("numba-*/**/*.nbc") if "first_outputs" in file.name]


def test_a_change_in_a_called_functions_file_is_seen(package):
    """`first_outputs` calls `add_rows` in another file, which Numba itself does not look at."""
    assert printed(package)[0] == "5.0" and len(cached(package)) == 1
    assert printed(package)[0] == "5.0"
    layers = package / "network" / "layers.py"
    text = layers.read_text()
    assert text.count("out[unit] += value * weights[index, unit]") == 1
    changed = time.time()
    layers.write_text(text.replace("out[unit] += value *", "out[unit] += 2 * value *"))
    assert printed(package)[0] == "10.0" and len(cached(package)) == 2
    (older,) = [marker for marker in package.rglob("writable") if marker.stat().st_mtime < changed]
    os.utime(older, (0, 0))
    assert printed(package)[0] == "10.0" and len(cached(package)) == 1  # what nobody uses is removed


@pytest.mark.parametrize("kept_in", ["home", "temporary", "nowhere", "nowhere safe"])
def test_a_package_that_cannot_be_written_to(package, kept_in, tmp_path):
    """Machine code is in the user's cache, else with the temporary files, else nowhere, which is said."""
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    (package / "__pycache__").write_text("no folder")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir() if kept_in == "home" else home.write_text("no folder")
    temporary.mkdir()
    ours = temporary / f"pongrad-{os.getuid()}"
    if kept_in == "nowhere":
        ours.write_text("no folder")
    if kept_in == "nowhere safe":  # what another user could put there would be run
        ours.mkdir()
        ours.chmod(0o777)
    output, errors = printed(package, HOME=str(home), TMPDIR=str(temporary))
    assert output == "5.0"
    assert [len(cached(folder)) for folder in (home, temporary)] == [
        kept_in == "home",
        kept_in == "temporary",
    ]
    assert len(errors.splitlines()) == kept_in.startswith("nowhere")
