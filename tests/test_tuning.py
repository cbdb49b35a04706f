"""`pongrad tune`: the search space, the objective, studies that are killed and shared, and their report."""

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from test_cli import error_of

from pongrad.cli import _command
from pongrad.games.scores import reference
from pongrad.ground.errors import UserError
from pongrad.learning.recipes import PONG, Classic, Fast
from pongrad.tuning import report, study
from pongrad.tuning.objective import Curve, milestones
from pongrad.tuning.panel import Panel
from pongrad.tuning.session import Session, distributions
from pongrad.tuning.space import flags, parse, read, start, values
from pongrad.tuning.storage import Storage
from pongrad.tuning.study import OWNER, SharedStudy

TINY = ["--recipe", "classic", "--batch-size", 1, "--num-hidden-layer-neurons", 2, "--frames", 6000]
"""Flags of a study whose trials play two games; recipe classic does not look at the game first."""

SPACE = "[learning-rate]\nlow = 1e-5\nhigh = 1e-2\nlog = true\n[gamma]\nchoices = [0.9, 0.99]\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.toml").write_text(SPACE)


def command(*args):
    line = [sys.executable, "-m", "pongrad", "tune", *TINY, "--space", "space.toml", "--study", "s", *args]
    return [str(word) for word in line]


def started(*args, **how):
    return subprocess.Popen(command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def finished(process):
    out, err = process.communicate()
    assert process.returncode == 0 and not err, out + err
    return out


def trials(storage="sqlite:///s/study.db", name="s"):
    return optuna.load_study(study_name=name, storage=storage).trials


# The search space.


@pytest.mark.parametrize("recipe", [Fast(), Fast(network="conv"), Classic()])
def test_the_first_trial_of_the_built_in_space_has_the_defaults(recipe):
    space = read(None, recipe, set())
    first = values(space, start(space))
    assert first.keys() == space.keys()
    bonuses = dict(zip(("entropy_coefficient", "log_barrier_coefficient"), (0.01, 0.003), strict=True))
    for name, value in first.items():
        assert value == {**recipe.hyperparameters, **bonuses}[name]


@settings(max_examples=8)
@given(st.data())
def test_flags_of_a_trial_make_the_recipe_that_it_trains(data):
    tables = {
        "learning-rate": {"low": 1e-5, "high": 0.1, "log": True},
        "--lambda": {"low": 0.9, "high": 1.0},
        "epochs": {"low": 1, "high": 9, "step": 2},
        "num_games": {"choices": [8, 16]},
        "reward_ends_return": {"choices": ["yes", "auto"]},
        "conv-filters": {"choices": [[16, 32], [8, 8]]},
        "biases": {"choices": [True, False]},
    }
    base = Fast(network="conv", gamma=0.98)
    space = parse(tables, base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(data.draw(st.integers(0, 2**31))))
    found = values(space, study.ask(distributions(space)).params)
    for name, value in found.items():
        assert space[name].contains(value) and type(value) in (float, int, str, bool, tuple)
    config = Fast(**{"network": "conv", "gamma": 0.98, **found})
    config.check()
    assert _command(["train", *flags(config)]) == config


def test_values_are_rounded_within_their_limits():
    space = parse({"gamma": {"low": 0.90001, "high": 0.99999}}, Fast())
    assert values(space, {"gamma": 0.123456 + 0.8})["gamma"] == 0.9235
    assert values(space, {"gamma": 0.99998})["gamma"] == 0.99999  # not 1
    assert values(space, {"gamma": 0.90001})["gamma"] == 0.90001  # not 0.9


def test_a_fixed_flag_is_not_searched():
    assert "gamma" not in read(None, Fast(), {"gamma"})
    assert _command(["tune", "--gamma", "0.95", "--network", "conv"]).fixed == ("network", "gamma")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a table for each flag"),
        ("gamma = ", "is not TOML"),
        ("gamma = 1", "--gamma must be a table"),
        ("[gama]\nlow = 0", "gama is no hyperparameter of recipe fast"),
        ("[seed]\nlow = 0\nhigh = 9", "seed is no hyperparameter"),
        ("[gamma]\nlow = 0.9", "--gamma needs low and high"),
        ("[gamma]\nlow = 0.9\nhigh = 0.8", "--gamma: low must be below high"),
        ("[gamma]\nlow = 0.9\nhigh = 1.5", "--gamma must lie between 0 and 1"),
        ("[gamma]\nlow = 'a'\nhigh = 1", "--gamma must be a number"),
        ("[gamma]\nlow = 0\nhigh = 1\nlog = true", "with log, low must be above 0"),
        ("[gamma]\nlow = 0\nhigh = 1\nstep = 2", "step must be above 0 and at most"),
        ("[gamma]\nlow = 0\nhigh = 1\nchoices = [1]", "either choices, or low and high"),
        ("[gamma]\nchoices = []", "must be a list"),
        ("[epochs]\nlow = 1.5\nhigh = 3", "--epochs must be a whole number"),
        ("[clip]\nmean = 3", "--clip must be a table of choices, high"),
        ("[network]\nchoices = ['deep']", "--network must be"),
        ("[network]\nlow = 1\nhigh = 2", "--network is no number"),
    ],
)
def test_a_wrong_space_gets_one_clear_line(capfd, tmp_path, text, says):
    (tmp_path / "space.toml").write_text(text)
    assert says in error_of(capfd, "tune", "--space", "space.toml")
    assert not (tmp_path / "runs").exists()


