"""An agent: a network with what it needs to see and to act, and its file."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from pongrad.games.checking import call, differences
from pongrad.games.colours import grey
from pongrad.games.environment import action_names
from pongrad.ground import storage
from pongrad.ground.arguments import plain
from pongrad.ground.errors import UserError
from pongrad.network import batch_acting
from pongrad.network.acting import PolicyArgs, new_rollout_buffer, policy_step
from pongrad.network.convolution import Filters
from pongrad.network.exploration import NOT_HELD, Held
from pongrad.network.finding import find_agent, instead_of
from pongrad.network.layers import Array
from pongrad.network.network import Network
from pongrad.vision.frames import SIDE, FrameStack, Grey
from pongrad.vision.pixels import PreprocessingArgs
from pongrad.vision.preprocessing import Vision, new_screen_buffer

FORMAT = "pongrad-agent-6"
Tensor = NDArray[Any]

LARGEST = 2**28
"""Bytes that a first layer read from 8 bits a weight may have."""


@dataclass
class Agent:
    """Plays from pixels the game that it has learned; `check_env` says whether an environment is that game.

    Attributes:
        network: from pixels to a logit for each action and, after them, the value of what it sees; or, for
            two actions, to a single logit, that of the first.
        game: what it plays, see `environment.name`: the Gymnasium id, and options if there are any.
        actions: Gymnasium's numbers of the actions it chooses from.
        action_names: what the environment calls each.
        vision: how it looks at the screen.
        greedy: whether it plays its likeliest action by default, instead of drawing one; while nothing moves
            it draws all the same, see `acting.stands_still`.
    """

    network: Network
    game: str
    actions: tuple[int, ...]
    action_names: tuple[str, ...]
    vision: Vision | FrameStack = field(default_factory=Vision)
    greedy: bool = False

    def __post_init__(self) -> None:
        self.reset()

    def __repr__(self) -> str:
        play = "greedy" if self.greedy else "sampled"
        return f"Agent({self.game}, {'/'.join(self.action_names)}, {play}, {self.network})"

    def reset(self, seed: int | None = None) -> None:
        """Forget the last screen; call it after each `env.reset()`.

        Args:
            seed: what the agent's random numbers in this game come from; None: fresh ones.
        """
        self._stream = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
        if isinstance(self.vision, FrameStack):
            self._buffer: Any = batch_acting.FrameBuffer(self.vision)
        else:
            self._buffer = new_screen_buffer(self.vision)
        self._step = 0

    def check_env(self, env: gymnasium.Env[Any, Any]) -> None:
        """Check that an environment is the game that the agent has learned, and shows it as `act` wants it.

        Wrappers that only count, limit or record change nothing.

        Args:
            env: what is going to be played, made by `gymnasium.make`.

        Raises:
            ValueError: it is another one; names every difference.
        """
        if found := list(differences(env, self.game, (self.vision.height, self.vision.width))):
            raise ValueError(
                f"the agent has learned {self.game}, and this is another game: {'; '.join(found)}; "
                f"make it with {call(self.game)}"
            )

    def act(self, observation: NDArray[np.uint8], greedy: bool | None = None) -> int:
        """Choose an action for a Gymnasium observation.

        In another environment than `game` the same numbers mean other actions, and an agent plays badly: see
        `check_env`.

        Args:
            observation: uint8 [height, width, 3], as the environment it was trained on gives it: of Pong
                [210, 160, 3], as `gymnasium.make("ALE/Pong-v5")` does. Where that gives no pictures, as
                `gymnasium.wrappers.AddRenderObservation` gives it.
            greedy: the likeliest action (True) or a drawn one (False); None: the agent's own way.

        Returns:
            The number to give to `env.step`.

        Raises:
            ValueError: the observation has another shape or type.
        """
        if why := self._no_observation(observation):
            raise ValueError(f"observation is {why}, want uint8 {self.vision.height, self.vision.width, 3}")
        if isinstance(self.vision, FrameStack):
            if observation.ndim == 3:
                observation = grey(observation)
            return self.actions[self.decide(np.array([observation, observation]), greedy)]
        return self.actions[self.decide(self.vision.preprocessing_args_rgb(observation), greedy)]

    def _no_observation(self, observation: Any) -> str:
        """What is given instead of an observation, and what is meant; empty if it is one."""
        want = self.vision.height, self.vision.width, 3
        if not isinstance(observation, np.ndarray):
            first = " (of what env.reset() and env.step() return, give the first)"
            return f"a {type(observation).__name__}{first if isinstance(observation, tuple) else ''}"
        shape = observation.shape
        if observation.dtype == np.uint8 and (
            shape == want or (shape == want[:2] and not getattr(self.vision, "palette", ()))
        ):
            return ""
        hints = {
            want: "give it as the environment does, not scaled",
            want[:2]: "give colours, not greys",
            (want[2], *want[:2]): "give the colours last",
        }
        hint = "give one at a time" if shape[1:] == want else hints.get(shape)
        return f"{observation.dtype} {shape}{f' ({hint})' if hint else ''}"

    def decide(self, screen: PreprocessingArgs | Grey, greedy: bool | None = None) -> int:
        """Choose an action for a screen.

        Args:
            screen: see `Vision.preprocessing_args`; of a convolutional network a step's last two frames, see
                `FrameStack.frame`.
            greedy: see `act`.

        Returns:
            Its index in `actions`.
        """
        likeliest = bool(self.greedy if greedy is None else greedy)
        if isinstance(self.vision, FrameStack):
            return self._decide_from_frames(self.vision, screen, likeliest)
        assert isinstance(screen, tuple)
        policy_args = self.policy_args(self._stream, likeliest)
        rollout_buffer = new_rollout_buffer(1, self.vision)
        action = policy_step(
            screen,
            self.vision.input_args,
            True,
            self._buffer,
            policy_args,
            self._step,
            rollout_buffer,
            0,
        )
        self._step += 1
        return action

    def _decide_from_frames(self, vision: FrameStack, greys: Any, likeliest: bool) -> int:
        frame = np.empty((SIDE, SIDE), np.uint8)
        vision.frame(greys, frame)
        self._buffer.add(0, frame, self._step)
        logits = batch_acting.logits(self.network, self._buffer, self.logits)
        likeliest = likeliest and not self._buffer.stands_still(0, self._step)
        action, _ = batch_acting.choose(logits[0], self._stream, self._step, likeliest, NOT_HELD)
        self._step += 1
        return action

    def policy_args(self, stream: np.uint64, greedy: bool, held: Held = NOT_HELD) -> PolicyArgs:
        """The agent as `acting.policy_step` takes it, drawing its actions from this stream."""
        return *self.network.acting_args, self.logits, stream, greedy, held

    @property
    def logits(self) -> int:
        """How many of the network's outputs are logits: one for each action, or one alone for two actions."""
        return 1 if self.network.outputs == 1 else len(self.actions)

    def description(self) -> dict[str, Any]:
        """Everything but the weights, as JSON can hold it."""
        return {
            "game": self.game,
            "actions": list(self.actions),
            "action_names": list(self.action_names),
            "vision": self.vision.description(),
            "strides": list(self.network.strides),
            "greedy": self.greedy,
        }

    @staticmethod
    def from_description(description: dict[str, Any], weights: dict[str, Array]) -> "Agent":
        """The agent of this description around these weights, which are used, not copied."""
        strides = description.get("strides", [])
        vision: Vision | FrameStack
        if strides:
            vision = FrameStack.from_description(description["vision"])
            network = Network(weights, _checked(strides), vision.background_frame)
        else:
            vision = Vision.from_description(description["vision"])
            network = Network(weights)
        return Agent(
            network,
            description["game"],
            tuple(description["actions"]),
            tuple(description["action_names"]),
            vision,
            description["greedy"],
        )

    def copy(self) -> "Agent":
        """The same agent with weights of its own."""
        weights = {name: array.copy() for name, array in self.network.weights.items()}
        return Agent.from_description(self.description(), weights)

    def save(self, path: str | os.PathLike[str], small: bool = False, **about: Any) -> None:
        """Write the agent to a `.safetensors` file; `about` is kept with it for people to read.

        Args:
            path: the file.
            small: write the first layer in 8 bits a weight, with a scale for every row, and of sparse inputs
                leave out rows of zeros: less than a quarter of the size, and each weight off by at most 1/254
                of the largest in its row.
            about: anything; what is not plain JSON is written as text.
        """
        metadata = {"format": FORMAT, **self.description(), "about": about}
        weights: storage.Tensors = dict(self.network.weights)
        if small:
            sparse = not self.network.strides
            rows = np.flatnonzero(weights["W1"].any(axis=1)) if sparse else np.arange(len(weights["W1"]))
            first = weights["W1"][rows]
            scale = np.maximum(np.abs(first).max(axis=1), 1e-30).astype(np.float32) / 127
            rounded = np.rint(first / scale[:, None]).astype(np.int8)
            weights |= {"W1": rounded, "W1.scale": scale, "W1.rows": rows.astype(np.uint16)}
        storage.save(plain("path", path, Path), weights, metadata)

    @staticmethod
    def load(source: str | os.PathLike[str]) -> "Agent":
        """The agent in a `.safetensors` file or a run folder (its best), or the one that ships: "champion".

        Raises:
            UserError: there is none, or the file is damaged or not an agent.
        """
        path = find_agent(source)
        weights, metadata = storage.load(path, FORMAT, instead_of(path))
        try:
            if "W1.scale" in weights:
                first, scale, rows = weights["W1"], weights.pop("W1.scale"), weights.pop("W1.rows")
                sparse = not metadata.get("strides")
                size = Vision.from_description(metadata["vision"]).size if sparse else len(first)
                weights["W1"] = _large(first, scale, rows, size)
            agent = Agent.from_description(metadata, weights)
            agent.check()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a usable agent ({error}): use another one") from error
        return agent

    def check(self) -> None:
        """Raise ValueError if the parts do not fit each other or a weight is not a finite number.

        Raises:
            ValueError: that.
            UserError: the game is unknown.
        """
        weights, size = self.network.weights, self.vision.size
        kinds = "Wb" if "b1" in weights else "W"
        layers = len(weights) // len(kinds)
        least = len(self.network.strides) + 2  # a hidden layer above the convolutions, and the outputs
        if list(weights) != [f"{kind}{i + 1}" for i in range(layers) for kind in kinds] or layers < least:
            raise ValueError(f"weights {list(weights)}, want W1, W2, ... or W1, b1, W2, b2, ...")
        if len({array.dtype for array in weights.values()}) > 1:
            raise ValueError("the weights are of several types")
        convolutions = [layer for layer in self.network.layers if isinstance(layer, Filters)]
        for name, array in weights.items():
            rows = 1 if name[0] == "b" else size
            if convolutions and name[0] == "W":  # which has seen to it that its filters fit
                rows, size = len(array), math.prod(convolutions.pop(0).out_shape)
            elif name[0] == "W":
                size = array.shape[-1]
            if array.ndim != 2 or len(array) != rows or array.dtype not in (np.float32, np.float64):
                raise ValueError(f"{name} is {array.dtype} {array.shape}, want {rows} rows of float32")
            if array.shape[1] != weights[f"W{name[1:]}"].shape[1]:
                raise ValueError(f"{name} is {array.shape}, and W{name[1:]} is of another width")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has weights that are not finite")
        if type(self.greedy) is not bool:
            raise ValueError(f"greedy is {self.greedy!r}")
        if not all(type(action) is int for action in self.actions) or len(set(self.actions)) < max(
            2, len(self.actions)
        ):
            raise ValueError(f"actions {self.actions}, want at least two different ones")
        if self.action_names != tuple(map(action_names(self.game).get, self.actions)):
            raise ValueError(f"actions {self.actions} of {self.game} are not called {self.action_names}")
        if size != len(self.actions) + 1 and (size, len(self.actions)) != (1, 2):
            raise ValueError(f"{len(self.actions)} actions from {size} outputs, want one more, or 2 from 1")


def _checked(strides: Any) -> list[int]:
    """The strides, if that is what they are; else raises ValueError."""
    if type(strides) is not list or not all(type(each) is int and 0 < each <= SIDE for each in strides):
        raise ValueError(f"strides {strides!r}")
    return strides


def _large(first: Tensor, scale: Tensor, rows: Tensor, size: int) -> Array:
    """The first layer [size, units] that was saved small.

    Raises:
        ValueError: these are not its parts.
    """
    if first.ndim != 2 or first.dtype != np.int8 or 4 * size * first.shape[1] > LARGEST:
        raise ValueError(f"W1 is {first.dtype} {first.shape}")
    if scale.shape != (len(first),) or scale.dtype != np.float32:
        raise ValueError(f"W1.scale is {scale.dtype} {scale.shape}")
    if rows.shape != (len(first),) or rows.dtype != np.uint16:
        raise ValueError(f"W1.rows is {rows.dtype} {rows.shape}")
    if (np.diff(rows.astype(np.int64), prepend=-1, append=size) <= 0).any():
        raise ValueError("W1.rows are not ascending rows")
    whole = np.zeros((size, first.shape[1]), np.float32)
    whole[rows] = first * scale[:, None]
    return whole
