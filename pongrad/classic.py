"""Learn to win at Pong from raw pixels: the whole lesson in one file.

A network of two layers looks at what changed on the screen and says how likely it is to go UP. It plays
whole games against the computer, and after each batch of them the choices of the points that were won are
made more likely, those of the points that were lost less likely. Nothing else is told to it.

    python -m pongrad.classic            # play and learn, for days; every update is saved to classic.npz
    python -m pongrad.classic --resume   # go on where it stopped

Names: x input, h hidden neurons, z logit, p probability of UP, y action taken (1 UP, 0 DOWN), W1 and W2
weights; pi(y) the probability of the action taken, R_t what it earned, A_t how good that is; dW means
d objective / dW. Shapes: T steps in a game, D = 6400 pixels, H = 200 hidden neurons.
"""

import argparse
import os
from pathlib import Path

import ale_py
import gymnasium
import numpy as np

# Hyperparameters, named as in the article
batch_size = 10  # whole games played between two updates of the weights
gamma = 0.99  # discount: an action counts 0.99 times as much for every step further from the point's end
decay_rate = 0.99  # RMSProp: how slowly it forgets earlier gradients
num_hidden_layer_neurons = 200  # H
learning_rate = 1e-4  # how far one update moves the weights; 1e-3 learns many times faster
epsilon = 1e-5  # RMSProp: keeps it from dividing by zero

input_dimensions = 80 * 80  # D
UP, DOWN = 2, 3  # the actions as Gymnasium numbers them


# --- From the screen to the network's input -------------------------------------------------------------


def preprocess(screen):
    """Turn a screen, [210, 160, 3] RGB, into 6,400 numbers that are 0 (background) or 1 (something)."""
    image = screen[35:195]  # 1. crop to the playing field, [160, 160, 3]
    image = image[::2, ::2]  # 2. keep every second pixel both ways, [80, 80, 3]
    image = image[:, :, 0]  # 3. one colour channel is enough, [80, 80]
    image = (image != 144) & (image != 109)  # 4. the two background colours to 0, all else to 1
    return image.astype(np.int8).ravel()  # 5. flatten, [6400]; the emulator's own array is untouched


def observe(screen, previous):
    """6. The network sees what moved: this screen minus the one before (on a first step: nothing moved)."""
    now = preprocess(screen)
    x = np.zeros_like(now) if previous is None else now - previous
    return x, now


# --- The network ----------------------------------------------------------------------------------------


def initial_weights(rng):
    """N(0, 1) / sqrt(number of inputs): sums of many inputs then neither vanish nor explode."""
    H, D = num_hidden_layer_neurons, input_dimensions
    return {
        "W1": rng.standard_normal((H, D)) / np.sqrt(D),
        "W2": rng.standard_normal(H) / np.sqrt(H),
    }


def forward(x, weights):
    """The forward pass, for one input [D] or for all of a game's [T, D]."""
    h = x @ weights["W1"].T  #               h = W1 x
    h = np.maximum(h, 0)  #                  h = ReLU(h): from here on, 0 where a neuron is off
    logit = h @ weights["W2"]  #             z = W2 h
    p = 1 / (1 + np.exp(-logit))  #          p = sigmoid(z), the probability of UP
    return h, p


def backward(x, h, d_logit, weights):
    """Backpropagation: from the gradient at the logit, [T], to the gradient of every weight.

    x is [T, D], h is [T, H]; each @ below also sums over the T steps of the game.
    """
    dW2 = d_logit @ h  #                           dW2 = sum_t dz_t h_t
    dh = np.outer(d_logit, weights["W2"])  #       dh_t = dz_t W2
    dh[h <= 0] = 0  #                              ReLU: no gradient where the neuron was off
    moved = x.any(axis=0)  #                       pixels that never moved have no gradient: skip them
    dW1 = np.zeros_like(weights["W1"])
    dW1[:, moved] = dh.T @ x[:, moved]  #          dW1 = sum_t dh_t x_t^T
    return {"W1": dW1, "W2": dW2}


# --- Learning -------------------------------------------------------------------------------------------


def discount(rewards):
    """What each action was worth: R_t = r_t + gamma R_{t+1}, starting anew where a point ends."""
    returns = np.zeros(len(rewards))
    running = 0.0
    for t in reversed(range(len(rewards))):
        if rewards[t] != 0:
            running = 0.0  # a point ended here: what came after has nothing to do with this action
        running = rewards[t] + gamma * running
        returns[t] = running
    return returns


