# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Pong from pixels, in one notebook
#
# This is the lesson in short form. You turn a real screen into numbers, send them through a neural network,
# play a game, derive the gradient by hand and check it, and make one update. Then an agent trains for a
# minute while you watch its score, and you see it play.
#
# Run the cells from top to bottom. The functions are those of `pongrad/classic.py`; nothing is defined
# twice.

# %% [markdown]
# ## Set-up
#
# The first cell installs pongrad if it is missing, and the second compiles its inner loops. The first time
# that takes a few minutes, later a few seconds. You need a clone of the repository:
#
# - **Jupyter**: open this notebook inside the clone, in `docs/notebook`. That is all.
# - **Colab**: first run `!git clone ADDRESS pongrad` in a cell of its own, with the address of the
#   repository. No GPU is needed. If Colab then asks you to restart the session, do so and begin again from
#   here.

# %%
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    print("pongrad", version("pongrad"), "is installed")
except PackageNotFoundError:
    clone = "../.." if Path("../../pongrad/classic.py").exists() else "./pongrad"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", clone], check=True)

# %%
import inspect
import json
import tempfile
import time

import ale_py
import gymnasium
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, Video, display
from matplotlib.figure import Figure

from pongrad import Fast, classic
from pongrad.classic_conv import slope, smooth
from pongrad.runs import training

subprocess.run([sys.executable, "-m", "pongrad.runs.warm"], check=True)
rng = np.random.default_rng(1)


# %% [markdown]
# Two helpers: one shows the source of a function, the other shows pictures side by side.


# %%
def source(function):
    """Show the source of a function."""
    display(Markdown(f"```python\n{inspect.getsource(function)}```"))


def show(pictures):
    """Show pictures, given as a dictionary of titles and arrays, side by side."""
    _, axes = plt.subplots(1, len(pictures), figsize=(2.2 * len(pictures), 3.4), layout="constrained")
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture, cmap="gray")
        axis.set_title(f"{title}\n{' x '.join(map(str, picture.shape))}", fontsize=9)
        axis.axis("off")
    plt.show()


# %% [markdown]
# ## 1. A real screen
#
# The emulator runs the real cartridge. One step is one decision; the emulator plays four frames for it and
# returns the last one. We play 90 steps at random, so that the ball is in play, and keep the last two
# screens.

# %%
gymnasium.register_envs(ale_py)
env = gymnasium.make("ALE/Pong-v5")
screen, _ = env.reset(seed=1)
for _ in range(90):
    before = screen
    screen, *_ = env.step(int(rng.choice([classic.UP, classic.DOWN])))

show({"the screen before": before, "the screen": screen})

# %% [markdown]
# ## 2. Six steps from the screen to the input
#
# `preprocess` does the first five steps. `observe` does the sixth: it subtracts the screen before.

# %%
source(classic.preprocess)
source(classic.observe)

# %%
field = screen[35:195]
small = field[::2, ::2]
channel = small[:, :, 0]
on = classic.preprocess(screen).reshape(80, 80)
x, _ = classic.observe(screen, classic.preprocess(before))
show(
    {
        "the screen": screen,
        "1. cropped": field,
        "2. every second pixel": small,
        "3. one channel": channel,
        "4. background off": on,
        "6. what moved": x.reshape(80, 80),
    }
)

# %% [markdown]
# Step 5 only makes a vector of the picture, so it is not shown. In the last picture grey is 0, white is 1 (a
# pixel went on), black is -1 (a pixel went off). Nearly all of the 6,400 numbers are 0:

# %%
assert x.shape == (6400,) and set(np.unique(x)) == {-1, 0, 1}
assert set(np.unique(channel[on == 0])) <= {144, 109}, "only background is off"
print(f"{np.count_nonzero(on)} pixels are on, {np.count_nonzero(x)} of {len(x):,} inputs are not 0")

# %% [markdown]
# ## 3. The network
#
# Two layers: 6,400 inputs, 200 hidden neurons with ReLU, one output. The output is the probability of UP.

# %%
source(classic.forward)

# %%
weights = classic.initial_weights(rng)
h, p = classic.forward(x, weights)
assert h.shape == (200,) and 0 < p < 1
print(f"{np.count_nonzero(h)} of {len(h)} hidden neurons are on; UP has probability {p:.3f}")

# %% [markdown]
# The action is *drawn*: UP with probability p, else DOWN. So the agent tries both actions, and can find out
# which one is better. In many draws, the share of UP is about p:

# %%
draws = rng.random(10_000) < p
print(f"share of UP in {len(draws):,} draws: {draws.mean():.3f}")
assert abs(draws.mean() - p) < 0.02

