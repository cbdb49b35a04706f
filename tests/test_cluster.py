"""A Ray cluster of three nodes on this machine plays what local workers play, whatever dies or joins."""

import contextlib
import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import hypothesis
import numpy as np
import psutil
import pytest
import ray
from hypothesis import strategies as st
from ray.cluster_utils import Cluster

from pongrad import Fast
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.ground import compiled
from pongrad.ground.errors import UserError
from pongrad.learning.learners import first_games, new_agent, new_learner, play_for
from pongrad.playing import cluster as clusters
from pongrad.playing.address import check_cluster
from pongrad.playing.cluster import versions
from pongrad.playing.shared import SharedAgent
from pongrad.playing.team import WorkersDied
from pongrad.playing.workers import Workers
from pongrad.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_hanging")

FLAGS = ["--num-games", "8", "--rollout-steps", "32"]
CONFIG = Fast(num_games=8, rollout_steps=32, seed=7)
FRAMES = 30_000


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "still waiting"
        time.sleep(0.05)


def kill_node(node):
    """kill -9 of all that runs on it, as if its machine had gone."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in (*raylet.children(recursive=True), raylet):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def until_workers(workers, condition):
    """Let the team look at the cluster until its number of workers is as wanted."""

    def looked():
        workers._team.wait([], 0.1)
        return condition(len(workers))

    until(looked)


def actors():
    """The players that are alive on this machine."""
    return [each for each in psutil.process_iter(["cmdline"]) if "ray::Player" in str(each.info["cmdline"])]


def learn(updates, cluster=None, count=None, between=lambda number, workers: None):
    """Learn with these workers; returns the weights."""
    agent = new_agent(CONFIG)
    learner, shared = new_learner(CONFIG, agent), SharedAgent(agent)
    with Workers(shared, count, cluster) as workers:
        for number, _ in enumerate(play_for(learner, CONFIG, workers, first_games(CONFIG), updates)):
            learner.update(number, 0)
            shared.publish(agent.network.weights, learner.moved)
            between(number, workers)
    return {name: array.copy() for name, array in agent.network.weights.items()}


def test_a_node_is_killed_and_another_joins_and_the_same_is_learned(cluster):
    sizes = []

    def between(number, workers):
        if number == 5:
            kill_node(doomed)
        if number == 15:
            cluster.add_node(num_cpus=1)
        if number in (3, 10, 20):
            wanted = 2 if number == 10 else 3
            until_workers(workers, lambda count: count == wanted)
        sizes.append(len(workers))

    doomed = next(iter(cluster.worker_nodes))
    here = learn(30, count=2)
    there = learn(30, cluster.address, between=between)
    for name, array in here.items():
        assert array.tobytes() == there[name].tobytes()
    assert (sizes[3], sizes[10], sizes[-1]) == (3, 2, 3)


def _session(process):
    with contextlib.suppress(OSError, psutil.Error):
        return os.getsid(process.pid)


def command(*args):
    return [sys.executable, "-m", "pongrad", *map(str, args)]


def train(folder, *args):
    done = subprocess.run(
        command("train", *FLAGS, "--run", folder, "--frames", FRAMES, *args), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def output_on_the_cluster(line):
    """What the command prints; while it runs there are actors."""
    until(lambda: not actors())
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    until(lambda: actors() or process.poll() is not None)
    assert process.poll() is None, "it has not used the cluster"
    out, _ = process.communicate()
    assert process.returncode == 0
    return out


def files(folder):
    checkpoint = RunFolder(folder).load_checkpoint()
    return (folder / "best.safetensors").read_bytes(), checkpoint.weights["W1"].tobytes(), checkpoint.games


def test_a_killed_driver_is_resumed_there_and_here(cluster, tmp_path):
    train(tmp_path / "here")
    address = ("--cluster", cluster.address)
    line = command("train", *FLAGS, "--run", tmp_path / "run", "--frames", 10 * FRAMES, *address)
    driver = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    until(lambda: RunFolder(tmp_path / "run").metrics())
    assert actors()
    driver.send_signal(signal.SIGTERM)  # saves a checkpoint
    assert driver.wait(60) == 143
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    driver = subprocess.Popen(
        [*line[:3], "train", "--run", tmp_path / "run", "--resume", *address], stdout=subprocess.DEVNULL
    )
    updates = len(RunFolder(tmp_path / "run").metrics())
    until(lambda: len(RunFolder(tmp_path / "run").metrics()) > updates)
    driver.kill()
    driver.wait()
    train(tmp_path / "run", "--resume", *address)
    train(tmp_path / "copy", "--resume")
    assert files(tmp_path / "here") == files(tmp_path / "run") == files(tmp_path / "copy")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_of_the_terminal_ends_a_local_cluster_and_loses_nothing(number, code, tmp_path):
    """The terminal sends it to all processes at once; Ray's own must not end before the run is saved."""
    line = command("train", *FLAGS, "--run", tmp_path / "run", "--cluster", "local")
    driver = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    until(lambda: (tmp_path / "run").exists() and RunFolder(tmp_path / "run").metrics())
    assert actors()
    os.killpg(driver.pid, number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == code, err
    assert b"--resume" in out
    assert RunFolder(tmp_path / "run").load_checkpoint().progress.frames > 0
    until(lambda: not [each for each in psutil.process_iter() if _session(each) == driver.pid])


def test_evaluation_on_a_cluster_gives_the_same(cluster, agent_file):
    line = command("evaluate", agent_file, "--games", 4, "--json")
    here = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    there = output_on_the_cluster([*line, "--cluster", cluster.address])
    assert json.loads(here) == json.loads(there)


def test_trials_side_by_side_each_have_a_core(cluster, tmp_path):
    line = command("tune", "--study", tmp_path / "study", "--cluster", cluster.address)
    line += ["--trials", "2", "--jobs", "2", "--frames", "2000", "--compare-seeds", "0", *FLAGS]
    assert "Trials: 2 complete, 0 pruned, 0 lost." in output_on_the_cluster(line)


def test_versions_tell_commits_apart(monkeypatch, tmp_path):
    shutil.copytree(compiled.PACKAGE, tmp_path / "pongrad", ignore=shutil.ignore_patterns("__pycache__"))
    before = versions()
    monkeypatch.setattr(compiled, "PACKAGE", tmp_path / "pongrad")
    assert versions() == before
    with (tmp_path / "pongrad" / "playing" / "rollout.py").open("a") as file:
        file.write("# another commit\n")
    assert {name for name, each in versions().items() if each != before[name]} == {"pongrad"}


def test_a_node_with_other_versions_is_not_used(cluster, monkeypatch, capfd):
    monkeypatch.setattr(clusters, "versions", lambda: {**versions(), "numpy": "0"})
    says = []
    with Workers(SharedAgent(new_agent(CONFIG)), None, cluster.address) as workers:
        until_workers(workers, lambda count: says.append(capfd.readouterr().err) or any(says))
        assert not len(workers)
        monkeypatch.setattr(clusters, "SECONDS_WITHOUT_WORKERS", 0)
        with pytest.raises(WorkersDied, match=r"^no worker .* a node of the cluster has numpy 2.* and not 0"):
            workers.ask(print)
    assert "".join(says).count("it is not used") == 1


def test_a_dead_node_of_many_cores_costs_a_task_one_worker(cluster):
    """Its other actors have died, too, while they had nothing to do."""
    node = cluster.add_node(num_cpus=4)
    shared = SharedAgent(new_agent(CONFIG))
    with Workers(shared, None, cluster.address) as workers:
        until_workers(workers, lambda count: count >= 6)
        by_node = Counter(worker.node for worker in workers._team.workers)
        big = [w for w in workers._team.workers if by_node[w.node] == 4]
        workers._team.workers[:] = [*big, *(w for w in workers._team.workers if w not in big)]
        asked = itertools.count()

        def kill():  # the one task is on the big node
            if next(asked) == 0:
                kill_node(node)
            return False

        game = Game(CONFIG.game, 7, Purpose.TRAINING, 0)
        (((_, end),),) = workers.collect_episodes([game], kill)
        assert end.over and not [w for w in workers._team.workers if w in big]


@pytest.fixture
def without_a_store(monkeypatch):
    def put(update):
        return {name: (rows, values.copy()) for name, (rows, values) in update.items()}

    monkeypatch.setattr(ray, "put", put)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(data=st.data())
def test_updates_bring_an_actor_up_to_date_whatever_it_has(data, new_agent, without_a_store):
    """Its two sets may be of any earlier publications, or of none."""
    agent = new_agent(hidden=(3,))
    weights, shared = agent.network.weights, SharedAgent(agent)
    broadcast = clusters.Broadcast(shared)
    sets = [{name: np.zeros_like(array) for name, array in weights.items()} for _ in range(2)]
    held = [None, None]
    for _ in range(data.draw(st.integers(1, 20), "publications")):
        moved = np.zeros(6400, np.bool_)
        moved[data.draw(st.lists(st.integers(0, 6399), max_size=4), "rows")] = True
        weights["W1"][moved] += 1
        weights["W2"] += 1
        shared.publish(weights, data.draw(st.sampled_from([None, {"W1": moved}]), "what is said"))
        for number in data.draw(st.sets(st.sampled_from([shared.version - 1, shared.version])), "tasks"):
            one, updates = sets[number % 2], broadcast.updates(held[number % 2], number)
            held[number % 2] = number
            for update in updates:
                for name, (rows, values) in update.items():
                    one[name][rows] = values
            for name, array in shared.weights(number).items():
                np.testing.assert_array_equal(one[name], array)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("somewhere", "--cluster must be local, or HOST:PORT"),
        ("ray://127.0.0.1:10001", "--cluster must be local, or HOST:PORT"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
    ],
)
def test_an_address_without_a_cluster_is_one_line_and_leaves_no_folder(address, message, tmp_path):
    line = command("train", "--run", tmp_path / "run", "--cluster", address)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_nothing_else_needs_ray(tmp_path, monkeypatch):
    """As where it is not installed: a run without it, and a line that says what to install."""
    script = "import sys; sys.modules['ray'] = None; from pongrad.cli import main; main(sys.argv[1:])"
    flags = ["train", "--run", tmp_path / "run", "--frames", "1", *FLAGS]
    subprocess.run([sys.executable, "-c", script, *flags], check=True, stdout=subprocess.DEVNULL)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--cluster needs Ray: pip install '\.\[cluster\]'"):
        check_cluster("local")
