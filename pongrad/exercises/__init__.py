"""The lesson's exercises: files with lines missing, which `pongrad exercise` writes and checks."""

from pongrad.exercises.convolutions import CONVOLVE, CONVOLVE_BACKWARD
from pongrad.exercises.networks import BACKWARD, FORWARD, LOG_PROBABILITY_GRADIENT, NUMERICAL_GRADIENT
from pongrad.exercises.rewards import BOOTSTRAP, DISCOUNT, GENERALISED_ADVANTAGES, STANDARDISE
from pongrad.exercises.screens import OBSERVE, PREPROCESS, RELATIVE_OFFSETS
from pongrad.exercises.updates import CLIPPED_OBJECTIVE_GRADIENT, RMSPROP

EXERCISES = (
    PREPROCESS,
    OBSERVE,
    FORWARD,
    LOG_PROBABILITY_GRADIENT,
    DISCOUNT,
    STANDARDISE,
    BACKWARD,
    RMSPROP,
    NUMERICAL_GRADIENT,
    GENERALISED_ADVANTAGES,
    CLIPPED_OBJECTIVE_GRADIENT,
    RELATIVE_OFFSETS,
    CONVOLVE,
    CONVOLVE_BACKWARD,
    BOOTSTRAP,
)
"""All of them, in order: number n at place n - 1."""
