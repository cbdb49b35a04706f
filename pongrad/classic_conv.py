"""The lesson with a convolution: classic.py, its first layer replaced by 16 small filters.

Read classic.py first. What stays the same is imported from it; what is below is what changes: the network,
its gradient, and a check of that gradient.

    python -m pongrad.classic_conv            # play and learn; every update is saved to classic_conv.npz
    python -m pongrad.classic_conv --resume   # go on where it stopped
    python -m pongrad.classic_conv --check    # compare the gradient with finite differences; plays one game

Why a convolution: in classic.py each of 200 hidden neurons has its own weight for each of 6,400 pixels. That
is 1,280,000 weights, and what they learn about the ball in one place says nothing about the ball in another.
A convolution moves a filter of 8 x 8 weights over the image, 4 pixels at a time, and uses the same weights
in all 19 x 19 = 361 places: what it learns in one place holds everywhere. 16 filters have 16 * 64 = 1,024
weights. The output layer has one weight for each filter in each place, 16 * 361 = 5,776.

What to expect: the first games, of about 1,000 steps, take 0.4 s to play and 0.1 s to learn from. Together
that is 7,000 to 9,000 frames a second; classic.py beside it made 4,400 to 5,400. This was measured on one of
two cores of a busy server, with OPENBLAS_NUM_THREADS=1. Set it on a busy machine: without it BLAS uses all
cores, its threads wait for each other, and there were only 500 to 4,700 frames a second. It is not known how
many frames this file needs until it wins; the article's network needs tens of millions. To see a convolution
learn quickly, use the engine: `pongrad train --network conv`, recipe `fast`.

Names as in classic.py; x_tp is the patch of step t in place p. Shapes: T steps, K = 16 filters, P = 361
places, S = 64 pixels in a patch.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pongrad.classic import DOWN, UP, batch_size, discount, observe, rmsprop, save, standardise

Array = np.ndarray
Weights = dict[str, Array]  # also used for gradients: one array for each of W1 and W2

side = 80  # rows and columns of the difference image
num_filters = 16  # K
filter_size = 8  # rows and columns of a filter
stride = 4  # pixels from one place to the next
places = ((side - filter_size) // stride + 1) ** 2  # P
weight_shapes = {"W1": (num_filters, filter_size**2), "W2": (places * num_filters,)}

steps_at_once = 20  # patches take 361 * 64 * 8 bytes = 185 KB a step; a whole game's, hundreds of MB
finite_step = 1e-5  # --check moves a weight so far up and down
largest_difference = 1e-4  # --check fails from here on; a wrong formula is off by far more


# --- The network ----------------------------------------------------------------------------------------


def initial_weights(rng: np.random.Generator) -> Weights:
    """N(0, 1) / sqrt(number of inputs), as in classic.py: a filter has 64 inputs, the output 5,776."""
    return {name: rng.standard_normal(shape) / np.sqrt(shape[-1]) for name, shape in weight_shapes.items()}


def cut_patches(x: Array) -> Array:
    """What the filters see in each place: from images [T, 80, 80] to patches [T, P, S]."""
    windows = sliding_window_view(x, (filter_size, filter_size), axis=(1, 2))  # [T, 73, 73, 8, 8], a view
    windows = windows[:, ::stride, ::stride]  #                                  [T, 19, 19, 8, 8], a view
    patches = np.ascontiguousarray(windows, np.float64)  #                       a copy: a pixel is in up to 4
    return patches.reshape(len(x), -1, filter_size**2)  #                        [T, P, S]


def forward(patches: Array, weights: Weights) -> tuple[Array, Array]:
    """The forward pass, from patches [T, P, S] to neurons h [T, P * K] and probabilities of UP [T]."""
    h = patches @ weights["W1"].T  #           [T, P, S] @ [S, K] = [T, P, K]: each filter in each place
    h = np.maximum(h, 0)  #                    h = ReLU(h)
    h = h.reshape(len(h), -1)  #               [T, P * K]: from here on as in classic.py
    logit = h @ weights["W2"]  #               [T, P * K] @ [P * K] = [T]
    p = 1 / (1 + np.exp(-logit))  #            [T], the probability of UP
    return h, p


def backward(patches: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    """Backpropagation: from the gradient at the logit, [T], to the gradient of every weight.

    A filter is used in P places on each of T steps, and each use adds to its gradient: dW1 sums over T and P.
    """
    K, S = weights["W1"].shape
    dW2 = d_logit @ h  #                         [T] @ [T, P * K] = [P * K], sum_t dz_t h_t
    dh = np.outer(d_logit, weights["W2"])  #     [T, P * K], dh_t = dz_t W2
    dh[h <= 0] = 0  #                            ReLU: no gradient where the neuron was off
    dh = dh.reshape(-1, K)  #                    [T * P, K], a row for each place of each step
    dW1 = dh.T @ patches.reshape(-1, S)  #       [K, T * P] @ [T * P, S] = [K, S], sum_tp dh_tp x_tp^T
    return {"W1": dW1, "W2": dW2}


# --- Learning -------------------------------------------------------------------------------------------


def policy_gradient(x: Array, y: Array, advantage: Array, weights: Weights) -> Weights:
    """sum_t A_t d log pi(y_t | x_t) / d weights, for images x [T, 80, 80].

    The patches and neurons of a whole game need too much memory: they are made again here, a few steps at a
    time, and the gradients are summed.
    """
    gradient = {name: np.zeros_like(w) for name, w in weights.items()}
    for start in range(0, len(x), steps_at_once):
        some = slice(start, start + steps_at_once)
        patches = cut_patches(x[some])
        h, p = forward(patches, weights)
        d_logit = (y[some] - p) * advantage[some]  #    A_t d log pi / dz = A_t (y - p), as in classic.py
        for name, g in backward(patches, h, d_logit, weights).items():
            gradient[name] += g
    return gradient


# --- Checking the gradient ------------------------------------------------------------------------------


def slope(objective: Callable[[], float], w: Array, i: int) -> float:
    """Central finite difference: how fast the objective rises with weight number i of w."""
    before = w.flat[i]
    w.flat[i] = before + finite_step
    above = objective()
    w.flat[i] = before - finite_step
    below = objective()
    w.flat[i] = before
    return (above - below) / (2 * finite_step)


def smooth(patches: Array, weights: Weights) -> Array:
    """Which steps to check, [T] bool: not those where moving a weight switches a neuron on or off.

    ReLU has a kink at 0, where a finite difference is no gradient. A patch of zeros stays at 0: no kink.
    """
    h = patches @ weights["W1"].T
    return ~((h != 0) & (np.abs(h) < 2 * finite_step)).any(axis=(1, 2))


def check(env: gymnasium.Env, rng: np.random.Generator, seed: int) -> bool:
    """Compare the gradient of 20 steps of a real game with finite differences; print and judge the result."""
    weights = initial_weights(rng)
    x, y, rewards = play_game(env, weights, rng, seed)
    some = rng.choice(len(y), 20, replace=False)
    some = some[smooth(cut_patches(x[some]), weights)]
    x, y, advantage = x[some], y[some], standardise(discount(rewards))[some]
    patches = cut_patches(x)

    def objective() -> float:  # what policy_gradient is the derivative of
        _, p = forward(patches, weights)
        return float(advantage @ np.log(np.where(y == 1, p, 1 - p)))

    gradient = policy_gradient(x, y, advantage, weights)
    good = True
    for name, w in weights.items():
        chosen = rng.choice(w.size, min(w.size, 1024), replace=False)  # all 5,776 of W2 take long
        by_hand = gradient[name].flat[chosen]
        by_slope = np.array([slope(objective, w, i) for i in chosen])
        size = np.maximum(np.abs(by_hand), np.abs(by_slope))
        size = np.maximum(size, 1e-3 * size.max())  # rounding would drown the smallest ones
        difference = (np.abs(by_hand - by_slope) / size).max()
        print(f"{name}: largest relative difference {difference:.1e} in {len(chosen)} of {w.size} weights")
        good = good and bool(difference < largest_difference)  # not a number is not good
    return good


# --- Playing --------------------------------------------------------------------------------------------


def play_game(
    env: gymnasium.Env, weights: Weights, rng: np.random.Generator, seed: int | None = None
) -> tuple[Array, Array, Array]:
    """Play one game to 21 points.

    Returns what happened on each of its T steps: difference images x [T, 80, 80] of one byte a pixel, actions
    y [T] and rewards [T].
    """
    xs, ys, rewards = [], [], []
    screen, _ = env.reset(seed=seed)
    previous, over = None, False
    while not over:
        x, previous = observe(screen, previous)
        x = x.reshape(side, side)
        _, (p,) = forward(cut_patches(x[None]), weights)  # a batch of one step
        y = 1 if rng.random() < p else 0
        screen, reward, terminated, truncated, _ = env.step(UP if y == 1 else DOWN)
        over = terminated or truncated
        xs.append(x)
        ys.append(y)
        rewards.append(reward)
    return np.array(xs), np.array(ys), np.array(rewards)


# --- The lesson -----------------------------------------------------------------------------------------


def load(path: Path) -> tuple[Weights, Weights, int, float]:
    """The opposite of classic.py's `save`; fails in one way or another if the file is another program's."""
    with np.load(path) as file:
        weights = {name: file[name].reshape(shape) for name, shape in weight_shapes.items()}
        mean_square = {name: file[f"mean_square_{name}"].reshape(w.shape) for name, w in weights.items()}
        return weights, mean_square, int(file["game"]), float(file["running_mean"])


def main() -> None:
    """Play and learn as classic.py does, or check the gradient."""
    parser = argparse.ArgumentParser(description="Learn Pong by policy gradients, with a convolution.")
    parser.add_argument("--games", type=int, default=1_000_000, help="stop after so many games")
    parser.add_argument("--seed", type=int, default=1, help="where all randomness comes from")
    parser.add_argument("--file", type=Path, default=Path("classic_conv.npz"), help="where weights are saved")
    parser.add_argument("--resume", action="store_true", help="go on from that file")
    parser.add_argument("--render", action="store_true", help="watch it play (60 frames a second: slow)")
    parser.add_argument("--check", action="store_true", help="only check the gradient; saves nothing")
    options = parser.parse_args()

    if options.games < 1 or options.seed < 0:
        parser.error("--games must be 1 or more, --seed 0 or more")
    gymnasium.register_envs(ale_py)
    if options.check:
        if not check(gymnasium.make("ALE/Pong-v5"), np.random.default_rng(options.seed), options.seed):
            raise SystemExit(f"the gradient is wrong: a difference is not below {largest_difference}")
        return
    if options.resume and not options.file.exists():
        parser.error(f"there is no {options.file} to resume from")
    if options.file.exists() and not options.resume:
        parser.error(f"{options.file} exists: add --resume, or give another --file")
    folder = options.file.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        parser.error(f"cannot write to the folder {folder}: give another --file")
    if options.resume:
        try:
            weights, mean_square, game, running_mean = load(options.file)
        except Exception:
            parser.error(f"{options.file} is damaged or of another program: give another --file")
    else:
        weights = initial_weights(np.random.default_rng(options.seed))
        mean_square = {name: np.zeros_like(w) for name, w in weights.items()}
        game, running_mean = 0, float("nan")

    env = gymnasium.make("ALE/Pong-v5", render_mode="human" if options.render else None)
    rng = np.random.default_rng([options.seed, game])  # resumed: other games than if it had never stopped
    seed: int | None = int(rng.integers(2**31))  # the emulator's own randomness; it goes on from game to game
    batch_gradient = {name: np.zeros_like(w) for name, w in weights.items()}

    while game < options.games:
        x, y, rewards = play_game(env, weights, rng, seed)
        seed = None
        gradient = policy_gradient(x, y, standardise(discount(rewards)), weights)
        for name in batch_gradient:
            batch_gradient[name] += gradient[name]  # the gradients of a batch's games are summed
        game += 1
        score = int(rewards.sum())
        running_mean = score if game == 1 else 0.99 * running_mean + 0.01 * score
        print(f"game {game}: score {score:+d}, running mean {running_mean:+.3f}, {len(y)} steps", flush=True)
        if game % batch_size == 0:
            rmsprop(weights, batch_gradient, mean_square)
            for g in batch_gradient.values():
                g.fill(0)
            save(options.file, weights, mean_square, game, running_mean)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\nstopped; if an update was saved, --resume continues it") from None
    except OSError as error:
        raise SystemExit(f"cannot go on: {error}") from None