def standardise(returns):
    """Mean 0 and deviation 1: about half of a game's actions are encouraged, half discouraged."""
    deviation = returns.std()
    if deviation < 1e-12:  # all alike (nobody scored, say): nothing to prefer
        return np.zeros_like(returns)
    return (returns - returns.mean()) / deviation


def gradient_of_game(x, h, p, y, rewards, weights):
    """The policy gradient of one game: sum_t A_t d log pi(y_t | x_t) / d weights."""
    advantage = standardise(discount(rewards))  #    A_t, how good the action turned out to be
    # log pi(y) = y log p + (1 - y) log(1 - p) with p = sigmoid(z), and from that
    d_log_pi = y - p  #                              d log pi / dz = y - p
    return backward(x, h, d_log_pi * advantage, weights)


def rmsprop(weights, gradient, mean_square):
    """Move the weights *up* the gradient, each measured by how large its gradient usually is; in place."""
    for name, g in gradient.items():
        c = mean_square[name]
        c[:] = decay_rate * c + (1 - decay_rate) * g**2  #                 c = decay c + (1 - decay) g^2
        weights[name] += learning_rate * g / (np.sqrt(c) + epsilon)  #     W = W + lr g / (sqrt(c) + eps)


# --- Playing --------------------------------------------------------------------------------------------


def play_game(env, weights, rng, seed=None):
    """Play one game to 21 points.

    Returns what happened on each of its T steps: inputs x [T, D], hidden neurons h [T, H], probabilities
    p [T], actions y [T] and rewards [T] (+1 where a point was won, -1 where one was lost, else 0).
    """
    xs, hs, ps, ys, rewards = [], [], [], [], []
    screen, _ = env.reset(seed=seed)
    previous, over = None, False
    while not over:
        x, previous = observe(screen, previous)
        h, p = forward(x, weights)
        y = 1 if rng.random() < p else 0  # toss a coin that comes up UP with probability p
        screen, reward, terminated, truncated, _ = env.step(UP if y == 1 else DOWN)
        over = terminated or truncated
        xs.append(x)
        hs.append(h)
        ps.append(p)
        ys.append(y)
        rewards.append(reward)
    return np.array(xs), np.array(hs), np.array(ps), np.array(ys), np.array(rewards)


# --- Saving and resuming --------------------------------------------------------------------------------


def save(path, weights, mean_square, game, running_mean):
    """Write all that is needed to go on: first to a new file, so that a crash cannot leave half of one."""
    arrays = {f"mean_square_{name}": c for name, c in mean_square.items()}
    temporary = path.with_suffix(".new.npz")
    np.savez(temporary, **weights, **arrays, game=game, running_mean=running_mean)
    os.replace(temporary, path)


def load(path):
    """The opposite of `save`; fails in one way or another if `save` has not written the file."""
    shapes = {"W1": (num_hidden_layer_neurons, input_dimensions), "W2": (num_hidden_layer_neurons,)}
    with np.load(path) as file:
        weights = {name: file[name].reshape(shape) for name, shape in shapes.items()}
        mean_square = {name: file[f"mean_square_{name}"].reshape(shape) for name, shape in shapes.items()}
        return weights, mean_square, int(file["game"]), float(file["running_mean"])


# --- The lesson -----------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description="Learn Pong by policy gradients.")
    parser.add_argument("--games", type=int, default=1_000_000, help="stop after so many games")
    parser.add_argument("--seed", type=int, default=1, help="where all randomness comes from")
    parser.add_argument("--file", type=Path, default=Path("classic.npz"), help="where the weights are saved")
    parser.add_argument("--resume", action="store_true", help="go on from that file")
    parser.add_argument("--render", action="store_true", help="watch it play (60 frames a second: slow)")
    options = parser.parse_args()

    if options.games < 1 or options.seed < 0:
        parser.error("--games must be 1 or more, --seed 0 or more")
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
        game, running_mean = 0, None

    gymnasium.register_envs(ale_py)
    env = gymnasium.make("ALE/Pong-v5", render_mode="human" if options.render else None)
    rng = np.random.default_rng([options.seed, game])  # resumed: other games than if it had never stopped
    seed = int(rng.integers(2**31))  # the emulator's own randomness; it goes on from game to game
    batch_gradient = {name: np.zeros_like(w) for name, w in weights.items()}

    while game < options.games:
        x, h, p, y, rewards = play_game(env, weights, rng, seed)
        seed = None
        gradient = gradient_of_game(x, h, p, y, rewards, weights)
        for name in batch_gradient:
            batch_gradient[name] += gradient[name]  # the gradients of a batch's games are summed
        game += 1
        score = int(rewards.sum())
        running_mean = score if running_mean is None else 0.99 * running_mean + 0.01 * score
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
