"""Workers change how long play takes, nothing else; and what goes wrong in one comes to light."""

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from pongrad.errors import UserError
from pongrad.workers import Interrupted, Workers


@pytest.fixture(autouse=True)
def no_hanging():
    """What waits for ever fails instead."""

    def give_up(*_):
        raise TimeoutError("still waiting after two minutes")

    handler = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_workers_plays_the_same_games(count, real_games, same_rollout, same_game):
    with Workers(real_games.agent, count) as team:
        finished = [stretch for (stretch,) in team.finish(real_games.starts)]
    for (rollout, game), want, end in zip(finished, real_games.rollouts, real_games.ends, strict=True):
        same_rollout(rollout, want)
        same_game(game, end)
    assert not multiprocessing.active_children()


def test_workers_play_with_the_weights_as_they_are_now(real_games, same_rollout, dense):
    with Workers(real_games.agent, 1) as team:
        (((rollout, _),),) = team.finish(real_games.starts[:1])
        same_rollout(rollout, real_games.rollouts[0])
        for name, value in (("W1", 1), ("W2", 1000)):  # UP for certain where more goes on than off
            team.agent.network.weights[name][:] = value
            assert not (real_games.agent.network.weights[name] == value).any()
        (((rollout, _),),) = team.finish(real_games.starts[:1])
    balance = dense(rollout.inputs, 6400).sum(axis=1)
    assert (balance > 0).sum() > 100
    assert set(rollout.actions[balance > 0]) == {0}
    assert set(rollout.actions[balance <= 0]) == {0, 1}  # ReLU: logit 0, a coin flip


def test_play_can_be_interrupted_and_taken_up_again(real_games, same_rollout):
    with Workers(real_games.agent, 1) as team:
        with pytest.raises(Interrupted):
            list(team.finish(real_games.starts[:1], stopping=lambda: True))
        # The piece that was being played then must not turn up in the next games
        (((rollout, _),),) = team.finish(real_games.starts[2:])
    same_rollout(rollout, real_games.rollouts[2])


def kill_workers():
    """As if the system had run out of memory."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("moment", ["starting", "idle", "playing"])
def test_a_killed_worker_is_replaced_and_its_piece_played_again(moment, real_games, same_rollout, same_game):
    kills = itertools.count()

    def kill_once_playing():  # asked once the games have been dealt out
        if moment == "playing" and next(kills) == 0:
            kill_workers()
        return False

    with Workers(real_games.agent, 2) as team:
        if moment == "idle":
            list(team.finish(real_games.starts[:1]))
        if moment != "playing":
            kill_workers()
        before = {process.pid for process in multiprocessing.active_children()}
        finished = [stretch for (stretch,) in team.finish(real_games.starts, kill_once_playing)]
        assert not before & {process.pid for process in multiprocessing.active_children()}
    for (rollout, game), want, end in zip(finished, real_games.rollouts, real_games.ends, strict=True):
        same_rollout(rollout, want)
        same_game(game, end)


def test_workers_that_die_of_one_piece_again_and_again_end_play(real_games):
    with Workers(real_games.agent, 2) as team:
        with pytest.raises(WorkersDied, match=rf"{DEATHS} workers died .* exit code -9") as error:
            list(team.finish(real_games.starts, stopping=kill_workers))
        assert "\n" not in str(error.value)


def test_a_worker_that_is_stuck_is_replaced_too(real_games, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_work", with_little_patience)
    log = tmp_path / "log"
    with Workers(real_games.agent, 1) as team:
        with pytest.raises(WorkersDied, match=f"exit code -{signal.SIGPROF:d}"):
            team.everywhere(spin, log)
        assert len(log.read_text()) == DEATHS
        assert team.everywhere(greet, "again") == ["hello again"]


def with_little_patience(*args):
    workers.SECONDS_A_TASK = 0.1
    Workers.work(*args)


def spin(agent, log, emulator):
    with open(log, "a") as file:
        file.write("x")
    while True:
        pass


def greet(agent, whom, emulator):
    return f"hello {whom}"


def test_what_fails_in_a_worker_is_raised_here(real_games):
    damaged = replace(real_games.starts[0], now=np.zeros(7000, np.uint16))  # more pixels than there are
    with Workers(real_games.agent, 1) as team, pytest.raises(ValueError, match="broadcast"):
        list(team.finish([damaged]))