# %% [markdown]
# ## 4. A game and its returns
#
# `play_game` plays one game to 21 points and keeps what happened at each of its T steps. The weights are
# still random, so the agent loses nearly every point.

# %%
x, h, p, y, rewards = classic.play_game(env, weights, rng, seed=1)
print(f"{len(y)} steps, score {rewards.sum():+.0f}")
print("x", x.shape, "h", h.shape, "p", p.shape, "y", y.shape, "rewards", rewards.shape)
assert len(x) == len(h) == len(p) == len(y) == len(rewards)

# %% [markdown]
# A point comes long after the actions that decided it. The **return** passes each point's reward back to
# the steps before it, and multiplies it by gamma for every step. Then the returns are **standardised** to
# mean 0 and deviation 1. The result is the **advantage**: how good an action turned out to be, compared
# with the others of the game.

# %%
source(classic.discount)
source(classic.standardise)

# %%
returns = classic.discount(rewards)
advantage = classic.standardise(returns)
assert abs(advantage.mean()) < 1e-9 and abs(advantage.std() - 1) < 1e-9

steps = np.arange(300)
figure, axes = plt.subplots(2, 1, figsize=(9, 4.5), sharex=True, layout="constrained")
points = steps[rewards[steps] != 0]
axes[0].stem(points, rewards[points], linefmt="tab:orange", basefmt=" ", label="reward")
axes[0].fill_between(steps, returns[steps], alpha=0.4, label="return")
axes[1].fill_between(steps, advantage[steps], alpha=0.4, color="tab:green", label="advantage")
axes[1].set(xlabel="step", xlim=(0, 299))
for axis in axes:
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 5. Backpropagation, and a check
#
# We want the weights to move so that actions with a positive advantage become likelier, and the others less
# likely. So we move them up the gradient of
#
# $$J = \sum_t A_t \log \pi(y_t)$$
#
# where $\pi(y_t)$ is the probability of the action taken at step $t$, and $A_t$ its advantage. At the logit
# the gradient is $A_t (y_t - p_t)$. `backward` takes it from there to every weight.

# %%
source(classic.backward)

# %% [markdown]
# Is it right? A derivative is a slope. `slope` moves one weight a little up and down and measures how
# J changes. It is far too slow to learn with, but it needs no derivation, so it is a good check. We take 40
# steps of the game. ReLU has no derivative at 0, so `smooth` leaves out steps where a neuron is close to
# switching on or off.

# %%
some = rng.choice(np.flatnonzero(x.any(axis=1)), 40, replace=False)
some = some[smooth(x[some][:, None], weights)]
x_some, y_some, advantage_some = x[some], y[some], advantage[some]


def objective():
    """J of these steps, with the weights as they are now."""
    _, p = classic.forward(x_some, weights)
    return advantage_some @ np.log(np.where(y_some == 1, p, 1 - p))


# %%
h_some, p_some = classic.forward(x_some, weights)
gradient = classic.backward(x_some, h_some, (y_some - p_some) * advantage_some, weights)
chosen = {name: rng.choice(np.flatnonzero(g), 100, replace=False) for name, g in gradient.items()}
numeric = {name: np.array([slope(objective, weights[name], i) for i in chosen[name]]) for name in chosen}


def relative_error(gradient, name):
    """How far the gradient is from the slopes, as a share of their length."""
    difference = gradient[name].flat[chosen[name]] - numeric[name]
    return np.linalg.norm(difference) / np.linalg.norm(numeric[name])


# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for axis, name in zip(axes, gradient, strict=True):
    error = relative_error(gradient, name)
    print(f"{name} ({weights[name].dtype}): relative error {error:.1e}")
    assert weights[name].dtype == np.float64 and error < 1e-6
    axis.plot(numeric[name], gradient[name].flat[chosen[name]], ".")
    axis.set(title=name, xlabel="slope", ylabel="backpropagation")
plt.show()

# %% [markdown]
# All points lie on the diagonal. Does the check find a mistake? Here ReLU is forgotten on the way back:
# `backward` is told that every neuron was on.

# %%
all_on = np.maximum(h_some, 1e-12)
mistaken = classic.backward(x_some, all_on, (y_some - p_some) * advantage_some, weights)
error = relative_error(mistaken, "W1")
print(f"W1 without ReLU on the way back: relative error {error:.2f}")
assert error > 0.1

# %% [markdown]
# ## 6. One update
#
# Now the gradient of the whole game, and one step of RMSProp. It divides each weight's step by the usual
# size of that weight's gradient. (`classic.py` sums the gradients of ten games before it makes an update.)

