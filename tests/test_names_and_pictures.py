"""Files of any name, whole or not there; pictures in any environment, and none of nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from pongrad import Fast
from pongrad.cli import main
from pongrad.ground.errors import UserError
from pongrad.learning.learners import new_agent
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.runs.stages import Stages
from pongrad.views import plots
from pongrad.views.plots import learning_curve, short_names
from pongrad.views.video import check_name, writer

NAMES = [
    "2026-11-25T12:30:00.mp4", "-y.mp4", "100%03d.gif", "it's \"x\" [b] {c}.mp4", "$HOME.gif",
    "concat:a|b.mp4", "pipe:1.mp4", "new\nline.gif", "日本.mp4", "GAME.MP4",
]  # fmt: skip
ENVIRONMENTS = {
    "a notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    "nonsense": {"MPLBACKEND": "nonsense"},
    "settings": {"MATPLOTLIBRC": "settings"},
}
SETTINGS = "text.usetex: True\nbackend: TkAgg\nno.such.key: 1\nsavefig.format: pdf\nfigure.facecolor: red\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_with(path, scores=()):
    """A run with these mean scores, one an update; None: no game is finished."""
    folder = RunFolder.create(Fast(run=path, num_hidden_layer_neurons=8))
    folder.close()
    lines = [
        {"update": i, "frames": 10**6 * i, "games": i, "seconds": 60 * i, "mean_score_100": score}
        for i, score in enumerate(scores)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def run_python(code, **environment):
    line = [sys.executable, "-c", code]
    return subprocess.run(line, env=os.environ | environment, capture_output=True, text=True)


def pongrad(*args, **environment):
    return run_python(f"from pongrad.cli import main; main({list(map(str, args))})", **environment)


# --- Pictures in any environment ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A run that the lesson can be drawn from."""
    folder = run_with(tmp_path_factory.mktemp("taught") / "run", [-21, -20])
    agent = new_agent(folder.config())
    Stages(folder, agent, Progress())
    folder.save_agent("best.safetensors", agent, {})
    return folder.path


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_pictures_are_the_same_in_any_environment(environment, taught, tmp_path):
    (tmp_path / "settings").write_text(SETTINGS)
    assert pongrad("plot", taught, "-o", "curve.png", **environment).returncode == 0
    assert pongrad("lesson", taught, "pictures", **environment).returncode == 0
    main(["plot", str(taught), "-o", "as_ever.png"])
    main(["lesson", str(taught), "as_ever"])
    assert (tmp_path / "curve.png").read_bytes() == (tmp_path / "as_ever.png").read_bytes()
    for file in (tmp_path / "as_ever").iterdir():
        assert (tmp_path / "pictures" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize(("backend", "then"), [("svg", "svg"), ("nonsense", "agg")])
def test_a_notebook_keeps_its_backend_and_settings(backend, then, taught):
    """Also where it names one that is not installed, Matplotlib's own choice is as if that were not said."""
    code = f"""
import os, sys
from pathlib import Path
from pongrad.runs.folder import RunFolder
from pongrad.views import plots
import matplotlib
matplotlib.rcParams["lines.linewidth"] = 7
plots.learning_curve([RunFolder(Path({str(taught)!r}))], Path("x.png"))
assert "matplotlib.pyplot" not in sys.modules
import matplotlib.pyplot as plt
plt.figure()
print(plt.get_backend(), matplotlib.rcParams["lines.linewidth"], os.environ["MPLBACKEND"])
"""
    done = run_python(code, MPLBACKEND=backend)
    assert done.stdout.split() == [then, "7.0", backend], done.stderr


@pytest.mark.parametrize(("name", "start"), [("x.png", b"\x89PNG"), ("x.pdf", b"%PDF"), ("x.svg", b"<?xml")])
def test_a_picture_is_what_its_name_says(name, start, tmp_path):
    learning_curve([run_with(tmp_path / "run", [1, 2])], tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


# --- Labels ---------------------------------------------------------------------------------------------


def test_labels_are_the_shortest_ends_that_tell_runs_apart(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    here = tmp_path / "here"
    assert short_names([here / "a" / "run", here / "b" / "run", here / "c"]) == ["a/run", "b/run", "c"]
    assert short_names([here / "x" / "a" / "run", here / "y" / "a" / "run"]) == ["x/a/run", "y/a/run"]
    assert short_names([here / "." / "run"]) == ["run"] and short_names([here / ".." / "here"]) == ["here"]
    assert short_names([type(here)(".")]) == ["here"]
    assert short_names([here / "run", here / "run"]) == ["run", "run"]
    assert short_names([type(here)("/run"), type(here)("/a/run")]) == ["/run", "a/run"]


def test_names_are_shown_as_they_are(tmp_path, monkeypatch, recwarn):
    names = [
        "_hidden",
        "$x_1^{2}$ costs $5",
        "back\\slash_\\frac{",
        "%d",
        "日本",
        "-dash",
        "new\nline",
        "bad\udcff",
    ]
    figures = []
    save = plots.save
    monkeypatch.setattr(
        plots, "save", lambda figure, *args, **how: figures.append(figure) or save(figure, *args, **how)
    )
    learning_curve([run_with(tmp_path / name, [1, 2]) for name in names], tmp_path / "x.png")
    texts = figures[0].axes[-1].get_legend().get_texts()
    assert [text.get_text() for text in texts] == [*names[:-2], "new?line", "bad?"]
    assert not any(text.get_parse_math() for text in texts) and not recwarn


# --- Plots of nothing -----------------------------------------------------------------------------------


def test_nothing_to_plot_is_one_clear_line(tmp_path, capsys):
    run_with(tmp_path / "none")
    run_with(tmp_path / "no_game", [None, None])
    with pytest.raises(SystemExit) as stop:
        main(["plot", "none", "no_game", "-o", "curve.png"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "no game is finished in none, no_game" in err and err.count("\n") == 1
    assert not (tmp_path / "curve.png").exists()


def test_runs_without_games_are_left_out_and_named(tmp_path, capsys):
    run_with(tmp_path / "no_game", [None])
    run_with(tmp_path / "one_update", [3.0])
    main(["plot", "no_game", "one_update", "-o", "curve.png"])
    assert "left out, as no game is finished there: no_game\n" in capsys.readouterr().err
    picture = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB")).astype(int)
    blue = np.abs(picture - (31, 119, 180)).max(axis=2) < 10
    assert all(third.sum() > 20 for third in np.array_split(blue, 3, axis=1))  # one point can be seen


# --- Videos whole or not there --------------------------------------------------------------------------


def film(out, pictures=7, size=(30, 41)):
    """Write a video of noise, whose sides need not be even."""
    rng = np.random.default_rng(0)
    with writer(out) as add:
        for _ in range(pictures):
            add(rng.integers(0, 256, (*size, 3), np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_a_video_may_have_any_name(name, tmp_path):
    film(type(tmp_path)(name))
    assert [file.name for file in tmp_path.iterdir()] == [name]
    start = (tmp_path / name).read_bytes()[:12]
    assert start.startswith(b"GIF89a") if name.endswith(".gif") else start[4:8] == b"ftyp"


def test_a_folder_may_have_any_name_too(tmp_path):
    (tmp_path / "a:b %d").mkdir()
    film(type(tmp_path)("a:b %d/x.mp4"))
    assert [file.name for file in (tmp_path / "a:b %d").iterdir()] == ["x.mp4"]


@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
@pytest.mark.parametrize("there", [[], ["x"]], ids=["new", "there"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, UserError, OSError])
def test_what_fails_leaves_things_as_they_were(name, there, failure, tmp_path):
    before = {name: b"good"} if there else {}
    for file, content in before.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError if failure is OSError else failure), writer(tmp_path / name) as add:
        add(np.zeros((64, 64, 3), np.uint8))
        raise failure("no")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")
@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_a_full_disk_is_one_clear_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"good")
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000));"
        f"from pongrad.cli import main; main(['record', {name!r}, '--seconds', '8'])"
    )
    done = run_python(code)
    assert done.returncode == 2 and f"cannot write {name}" in done.stderr and done.stderr.count("\n") == 1
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {name: b"good"}


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
def test_ctrl_c_in_the_middle_of_a_recording(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"good")
    line = [sys.executable, "-m", "pongrad", "record", "x.mp4"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"x.mp4": b"good"}


def test_an_ffmpeg_that_cannot_be_started_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "no-such-program")
    with pytest.raises(UserError, match=r"cannot start ffmpeg.*no-such-program.*unset IMAGEIO_FFMPEG_EXE"):
        film(tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["folder.mp4", "nowhere/x.mp4", "x" * 300 + ".mp4"])
def test_a_name_that_cannot_be_written(name, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        check_name(tmp_path / name)
        film(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.mp4"]


def test_an_unfinished_video_of_a_killed_process_is_no_obstacle(tmp_path):
    (tmp_path / ".x.mp4.new").write_bytes(b"half")
    film(tmp_path / "x.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["x.mp4"]
