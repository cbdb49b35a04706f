"""One step of an agent, from the screen to the action: compiled, all that it costs beside the emulator."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pongrad.games.randomness import uniform
from pongrad.ground.compiled import compiled
from pongrad.network.exploration import Held
from pongrad.network.layers import Array
from pongrad.network.network import first_outputs
from pongrad.network.policy import choose_action
from pongrad.vision.inputs import Indices, Int64s, Values
from pongrad.vision.pixels import PreprocessingArgs, active_pixels
from pongrad.vision.preprocessing import InputArgs, ScreenBuffer, Vision, observe

PolicyArgs = tuple[tuple[Array, ...], tuple[Array, ...], int, np.uint64, bool, Held]
"""Of an agent: weights, biases, number of logits, random stream, whether to be greedy, what is held."""

RolloutBuffer = tuple[Int64s, Indices, Values, NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]
"""What `policy_step` writes down of each step."""


def new_rollout_buffer(steps: int, vision: Vision) -> RolloutBuffer:
    """Room for so many steps, even if every pixel is on, with as many relative offsets as there can be."""
    most = steps * vision.most_inputs + vision.pixels
    return (
        np.zeros(steps + 1, np.int64),
        np.empty(most, np.uint16),
        np.empty(most, np.int8),
        np.empty(steps, np.uint8),
        np.empty(steps),
        np.empty(steps, np.bool_),
    )


@compiled()
def policy_step(
    preprocessing_args: PreprocessingArgs,
    input_args: InputArgs,
    is_new: bool,
    screen_buffer: ScreenBuffer,
    policy_args: PolicyArgs,
    step: int,
    rollout_buffer: RolloutBuffer,
    t: int,
) -> int:
    """One step of an agent, from the screen to the action: all that it costs beside the emulator.

    Args:
        preprocessing_args: the screen, see `active_pixels`.
        input_args: what the network is given of two screens, see `observe`.
        is_new: whether the screen is new; if not, `screen_buffer` already holds its pixels.
        screen_buffer: the pixels of this screen and of the one before.
        policy_args: weights, biases, number of logits, stream, greedy, held: see `first_outputs`,
            `choose_action`.
        step: counts the game's steps.
        rollout_buffer: indptr, indices, values (see `Inputs`), actions (uint8), the logarithms of their
            probabilities (float64) and whether the screen was crowded (bool, see `observe`), all written at
            index `t`.

    Returns:
        The index of the chosen action.
    """
    seen, counts, _, _ = screen_buffer
    weights, biases, logit_count, stream, greedy, held = policy_args
    indptr, indices, values, actions, log_probabilities, crowded = rollout_buffer
    start = indptr[t]
    if is_new:
        counts[step % 2] = active_pixels(preprocessing_args, indices[start:], seen[step % 2])
    count, crowded[t] = observe(input_args, screen_buffer, step, indices[start:], values[start:])
    indptr[t + 1] = end = start + count
    logits = first_outputs(indices[start:end], values[start:end], weights, biases, logit_count)
    likeliest = greedy and not stands_still(screen_buffer, step)
    draw = uniform(stream, np.uint64(step))
    actions[t], log_probabilities[t] = choose_action(logits, draw, likeliest, held)
    return actions[t]


@compiled()
def stands_still(screen_buffer: ScreenBuffer, step: int) -> bool:
    """Whether nothing has moved since the step before.

    A greedy agent then draws its action: the same screen would have it do the same for ever, where a game
    waits for FIRE, say.
    """
    seen, counts, _, _ = screen_buffer
    if step == 0 or counts[0] != counts[1]:
        return False
    return bool(np.all(seen[0, : counts[0]] == seen[1, : counts[0]]))


@compiled()
def policy_loop(
    preprocessing_args: PreprocessingArgs,
    input_args: InputArgs,
    is_new: bool,
    screen_buffer: ScreenBuffer,
    policy_args: PolicyArgs,
    step: int,
    rollout_buffer: RolloutBuffer,
    t: int,
    until: int,
    is_over: NDArray[np.bool_],
) -> Iterator[int]:
    """An agent that plays on: a generator that is asked for the next action as soon as the screen shows it.

    A generator unpacks its arguments once; unpacking all arguments of `policy_step` takes half as long as the
    network. Run it to its end, or its arrays leak.

    Args:
        preprocessing_args, input_args, screen_buffer, policy_args, rollout_buffer: see `policy_step`.
        is_new, step, t: see `policy_step`, of the first step.
        until: steps to play, at least 1.
        is_over: bool [1], to be set by who plays when the game has ended.

    Yields:
        The index of each step's action. After the last one it sees what comes next, and that is all.
    """
    for _ in range(until):
        yield policy_step(
            preprocessing_args, input_args, is_new, screen_buffer, policy_args, step, rollout_buffer, t
        )
        is_new = True
        step += 1
        t += 1
        if is_over[0]:
            break
    policy_step(preprocessing_args, input_args, is_new, screen_buffer, policy_args, step, rollout_buffer, t)
