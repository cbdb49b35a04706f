"""Random numbers: a seed for each purpose, and streams that can be read at any position."""

from enum import IntEnum

import numpy as np

from pongrad.ground.compiled import compiled


class Purpose(IntEnum):
    """What random numbers are for; streams of different purposes never meet."""

    WEIGHTS = 0
    TRAINING = 1
    EVALUATION = 2
    BENCHMARK = 3
    MINIBATCHES = 4
    SURVEY = 5


def seed_sequence(seed: int, purpose: Purpose, number: int = 0) -> np.random.SeedSequence:
    """The source of all randomness of thing `number` (a game, say) made for `purpose` under a run's seed."""
    return np.random.SeedSequence(seed, spawn_key=(purpose, number))


@compiled()
def uniform(key: np.uint64, step: np.uint64) -> float:
    """The `step`-th number in [0, 1) of the random stream `key` (both uint64).

    SplitMix64 (Steele, Lea and Flood 2014) read at any position: a random stream without a state, so a
    game resumed at step t draws what it would have drawn had it never stopped.
    """
    z = key + (step + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53  # the top 53 bits
