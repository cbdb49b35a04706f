"""The notebook is what jupytext makes of its text, and runs from start to end in a real kernel."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebook"
TEXT = FOLDER / "lesson.py"
NOTEBOOK = FOLDER / "lesson.ipynb"
MINUTE, SHORT = "Fast(minutes=1,", "Fast(frames=250_000,"
SECONDS_A_CELL = 600


def test_the_notebook_is_what_jupytext_makes_of_its_text(tmp_path):
    for name in ("lesson.py", "pair.py"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    subprocess.run([sys.executable, tmp_path / "pair.py"], check=True)
    made = (tmp_path / "lesson.ipynb").read_bytes()
    assert made == NOTEBOOK.read_bytes(), "make it anew: python docs/notebook/pair.py"


def test_it_holds_no_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs") and not cell.get("execution_count")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells of the notebook after it has run, with a short training; its assertions hold."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (training,) = (cell for cell in notebook.cells if MINUTE in cell.source)
    training.source = training.source.replace(MINUTE, SHORT)
    folder = str(tmp_path_factory.mktemp("notebook"))
    where = {"kernel_name": "python3", "resources": {"metadata": {"path": folder}}}
    client = NotebookClient(notebook, timeout=SECONDS_A_CELL, **where)
    client.execute(env={**os.environ, "TMPDIR": folder})  # the run's folder goes there
    return notebook.cells


def data_of(cell):
    """What a cell displays, as a list of dictionaries from MIME types to contents."""
    return [output.data for output in cell.outputs if "data" in output]


def test_it_says_nothing_on_standard_error(cells):
    said = [o.text for c in cells for o in c.get("outputs", ()) if o.get("name") == "stderr"]
    assert not [text for text in said if "A.L.E" not in text]  # the emulator's greeting


def test_training_draws_one_curve(cells):
    (cell,) = (cell for cell in cells if SHORT in cell.source)
    (curve,) = data_of(cell)
    assert base64.b64decode(curve["image/png"]).startswith(b"\x89PNG")


def test_the_last_code_cell_shows_the_game(cells, tmp_path):
    (shown,) = data_of([cell for cell in cells if cell.cell_type == "code"][-1])
    (video,) = re.findall(r'src="data:video/mp4;base64,([^"]+)"', shown["text/html"])
    file = tmp_path / "game.mp4"
    file.write_bytes(base64.b64decode(video))
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(file))
    assert frames == pytest.approx(1200, abs=4) and seconds == pytest.approx(20, abs=0.1)
