"""What several test files share: an emulator, agents with random weights, and real games they played."""

# One thread: on a busy machine BLAS threads that wait for each other take 8 times as long.
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import signal
from types import SimpleNamespace

import gymnasium
import hypothesis
import numpy as np
import pytest

from pongrad.games.emulator import Emulator
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.network.agent import Agent
from pongrad.network.network import Network
from pongrad.playing.play import play
from pongrad.vision.inputs import Inputs
from pongrad.vision.preprocessing import Vision
from pongrad.vision.survey import survey

# A compiled function's first call takes its time, and tests never assert seconds.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

PONG = "ALE/Pong-v5"
PONG_VISION = Vision()
FAST_VISION = survey(PONG, 1).vision
ACTION_NAMES = "NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"
WHOLE_GAME = 27_000  # steps; no game is longer


@pytest.fixture
def no_hanging():
    """What waits for ever fails instead."""

    def give_up(*_):
        raise TimeoutError("still waiting after five minutes")

    handler = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.fixture(scope="session")
def emulator():
    return Emulator(PONG)


@pytest.fixture(scope="session")
def env():
    with gymnasium.make(PONG) as env:
        yield env


@pytest.fixture(scope="session")
def new_agent():
    """One logit for up and down, as recipe classic has it, or six logits and a value."""

    def make(seed=0, dtype="float32", hidden=(200,), critic=False, vision=PONG_VISION, **how):
        actions = range(6) if critic else (2, 3)
        sizes = vision.size, *hidden, 7 if critic else 1
        network = Network.random(sizes, np.random.default_rng(seed), dtype)
        names = tuple(ACTION_NAMES[action] for action in actions)
        return Agent(network, PONG, tuple(actions), names, vision, **how)

    return make


@pytest.fixture(scope="module")
def agent_file(new_agent, tmp_path_factory):
    """The file of an agent as recipe fast has it."""
    path = tmp_path_factory.mktemp("agent") / "agent.safetensors"
    new_agent(hidden=(20,), critic=True, vision=FAST_VISION).save(path)
    return path


@pytest.fixture(scope="session")
def new_game():
    def make(number=0, seed=7, purpose=Purpose.TRAINING):
        return Game(PONG, seed, purpose, number)

    return make


@pytest.fixture(scope="session")
def real_games(new_agent, new_game, emulator):
    """Three whole games of a random agent: the agent, where they start, rollouts, how they ended."""
    agent = new_agent()
    starts = [new_game(number) for number in range(3)]
    rollouts, ends = play(agent, starts, WHOLE_GAME, emulator)
    return SimpleNamespace(agent=agent, starts=starts, rollouts=rollouts, ends=ends)


@pytest.fixture(scope="session")
def random_inputs():
    """A batch of sparse inputs in -1, 0, 1, the first of them all zero as on a game's first step."""

    def make(steps, size, seed=0, density=0.2):
        dense = np.random.default_rng(seed).choice(
            [-1, 0, 1], (steps, size), p=[density / 2, 1 - density, density / 2]
        )
        dense[0] = 0
        where, indices = dense.nonzero()
        indptr = np.searchsorted(where, np.arange(steps + 1))
        values = dense[where, indices].astype(np.int8)
        return Inputs(indptr, indices.astype(np.uint16), values), dense.astype(np.float64)

    return make


@pytest.fixture(scope="session")
def dense():
    """Sparse inputs as a float64 array [steps, size]."""

    def make(inputs, size):
        out = np.zeros((len(inputs), size))
        rows = np.repeat(np.arange(len(inputs)), np.diff(inputs.indptr))
        np.add.at(out, (rows, inputs.indices), inputs.values)
        return out

    return make


def same_arrays(a, b):
    """Assert that two rollouts are the same, but for the time they took."""
    for name in ("indptr", "indices", "values"):
        np.testing.assert_array_equal(getattr(a.inputs, name), getattr(b.inputs, name), name)
        np.testing.assert_array_equal(
            getattr(a.next_observation, name), getattr(b.next_observation, name), name
        )
    for name in ("actions", "log_probabilities", "rewards", "lives_lost", "crowded", "frames"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)


@pytest.fixture(scope="session")
def same_rollout():
    return same_arrays