# %%
source(classic.gradient_of_game)
source(classic.rmsprop)

# %%
mean_square = {name: np.zeros_like(w) for name, w in weights.items()}
gradient = classic.gradient_of_game(x, h, p, y, rewards, weights)
classic.rmsprop(weights, gradient, mean_square)

_, p_after = classic.forward(x, weights)
change = np.log(np.where(y == 1, p_after, 1 - p_after)) - np.log(np.where(y == 1, p, 1 - p))
print(f"J of this game has changed by {advantage @ change:+.1f}")
assert advantage @ change > 0

# %% [markdown]
# On average, actions with a positive advantage have become likelier:

# %%
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(advantage, change, ".", alpha=0.4)
axis.axhline(0, color="gray", linewidth=0.8)
axis.set(xlabel="advantage of the action", ylabel="change of its log-probability")
plt.show()

# %% [markdown]
# That is the whole algorithm. Repeated for days, it learns to win.
#
# ## 7. A minute of training
#
# Recipe `fast` learns in minutes: it plays 32 games at once on all cores, gives the network relative offsets
# between objects, too, and learns with PPO. `from pongrad import train` and
# `train(Fast(minutes=1))` would print its progress. In a notebook a picture is better. The training loop
# calls a *view* after every update, and this view draws the curve.


# %%
class LiveCurve(training.View):
    """Draws the mean score of the last 100 games while an agent learns."""

    def __init__(self, folder, recipe, shared):
        self.frames, self.scores, self.drawn = [], [], 0.0
        self.picture = display("Waiting for the first games to end.", display_id=True)

    def __enter__(self):
        return self

    def update(self, progress, line):
        """Called after each update of the weights, with its line of metrics."""
        if line["mean_score_100"] is not None:
            self.frames.append(line["frames"] / 1e6)
            self.scores.append(line["mean_score_100"])
            if time.monotonic() - self.drawn > 2:
                self.draw()

    def end(self, progress, interrupted):
        """Called when the session is over."""
        self.draw()

    def draw(self):
        """Put a new picture in the place of the last one."""
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axis = figure.subplots()
        axis.plot(self.frames, self.scores)
        axis.axhline(0, color="tab:green", linestyle="--", label="the computer is beaten")
        axis.set(xlabel="million frames", ylabel="mean score of the last 100 games", ylim=(-21.5, 21.5))
        axis.legend(loc="upper left")
        self.picture.update(figure)
        self.drawn = time.monotonic()


# %% [markdown]
# Training takes a minute and a few seconds to start. To stop sooner, interrupt the kernel: what has been
# learned is saved.

# %%
run = Path(tempfile.mkdtemp(prefix="pongrad-"))
_ = training.train(Fast(minutes=1, run=run), LiveCurve)

# %%
summary = json.loads((run / "summary.json").read_text())
assert summary["games"] > 0, "no game has ended yet: train for more minutes"
print(f"{summary['games']} games, {summary['frames']:,} frames, {summary['frames_per_second']:,.0f} frames/s")
print(f"mean score of the last 100 games: {summary['mean_score_100']:+.1f}")
print("everything is in", run)
assert (run / "best.safetensors").exists()

# %% [markdown]
# The curve lags behind: it is the mean of the last 100 games, most of which earlier agents have played, with
# drawn actions. The best agent of the run plays its likeliest action, and scores well above the curve.
#
# ## 8. See it play
#
# `pongrad record` plays a fresh game and writes a video. Your agent is on the right. Beside the game you
# see what the network is given, how strongly its hidden neurons fire, and how likely each action is.

# %%
video = run / "game.mp4"
record = [sys.executable, "-m", "pongrad", "record", run, video, "--inside", "--seconds", "20"]
print(subprocess.run(record, check=True, capture_output=True, text=True).stdout)
display(Video(str(video), embed=True, width=800))

# %% [markdown]
# ## Questions to try
#
# - Set `classic.gamma = 0.9` and run section 4 again. How far back does a point reach now?
# - Leave out `standardise` in section 5: take `returns` as the advantage. This agent loses nearly every
#   point. What would an update do to nearly all of its actions?
# - Make the weights `np.float32` before section 5. The check fails now, though `backward` is right. Why?
# - Make ten updates in section 6 instead of one, each from a new game. Does the score change?
# - Train for three minutes: `Fast(minutes=3, run=...)`. Give another seed: `seed=7`. How much do two seeds
#   differ?
# - Train another game: `Fast(game="ALE/Breakout-v5", minutes=5, run=...)`.
