"""Workers change how long play takes, nothing else; and what goes wrong in one comes to light."""

import contextlib
import itertools
import multiprocessing
import os
import pickle
import resource
import signal

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from pongrad.games.emulator import Emulator
from pongrad.learning.learners import new_agent
from pongrad.learning.recipes import Fast
from pongrad.playing import processes
from pongrad.playing.play import play
from pongrad.playing.processes import spawn
from pongrad.playing.rollout import Rollout
from pongrad.playing.shared import SharedAgent
from pongrad.playing.team import WorkersDied
from pongrad.playing.workers import DEATHS, Interrupted, Workers

pytestmark = pytest.mark.usefixtures("no_hanging")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_workers_plays_the_same_games(count, real_games, same_rollout):
    with Workers(SharedAgent(real_games.agent), count) as team:
        finished = [segment for (segment,) in team.collect_episodes(real_games.starts)]
    for (rollout, game), want, end in zip(finished, real_games.rollouts, real_games.ends, strict=True):
        same_rollout(rollout, want)
        assert game == end
    assert not multiprocessing.active_children()


def test_workers_play_with_the_newest_weights(real_games, same_rollout, dense):
    shared = SharedAgent(real_games.agent)
    with Workers(shared, 1) as team:
        (((rollout, _),),) = team.collect_episodes(real_games.starts[:1])
        same_rollout(rollout, real_games.rollouts[0])
        # UP for certain where more goes on than off
        shared.publish({"W1": np.float32(1), "W2": np.float32(1000)})
        (((rollout, _),),) = team.collect_episodes(real_games.starts[:1])
    balance = dense(rollout.inputs, 6400).sum(axis=1)
    assert (balance > 0).sum() > 100
    assert set(rollout.actions[balance > 0]) == {0}
    assert set(rollout.actions[balance <= 0]) == {0, 1}  # ReLU: logit 0, a coin flip


def newest(pipe, shared):
    while pipe.recv():
        pipe.send((shared.version, float(shared.agent(shared.version).network.weights["W2"].max())))


def test_every_process_finds_the_newest_weights(real_games):
    shared = SharedAgent(real_games.agent)
    process, pipe = spawn(newest, (shared,), "reader")
    for k in range(3):
        shared.publish({"W1": np.float32(1), "W2": np.float32(k)})
        pipe.send(True)
        assert pipe.recv() == (shared.version, k) == (3 + k, k)
    pipe.send(False)
    process.join()


@hypothesis.given(data=st.data())
def test_publishing_what_has_moved_publishes_everything(data, new_agent):
    """Both sets are older than the newest by one or two publications, and rows may move again or not."""
    agent = new_agent(hidden=(3,))
    weights = agent.network.weights
    shared = SharedAgent(agent)
    for number in range(data.draw(st.integers(1, 6), "publications")):
        moved = data.draw(st.lists(st.integers(0, 6399), max_size=5), "rows")
        weights["W1"][moved] = number
        weights["W2"] += 1
        rows = np.isin(np.arange(6400), moved)
        shared.publish(weights, data.draw(st.sampled_from([None, {"W1": rows}]), "what is said"))
        for name, array in shared.agent(shared.version).network.weights.items():
            np.testing.assert_array_equal(array, weights[name])


@pytest.mark.parametrize("network", ["sparse", "conv"])
def test_what_a_new_process_is_sent_fits_into_a_pipe(network):
    """Else the process that starts it waits for ever if it is killed meanwhile."""
    config = Fast(network=network)
    agent = new_agent(config)
    shared = SharedAgent(agent)
    moved = {name: np.ones(len(array), np.bool_) for name, array in agent.network.weights.items()}
    shared.publish(agent.network.weights, moved)
    memory = ("_memory", "_version")  # only a process that starts another can send these
    sent = {name: value for name, value in shared.__getstate__().items() if name not in memory}
    assert len(pickle.dumps(sent)) < 32_000


def test_play_can_be_interrupted_and_taken_up_again(real_games, same_rollout):
    with Workers(SharedAgent(real_games.agent), 1) as team:
        with pytest.raises(Interrupted):
            list(team.collect_episodes(real_games.starts[:1], stopping=lambda: True))
        # The piece that was being played then must not turn up in the next games
        (((rollout, _),),) = team.collect_episodes(real_games.starts[2:])
    same_rollout(rollout, real_games.rollouts[2])