# The objective.


def test_the_objective_of_a_hand_worked_curve():
    """-20 until 100 frames, then straight to 0 at 300 and to 10 at 500."""
    curve = Curve(-20.0)
    for frames, score in ((100, None), (300, 0.0), (500, 10.0)):
        curve.add(frames, score)
    assert curve.mean(100) == -20
    assert curve.mean(200) == pytest.approx((-20 * 100 - 15 * 100) / 200)
    assert curve.mean(300) == pytest.approx((-20 * 100 - 10 * 200) / 300)
    assert curve.mean(400) == pytest.approx((-4000 + 2.5 * 100) / 400)  # between two updates
    assert curve.mean(500) == pytest.approx((-4000 + 5 * 200) / 500)
    assert curve.mean(1000) == pytest.approx((-3000 + 10 * 500) / 1000)  # level after its end


def test_a_game_without_a_known_random_score_begins_with_its_first():
    curve = Curve(None)
    curve.add(100, None)
    assert curve.mean(100) is None
    curve.add(200, 3.0)
    assert curve.mean(200) == 3


@given(st.integers(1, 10**9))
def test_milestones_end_with_the_trial(frames):
    found = milestones(frames)
    assert found[-1] == frames and found == sorted(set(found)) and found[0] >= 1


# Sharing a study.


def shared(where, **how):
    space = {"gamma": optuna.distributions.FloatDistribution(0, 1)}
    return SharedStudy(Storage(where), "s", {"frames": 10, **how}, space, optuna.pruners.NopPruner())


