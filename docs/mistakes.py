"""Five mistakes that public versions of the lesson make, each with a check that fails.

    python docs/mistakes.py   # plays one game of Pong, then prints each check's error, right and wrong

Each function that is named after a mistake stands in for one of classic.py. Each check gives such a function
real data from the emulator and compares its result with the definition: finite differences for a gradient,
the sum for a return, two screens kept apart for an input.

Names and shapes are those of classic.py: x [T, D], h [T, H], p, y and rewards [T].
"""

# mypy: allow-untyped-calls

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ale_py
import gymnasium
import numpy as np
from numpy.typing import NDArray

from pongrad import classic
from pongrad.ground.parallel import blas_in_one_thread

Array = NDArray[Any]
Weights = dict[str, Array]

FINITE_STEP = 1e-6
"""How far a finite difference moves a weight, up and down."""
PASSES_BELOW = 1e-6
"""A check passes where its relative error is smaller."""
CHECKED = 200
"""Steps of the game that the checks look at."""
CHECKED_WEIGHTS = 200
"""Weights of W1 that the gradient check moves; of W2 it moves all."""


# --- The mistakes ---------------------------------------------------------------------------------------


def relu_not_masked(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    """In place of `classic.backward`: the gradient also flows through neurons that were off."""
    dW2 = d_logit @ h
    dh = np.outer(d_logit, weights["W2"])  # here dh[h <= 0] = 0 is missing
    return {"W1": dh.T @ x, "W2": dW2}


_now = np.zeros(classic.input_dimensions, np.int8)


def difference_of_the_same_array(screen: Array, previous: Array | None) -> tuple[Array, Array]:
    """In place of `classic.observe`: one array is filled again at each step, to save time."""
    _now[:] = classic.preprocess(screen)  # `previous` is this same array: it changes, too
    x = np.zeros_like(_now) if previous is None else _now - previous
    return x, _now


def discount_across_points(rewards: Array) -> Array:
    """In place of `classic.discount`: the return does not start anew where a point ends."""
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + classic.gamma * running  # a point lost is blamed on the point before it
        returns[t] = running
    return returns


def wrong_sign(x: Array, h: Array, p: Array, y: Array, rewards: Array, weights: Weights) -> Weights:
    """In place of `classic.gradient_of_game`: p - y, the gradient of a loss, is climbed like an objective."""
    advantage = classic.standardise(classic.discount(rewards))
    d_log_pi = p - y  # y - p is right: this makes the actions that won less likely
    return classic.backward(x, h, d_log_pi * advantage, weights)


def one_step_for_all(x: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    """In place of `classic.backward`: x and h are those of the last step, not of each step."""
    last_x, last_h = x[-1], h[-1]  # what the loop over the steps has left behind
    dW2 = d_logit.sum() * last_h
    dh = d_logit.sum() * weights["W2"]
    dh[last_h <= 0] = 0
    return {"W1": np.outer(dh, last_x), "W2": dW2}


# --- The checks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Lived:
    """The first steps of a real game, with the weights that played it; screens are [T, 210, 160, 3]."""

    screens: Array
    x: Array
    h: Array
    p: Array
    y: Array
    rewards: Array
    weights: Weights

    @property
    def advantage(self) -> Array:
        """A_t of each step [T]."""
        return classic.standardise(classic.discount(self.rewards))

    @functools.cached_property
    def slopes(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Where the gradient is checked, and the slope of sum_t A_t log pi(y_t | x_t) there, for W1 and W2.

        Of W1 only weights of pixels that moved are checked: all others have no gradient. Of neurons only
        those that no small step switches on or off: ReLU has a kink at 0, where there is no slope.
        """
        moved = self.x.any(axis=0)
        x = self.x[:, moved].astype(float)
        small = {"W1": self.weights["W1"][:, moved], "W2": self.weights["W2"].copy()}
        before_relu = x @ small["W1"].T
        near_kink = (before_relu != 0) & (np.abs(before_relu) < 10 * FINITE_STEP)
        smooth = self.h.any(axis=0) & ~near_kink.any(axis=0)
        some = np.random.default_rng(2).choice(np.argwhere(np.outer(smooth, moved)), CHECKED_WEIGHTS, False)
        places = {"W1": some[:, 0] * classic.input_dimensions + some[:, 1], "W2": np.arange(len(small["W2"]))}
        number = np.cumsum(moved) - 1  # of a pixel among those that moved
        small_places = {"W1": some[:, 0] * len(x[0]) + number[some[:, 1]], "W2": places["W2"]}

        def objective() -> float:
            _, p = classic.forward(x, small)
            return float(self.advantage @ np.log(np.where(self.y == 1, p, 1 - p)))

        return places, {
            name: numerical_gradient(objective, small[name], small_places[name]) for name in small
        }

    def gradient_error(self, gradient: Weights) -> float:
        """How far a gradient is from these slopes, see `relative_error`."""
        places, want = self.slopes
        return max(relative_error(gradient[name].flat[places[name]], want[name]) for name in places)


class _Screens(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps a copy of every screen."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.screens: list[Array] = []

    def reset(self, **keywords: Any) -> Any:
        screen, about = self.env.reset(**keywords)
        self.screens = [screen.copy()]
        return screen, about

    def step(self, action: Any) -> Any:
        screen, *others = self.env.step(action)
        self.screens.append(screen.copy())
        return screen, *others


def play(seed: int = 1, steps: int | None = CHECKED) -> Lived:
    """Play a game as classic.py does, with its first weights; keep so many steps of it (None: all)."""
    gymnasium.register_envs(ale_py)
    env = _Screens(gymnasium.make("ALE/Pong-v5"))
    rng = np.random.default_rng(seed)
    weights = classic.initial_weights(rng)
    lived = classic.play_game(env, weights, rng, seed)
    some = slice(len(lived[-1]) if steps is None else steps)
    x, h, p, y, rewards = (each[some] for each in lived)
    return Lived(np.array(env.screens[some]), x, h, p, y, rewards, weights)


def relative_error(got: Array, want: Array) -> float:
    """|got - want| / (|got| + |want|), with lengths of vectors: 0 if alike, 1 if opposite or one is zero."""
    sizes = float(np.linalg.norm(got) + np.linalg.norm(want))
    return float(np.linalg.norm(got - want)) / sizes if sizes else 0.0


def numerical_gradient(objective: Callable[[], float], weights: Array, places: Array) -> Array:
    """The slope of the objective in some weights, by moving each a little up and down.

    Args:
        objective: reads `weights`.
        weights: changed in place, and put back.
        places: int [n], of the flat array.

    Returns:
        float64 [n].
    """
    slopes = np.empty(len(places))
    for i, place in enumerate(places):
        before = weights.flat[place]
        weights.flat[place] = before + FINITE_STEP
        above = objective()
        weights.flat[place] = before - FINITE_STEP
        slopes[i] = (above - objective()) / (2 * FINITE_STEP)
        weights.flat[place] = before
    return slopes


def check_backward(backward: Callable[..., Weights], lived: Lived) -> float:
    """The gradient check of a function such as `classic.backward`."""
    d_logit = (lived.y - lived.p) * lived.advantage
    return lived.gradient_error(backward(lived.x, lived.h, d_logit, lived.weights))


def check_gradient_of_game(gradient_of_game: Callable[..., Weights], lived: Lived) -> float:
    """The gradient check of a function such as `classic.gradient_of_game`."""
    got = gradient_of_game(lived.x, lived.h, lived.p, lived.y, lived.rewards, lived.weights)
    return lived.gradient_error(got)


def check_observe(observe: Callable[..., tuple[Array, Array]], lived: Lived) -> float:
    """Inputs against the difference of two processed screens that are kept apart."""
    processed = np.array([classic.preprocess(screen) for screen in lived.screens])
    got, previous = [], None
    for screen in lived.screens:
        x, previous = observe(screen, previous)
        got.append(x)
    return relative_error(np.array(got[1:]), processed[1:] - processed[:-1])


def check_discount(discount: Callable[[Array], Array], lived: Lived) -> float:
    """Returns against their definition: gamma^k r of the step k later that ends this point."""
    want = np.zeros(len(lived.rewards))
    for t in range(len(want)):
        later = lived.rewards[t:].nonzero()[0]
        if len(later):
            want[t] = classic.gamma ** later[0] * lived.rewards[t + later[0]]
    return relative_error(discount(lived.rewards), want)


class Mistake(NamedTuple):
    """A mistake in words, the wrong function, the right one, and the check that tells them apart."""

    what: str
    wrong: Callable[..., Any]
    right: Callable[..., Any]
    check: Callable[[Any, Lived], float]


MISTAKES = (
    Mistake("ReLU not masked", relu_not_masked, classic.backward, check_backward),
    Mistake("difference of the same array", difference_of_the_same_array, classic.observe, check_observe),
    Mistake("discount across points", discount_across_points, classic.discount, check_discount),
    Mistake("wrong sign", wrong_sign, classic.gradient_of_game, check_gradient_of_game),
    Mistake("one step for all", one_step_for_all, classic.backward, check_backward),
)


def errors(lived: Lived) -> list[tuple[Mistake, float, float]]:
    """Each mistake with its check's relative error: of the right function and of the wrong one."""
    return [(each, each.check(each.right, lived), each.check(each.wrong, lived)) for each in MISTAKES]


def main() -> None:
    """Print the table."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    print(f"relative error of each check; below {PASSES_BELOW:g} it passes\n")
    print(f"{'mistake':<30}{'right':>10}{'wrong':>10}")
    with blas_in_one_thread():
        for mistake, right, wrong in errors(play()):
            print(f"{mistake.what:<30}{right:>10.0e}{wrong:>10.0e}")


if __name__ == "__main__":
    main()
