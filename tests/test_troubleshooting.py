"""Every command and every script of docs/troubleshooting.md is run, as a user would paste it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "troubleshooting.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [
    line.replace("> train.log", "").replace("ssh -L 8021:localhost:8021 my.machine.example .venv/bin/", "")
    for block in blocks("sh")
    for line in block.splitlines()
    if "pongrad" in line
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small run that has finished a game."""
    folder = tmp_path_factory.mktemp("folder")
    small = "--num-games", "2", "--num-hidden-layer-neurons", "2", "--frames", "30k"
    subprocess.run([sys.executable, "-m", "pongrad", "train", *small], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, folder):
    """A training is stopped once it is under way, a page once it is served; all others run to their end."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {command}"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shown = ""
    for line in process.stdout:
        shown += line
        if line.startswith(("training ", "champion plays at")):
            process.send_signal(signal.SIGINT)
    assert process.wait() == (130 if " train " in command or " watch" in command else 0), shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("script", blocks("python"))
def test_scripts(script, folder):
    (folder / "script.py").write_text(script)
    subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, capture_output=True)


def test_twenty_questions_are_answered():
    assert PAGE.count("\n### ") >= 20