@pytest.mark.parametrize("where", ["study.journal", "sqlite:///study.db"])
def test_processes_that_share_a_study_run_each_trial_once(where):
    """Here threads, each with a storage of its own: locks and storages take them for processes."""
    shared(where)
    ran = []

    def take_part():
        mine = shared(where)
        while trial := mine.claim(8, lambda n: {"gamma": n / 100}):
            ran.append(trial.params["gamma"])
            assert mine.tell(trial, TrialState.COMPLETE, 1.0)

    threads = [threading.Thread(target=take_part) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == [n / 100 for n in range(8)]
    found = shared(where)
    assert [trial.number for trial in found.trials()] == list(range(8)) and found.over()
    assert found.claim(8, lambda n: {}) is None and found.claim(9, lambda n: {}).number == 8


def lost_owner(kind):
    me = psutil.Process()
    return {
        "gone": [study._machine(), 2**22 + 1, 1.0],
        "another process with its number": [study._machine(), me.pid, me.create_time() - 1],
    }[kind]


@pytest.mark.parametrize("kind", ["gone", "another process with its number"])
def test_a_trial_whose_process_is_gone_is_run_again_with_the_same_parameters(kind):
    mine = shared("study.journal")
    for attempt in range(study.ATTEMPTS):
        trial = mine.claim(1, lambda n: {})
        assert trial.number == attempt and study.number(trial) == 0
        assert len({each.params["gamma"] for each in mine.trials()}) == 1
        assert mine.claim(1, lambda n: {}) is None  # while it runs, it is not given out again
        trial.set_user_attr(OWNER, lost_owner(kind))
    assert mine.claim(1, lambda n: {}) is None and mine.over()  # given up
    assert [trial.state for trial in mine.trials()] == [TrialState.FAIL] * study.ATTEMPTS
    assert not mine.tell(trial, TrialState.COMPLETE, 1.0)  # it was not dead after all: too late
    assert not mine.beat(trial) and not mine.report(trial, 5, 1.0)


def test_a_process_killed_while_it_gives_a_trial_back_does_not_double_it(monkeypatch):
    mine = shared("study.journal")
    trial = mine.claim(1, lambda n: {})
    trial.set_user_attr(OWNER, lost_owner("gone"))
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(mine.study, "tell", lambda *_, **__: sys.exit())
        mine.claim(1, lambda n: {})
    assert mine.claim(1, lambda n: {}).number == 1
    assert [trial.state for trial in mine.trials()] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_trial_of_another_machine_is_lost_when_it_is_silent_for_long(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(study.time, "monotonic", lambda: clock[0])
    theirs, mine = shared("study.journal"), shared("study.journal")
    theirs._machine = "another"
    trial = theirs.claim(1, lambda n: {})
    for _ in range(3):
        assert mine.claim(1, lambda n: {}) is None
        clock[0] += study.SECONDS_TO_LIVE - 1
        assert theirs.beat(trial)
    assert mine.claim(1, lambda n: {}) is None
    clock[0] += study.SECONDS_TO_LIVE + 1
    assert study.number(mine.claim(1, lambda n: {})) == 0


def test_a_study_goes_on_only_with_the_same_settings():
    shared("study.journal", gamma=0.9)
    with pytest.raises(UserError, match=r"with another --gamma \(0.9, not 0.8\): give another --study"):
        shared("study.journal", gamma=0.8)


# Whole studies, in real processes.


def wait_for(process, state, count):
    """Wait until so many trials are in this state; returns what the process has printed so far."""
    said = process.stdout.readline()  # now there is a storage
    while sum(trial.state == state for trial in trials()) < count:
        assert process.poll() is None, said + process.stdout.read() + process.stderr.read()
        time.sleep(0.2)
    return said


def test_killed_and_stopped_it_goes_on_and_loses_only_what_was_running():
    process = started("--trials", 2, "--jobs", 2, "--compare-seeds", 0)
    wait_for(process, TrialState.RUNNING, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive  # trainings end with the process that started them

    process = started("--trials", 2, "--jobs", 2, "--compare-seeds", 0)
    wait_for(process, TrialState.FAIL, 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and not err
    assert "tune --trials 2 --frames 6000 --jobs 2 --study s --space space.toml " in again(out)

    last = subprocess.Popen(
        [sys.executable, "-m", "pongrad", *again(out).split()[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out = finished(last)
    found = trials()
    assert Counter(trial.state for trial in found)[TrialState.COMPLETE] == 2
    for origin in (0, 1):
        same = [trial for trial in found if study.number(trial) == origin]
        assert len(same) in (2, 3) and all(trial.params == same[0].params for trial in same)
        assert [trial.state for trial in same[:-1]] == [TrialState.FAIL] * (len(same) - 1)
        assert same[-1].state == TrialState.COMPLETE
    assert {study.number(trial) for trial in found} == {0, 1}
    assert found[0].params["learning_rate"] == Classic().learning_rate
    assert f"Done. Trials: 2 complete, 0 pruned, {len(found) - 2} lost." in out


def again(out):
    return next(line.partition("To go on: ")[2] for line in out.splitlines() if "To go on" in line)


def test_an_unpromising_trial_is_pruned_and_the_best_is_compared():
    """Five trials that another process has run, all better than two games of a beginner can be."""
    space = read(Path("space.toml"), Classic(), set())
    known = session(*command()[4:]).study
    for number in range(5):
        known.add_trial(
            optuna.trial.create_trial(
                params={"learning_rate": 1e-4 * (number + 1), "gamma": 0.99},
                distributions=distributions(space),
                value=float(number),
                intermediate_values={frames: float(number) for frames in milestones(6000)},
            )
        )
    out = finished(started("--trials", 6, "--compare-seeds", 1, "--jobs", 2))
    last = trials()[5]
    assert last.state == TrialState.PRUNED and milestones(6000)[2] <= last.last_step < 6000
    assert "trial 5: pruned (mean score -" in out and "Done. Trials: 5 complete, 1 pruned, 0 lost." in out

    found = json.loads(Path("s/results.json").read_text())
    assert found["best"]["trial"] == 4 and found["best"]["flags"] == {"learning_rate": 5e-4, "gamma": 0.99}
    assert found["best"]["command"] in out and found["best"]["command"].endswith("--learning-rate 0.0005")
    assert found["comparison"]["seeds"] == [900_000]  # trials have 1,000,000 and above
    assert "one seed cannot tell" in out
    for side in ("best", "defaults"):
        run = next(Path("s/comparison").glob("*/*/seed900000"))
        assert -21 <= found["comparison"][side]["mean_score"] < -15
        assert not (run / "checkpoints").exists() and (run / "best.safetensors").exists()
    assert found["comparison"]["defaults"]["mean_score"] == pytest.approx(by_hand(Path("s")))
    assert "| 4 | complete | +4.00 |" in Path("s/results.md").read_text()
    for name in ("importance", "slice"):
        assert Path(f"s/{name}.png").read_bytes().startswith(b"\x89PNG")


def by_hand(folder):
    """The area under the defaults' curve, from the metrics of their run."""
    (run,) = (
        config.parent for config in folder.glob("comparison/*/*/seed*/config.json")
        if json.loads(config.read_text())["learning_rate"] == Classic().learning_rate
    )  # fmt: skip
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    x = np.arange(6001)
    y = np.interp(x, [0, *(line["frames"] for line in lines)],
                  [reference(PONG).random, *(line["mean_score_100"] for line in lines)])  # fmt: skip
    return np.trapezoid(y, x) / 6000


def test_seeds_take_turns_and_impossible_flags_are_pruned():
    """Recipe fast, two seeds; the first trial's learning rate makes numbers that are not finite."""
    Path("space.toml").write_text("[learning-rate]\nchoices = [1e38, 1e-3]")
    args = "--frames 5k --seeds 2 --num-games 2 --num-hidden-layer-neurons 2 --space space.toml --study s"
    for rate in (1e38, 1e-3):
        session(*args.split()).study.enqueue_trial({"learning_rate": rate})
    line = [sys.executable, "-m", "pongrad", "tune", *args.split(), "--trials", "2", "--compare-seeds", "0"]
    out = finished(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    first, last = trials()
    assert first.state == TrialState.PRUNED and "no longer finite" in first.user_attrs["why"]
    assert last.state == TrialState.COMPLETE and list(last.intermediate_values) == milestones(5000)
    assert sorted(run.name for run in Path("s/trials/0001").glob("seed*")) == ["seed1001000", "seed1001001"]
    assert "Done. Trials: 1 complete, 1 pruned, 0 lost." in out


def session(*args):
    """The study as `pongrad tune` with these arguments makes it."""
    tune = _command(["tune", *map(str, args)])
    return Session(tune, read(tune.space, tune.base, set()))._study


POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
INITDB = shutil.which("initdb") or (str(POSTGRES[-1]) if POSTGRES else None)


@pytest.fixture
def postgresql():
    """The URL of a server that listens in a temporary folder; it does not run as root."""
    if not INITDB:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    pytest.importorskip("psycopg")
    folder, become, user = tempfile.mkdtemp(), [], getpass.getuser()
    if os.geteuid() == 0:
        import pwd

        users = {each.pw_name for each in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in users), None)
        if not user or not shutil.which("setpriv"):
            pytest.skip("PostgreSQL does not run as root, and there is no other user to run it as")
        become = ["setpriv", f"--reuid={user}", "--clear-groups"]
        shutil.chown(folder, user)
    tools = Path(INITDB).resolve().parent

    def run(tool, *args):
        line = [*become, tools / tool, "-D", f"{folder}/data", *args]
        done = subprocess.run(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr

    run("initdb", "--no-sync", "--auth=trust", "--username=tuner")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "start", "--wait", "--log", f"{folder}/log", "--options", options)
    yield f"postgresql://tuner@/postgres?host={folder}"
    run("pg_ctl", "stop", "--wait", "--mode", "immediate")
    shutil.rmtree(folder)


def test_two_processes_share_a_study_through_postgresql(postgresql):
    shares = [started("--storage", postgresql, "--trials", 3, "--jobs", 1, "--compare-seeds", 0,
                      "--study", f"{part}/s") for part in ("a", "b")]  # fmt: skip
    outputs = [finished(share) for share in shares]
    found = trials(postgresql.replace("postgresql:", "postgresql+psycopg:"))
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 3
    assert [trial.number for trial in found] == [0, 1, 2]
    ran = [[path.name for path in Path(part).glob("s/trials/*")] for part in ("a", "b")]
    assert sorted(ran[0] + ran[1]) == ["0000", "0001", "0002"]
    for part, output in zip(("a", "b"), outputs, strict=True):
        assert "Done. Trials: 3 complete, 0 pruned, 0 lost." in output
        assert len(json.loads(Path(part, "s/results.json").read_text())["trials"]) == 3
    with pytest.raises(UserError, match="another --frames"):
        shared(postgresql)


# What a user can get wrong, and what is shown.


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--gama 0.9", "--gama"),
        ("--trials none", "--trials"),
        ("--trials 0", "--trials must be 1 or more"),
        ("--jobs 0", "--jobs must be 1 or more"),
        ("--seeds 2000", "--seeds must be 1000 or fewer"),
        ("--gamma 2", "--gamma must lie between 0 and 1"),
        ("--game ALE/Pang-v5", "unknown game"),
        ("--seed 3", "--seed is not for tune"),
        ("--live", "--live is not for tune"),
        ("--recipe slow", "--recipe"),
        ("--cluster local", "--cluster local is what tune does without"),
        ("--cluster 127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("--cluster 127.0.0.1:9 --seeds 2", "--cluster takes one of --seeds"),
        ("--space nowhere.toml", "cannot read nowhere.toml"),
        ("--space space.toml --gamma 0.9", "--gamma is fixed on the command line"),
        ("--storage mysql://me@there/x", "is no storage that pongrad can share"),
        ("--storage ://", "is no storage"),
        (
            "--storage postgresql://me:secret@127.0.0.1:1/x",
            "cannot use the storage postgresql://me:***@",
        ),
        ("--storage space.toml", "cannot use the storage space.toml"),
        ("--storage sqlite:///space.toml", "file is not a database"),
        ("--storage space.toml/x/journal", "cannot use the storage"),
        ("--study space.toml", "cannot make the folder"),
    ],
)
def test_mistakes_get_one_clear_line(capfd, args, says):
    line = error_of(capfd, "tune", *args.split())
    assert says in line and "secret" not in line
    assert Path("space.toml").read_text() == SPACE


@pytest.mark.parametrize("missing", ["optuna", "psycopg"])
def test_a_missing_extra_is_named(capfd, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    line = error_of(capfd, "tune", "--storage", "postgresql://me@127.0.0.1:1/x")
    assert "pip install '.[tune" in line


def test_nothing_else_imports_optuna():
    code = "import sys, pongrad.cli, pongrad.runs.training; print({'optuna', 'sqlalchemy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_panel_shows_trials_and_the_best(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Panel(reference(PONG), Fast(frames=1000)) as panel:
        panel.begin("search")
        panel.standing(3, 30, (-18.5, 2))
        panel.started(4, Fast(frames=1000, gamma=0.95, seed=7), 2000)
        panel.progress(4, 500, -19.25)
    shown = capsys.readouterr().out
    for words in (
        "search",
        "trial 4",
        "25%",
        "-19.25",
        "--gamma 0.95; seed 7",
        "3 of 30",
        "-18.50 (trial 2)",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("best", "defaults", "says"),
    [((5.0, 1.0), (1.0, 1.0), "are better"), ((1.0, 1.0), (5.0, 1.0), "are worse"),
     ((2.0, 1.0), (1.0, 1.0), "no clear"), ((1.0, 0.0), (1.0, 0.0), "no clear"),
     ((9.0, None), (1.0, None), "cannot tell")],
)  # fmt: skip
def test_the_verdict_needs_two_standard_errors(best, defaults, says):
    names = "mean_score", "standard_error"
    sides = {"best": dict(zip(names, best, strict=True)), "defaults": dict(zip(names, defaults, strict=True))}
    assert says in report.verdict(sides)
