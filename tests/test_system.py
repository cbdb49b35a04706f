"""Where it runs: systems without POSIX signals, limits and locks, and containers with a quota."""

import os
import subprocess
import sys
import textwrap

import pytest

from pongrad.ground.system import cores, cpu_quota

WITHOUT_POSIX = """
import builtins, os, signal, sys

ordinary = builtins.__import__
def without(name, globals=None, *args, **options):
    ours = (globals or {}).get("__name__", "").startswith("pongrad")
    if ours and name in {"fcntl", "resource", "pty", "termios"}:
        raise ImportError(f"this system has no {name}")
    return ordinary(name, globals, *args, **options)
builtins.__import__ = without
for name in ("SIGHUP", "setitimer", "ITIMER_PROF", "pthread_sigmask"):
    delattr(signal, name)
del os.nice, os.sched_getaffinity
"""


@pytest.fixture
def without_posix(tmp_path):
    """The environment of processes whose Python has no fcntl, resource and POSIX signals."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_POSIX)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_everything_can_be_imported_without_posix(without_posix):
    code = """
    import importlib, pkgutil, pongrad, signal
    assert not hasattr(signal, "SIGHUP")
    names = [module.name for module in pkgutil.walk_packages(pongrad.__path__, "pongrad.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    assert len(names) > 40
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=without_posix, check=True)


def test_a_training_without_posix(without_posix, tmp_path):
    def pongrad(*args):
        return subprocess.run(
            [sys.executable, "-m", "pongrad", *map(str, args)],
            env=without_posix, capture_output=True, text=True,
        )  # fmt: skip

    run, small = tmp_path / "run", ("--num-games", 2, "--num-hidden-layer-neurons", 2, "--workers", 1)
    done = pongrad("train", "--frames", 1000, "--run", run, *small)
    assert done.returncode == 0, done.stderr
    done = pongrad("train", "--resume", "--run", run, "--frames", 2000)
    assert done.returncode == 0, done.stderr
    assert "mean score" in pongrad("evaluate", run, "--games", 1, "--workers", 1).stdout


def test_the_cores_of_a_container(tmp_path):
    """Quotas of the group and of those above it count, in both versions of control groups."""
    own, root = tmp_path / "cgroup", tmp_path / "sys"
    (root / "a" / "b").mkdir(parents=True)
    assert cpu_quota(own, root) == float("inf")
    own.write_text("0::/a/b\n")
    assert cpu_quota(own, root) == float("inf")
    (root / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(own, root) == float("inf")
    (root / "a" / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(own, root) == 1.5
    (root / "cpu.max").write_text("120000 100000\n")
    assert cpu_quota(own, root) == 1.2
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (root / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(own, root) == 0.5
    assert 1 <= cores() <= (os.cpu_count() or 1)


# --- Scripts that start processes -------------------------------------------------------------------------

UNGUARDED = {
    "at once": "train(Fast(frames=1000, workers=1, run='run'))",
    "in a function": "def go():\n    train(Fast(frames=1000, workers=1, run='run'))\ngo()",
    "in a pool": (
        "import multiprocessing\n"
        "def go(_):\n    train(Fast(frames=1000, workers=1, run='run'))\n"
        "if __name__ == '__main__':\n    multiprocessing.Pool(1).map(go, [1])"
    ),
}


@pytest.mark.parametrize("how", UNGUARDED)
def test_a_script_that_cannot_start_processes_is_told_before_anything_is_made(how, tmp_path):
    (tmp_path / "script.py").write_text(f"from pongrad import Fast, train\n{UNGUARDED[how]}\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    *_, last = done.stderr.splitlines()
    assert done.returncode == 1 and last.startswith("pongrad.ground.errors.UserError: this starts processes")
    assert ("ProcessPoolExecutor" in last) == (how == "in a pool") and done.stderr.count("UserError:") <= 2
    assert os.listdir(tmp_path) == ["script.py"]


def test_a_script_with_another_guard_is_ended_with_one_line(tmp_path):
    script = "import sys\nfrom pongrad import Fast, train\nif sys.argv:\n    "
    (tmp_path / "script.py").write_text(script + "train(Fast(frames=1000, workers=1, run='run'))\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("pongrad.ground.errors.UserError: this starts processes")
    assert len(done.stderr.splitlines()) < 40