def kill_workers():
    """As if the system had run out of memory."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    return False


@pytest.mark.parametrize("moment", ["starting", "idle", "playing"])
def test_a_killed_worker_is_replaced_and_its_piece_played_again(moment, real_games, same_rollout):
    asked = itertools.count()

    def kill_once_playing():  # asked once the games have been dealt out
        return moment == "playing" and next(asked) == 0 and kill_workers()

    with Workers(SharedAgent(real_games.agent), 2) as team:
        if moment == "idle":
            list(team.collect_episodes(real_games.starts[:1]))
        before = {process.pid for process in multiprocessing.active_children()}
        if moment != "playing":
            kill_workers()
        finished = [segment for (segment,) in team.collect_episodes(real_games.starts, kill_once_playing)]
        assert not before & {process.pid for process in multiprocessing.active_children()}
    for (rollout, game), want, end in zip(finished, real_games.rollouts, real_games.ends, strict=True):
        same_rollout(rollout, want)
        assert game == end


def test_a_killed_worker_loses_none_of_the_tasks_it_was_given(real_games, same_rollout):
    """It has one to do and one waiting."""
    games, asked = [game for game in real_games.starts for _ in range(4)], itertools.count()
    with Workers(SharedAgent(real_games.agent), 2) as team:
        played = list(team.collect_steps(games, 40, 3, lambda: next(asked) in (0, 3) and kill_workers()))
    emulator = Emulator(games[0].id)
    for start, *segments in zip(games, *played, strict=True):
        (want,), (end,) = play(real_games.agent, [start], 120, emulator)
        same_rollout(Rollout.join([rollout for ((rollout, _),) in segments]), want)
        assert segments[-1][0][1] == end


def test_workers_that_die_of_one_piece_again_and_again_end_play(real_games):
    message = rf"^{DEATHS} workers died .* exit code -9"
    with (
        Workers(SharedAgent(real_games.agent), 1) as team,
        pytest.raises(WorkersDied, match=message) as error,
    ):
        list(team.collect_episodes(real_games.starts, stopping=kill_workers))
    assert "\n" not in str(error.value)


def spin(agent, log, emulator):
    with open(log, "a") as file:
        file.write("x")
    while True:
        pass


def greet(agent, whom, emulator):
    return f"hello {whom}"


def test_a_worker_that_never_ends_is_replaced(real_games, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "SECONDS_A_TASK", 0.5)
    with Workers(SharedAgent(real_games.agent), 1) as team:
        with pytest.raises(WorkersDied, match=f"exit code -{signal.SIGPROF:d}"):
            team.ask(spin, [tmp_path / "log"])
        assert (tmp_path / "log").read_text() == "x" * DEATHS
        assert team.ask(greet, ["again"]) == ["hello again"]


def under_way(real_games, **changes):
    return real_games.ends[0]._replace(terminated=False, **changes)


@pytest.fixture(scope="module")
def team_of_one(real_games):
    with Workers(SharedAgent(real_games.agent), 1) as team:
        yield team


def test_an_emulator_state_that_asks_for_2_gigabytes_is_refused(real_games, team_of_one):
    """The lengths of its parts stand in the state, here that of the last one."""
    state = bytearray(real_games.ends[0].state)
    state[24:28] = (2**31 - 1).to_bytes(4, "little")
    (before,) = team_of_one.ask(peak_memory)
    team_of_one.validate_states([under_way(real_games)])
    with pytest.raises(ValueError, match="cannot restore game 0"):
        team_of_one.validate_states([under_way(real_games, state=bytes(state))])
    (after,) = team_of_one.ask(peak_memory)
    assert after - before < 500_000


def test_a_last_action_that_the_game_has_not_is_refused(real_games, team_of_one):
    with pytest.raises(ValueError, match="last_action 6"):
        team_of_one.validate_states([under_way(real_games, last_action=6)])


def peak_memory(agent, emulator):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB


@hypothesis.settings(max_examples=20)
@hypothesis.given(data=st.data())
def test_a_damaged_emulator_state_costs_a_worker_at_most(data, real_games, team_of_one, new_game):
    state = bytearray(real_games.ends[0].state)
    for _ in range(data.draw(st.sampled_from([1, 10, 100]), "changes")):
        place = data.draw(st.integers(0, len(state) - 1), "place")
        state[place] = data.draw(st.integers(0, 255), "value")
    game = under_way(real_games, state=bytes(state))
    with contextlib.suppress(ValueError, WorkersDied):
        team_of_one.validate_states([game])
        list(team_of_one.collect_steps([game], 20, times=1))
    list(team_of_one.collect_steps([new_game()], 1, times=1))  # they go on playing


def test_what_fails_in_a_worker_is_raised_here(real_games):
    damaged = real_games.starts[0]._replace(now=bytes(14_000))  # more pixels than there are
    with Workers(SharedAgent(real_games.agent), 1) as team:
        before = multiprocessing.active_children()
        with pytest.raises(ValueError, match="memoryview assignment"):
            list(team.collect_episodes([damaged]))
        with pytest.raises(ValueError, match="memoryview assignment"):
            team.ask(play, [[damaged]], [1])
        assert multiprocessing.active_children() == before  # nothing has happened to the worker
