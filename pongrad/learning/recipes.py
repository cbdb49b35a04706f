"""Recipes: an algorithm and its hyperparameters, as the fields of a dataclass.

The fields, with the text below each, are the flags of `pongrad train`.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from pongrad.games import environment
from pongrad.ground.arguments import flag, normalise
from pongrad.ground.errors import UserError
from pongrad.vision.frames import SIDE

PONG = "ALE/Pong-v5"

MOST_FILTERS = 1024
"""Of a convolution."""

OF_THE_PAGE = ("host", "port", "allow_host")

OF_THE_SESSION = ("run", "resume", "live", "cluster", *OF_THE_PAGE)
"""Fields that a resumed run is given anew."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all recipes share: what to learn, and when to stop."""

    recipe: Annotated[Literal["fast", "classic"], arg(metavar="fast|classic")]
    """The algorithm; each has hyperparameters of its own, see `--recipe classic --help`."""
    game: Annotated[str, arg(metavar="ID")] = PONG
    """Gymnasium id of the game to learn: any Atari game, such as ALE/Breakout-v5, and any other environment
    with discrete actions that shows pixels."""
    env_options: Annotated[
        tuple[str, ...], arg(metavar="NAME=VALUE", help_behavior_hint="(default: those of its registration)")
    ] = ()
    """Keyword arguments of the environment, such as mode=1 difficulty=2 full_action_space=true. Atari games
    also take noop_max=N (begin with 1 to N frames of NOOP; 30 where all games would be alike, else 0) and
    fire_to_start=true (press FIRE before the first step; agents learn to, so the default is false)."""
    seed: Annotated[int, arg(metavar="N")] = 1
    """Seed of all random numbers: same seed, same agent, whatever the number of workers."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """Worker processes, which play the games."""
    cluster: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: none)")] = None
    """Run the workers on a Ray cluster: HOST:PORT of one that this machine has joined, or local, which starts
    one here and ends it with the run; see docs/cluster.md."""
    frames: Annotated[int, arg(metavar="N")]
    """Stop after so many frames (Atari games have 60 a second; elsewhere a step is a frame)."""
    minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: no limit)")] = None
    """Stop after so many minutes of training."""
    until: Annotated[float | None, arg(metavar="SCORE")]
    """Stop when the mean score of the last 100 games reaches this."""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one in runs/)")] = None
    """Folder of the run."""
    resume: bool = False
    """Resume the run in that folder, or the newest one in runs/."""
    live: bool = False
    """Show the training on a page in the browser."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address of the page; 0.0.0.0 lets other machines open it, and is needed inside a container."""
    port: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 8021 or a free one)")] = None
    """Port of the page; 0: any free port."""
    allow_host: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="NAME")]] = ()
    """Let the page answer under this name, too, as behind a proxy or with https; may be repeated."""
    network: Annotated[Literal["sparse", "conv"], arg(metavar="sparse|conv")] = "sparse"
    """The network: sparse is given what stands out from a still background, and relative offsets; conv is
    given the last four screens in grey, and has convolutions."""
    conv_filters: Annotated[tuple[int, ...], arg(metavar="N")] = (16, 32)
    """Filters of each convolution, the lowest first. DQN (Mnih et al. 2015) has --conv-filters 32 64 64
    --conv-kernels 8 4 3 --conv-strides 4 2 1 --num-hidden-layer-neurons 512 --biases."""
    conv_kernels: Annotated[tuple[int, ...], arg(metavar="N")] = (8, 4)
    """Rows and columns of each convolution's filters."""
    conv_strides: Annotated[tuple[int, ...], arg(metavar="N")] = (4, 2)
    """Pixels from one of a filter's positions to the next."""
    biases: bool = False
    """Give all layers biases."""
    num_hidden_layer_neurons: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: 200, with --network conv 256)")
    ] = None
    """Hidden ReLU neurons, above the convolutions if there are any."""

    def __post_init__(self) -> None:
        """Make the fields plain Python: see `arguments.normalise`."""
        normalise(self)

    @property
    def units(self) -> int:
        """Hidden neurons, above the convolutions if there are any."""
        if self.num_hidden_layer_neurons is not None:
            return self.num_hidden_layer_neurons
        return 256 if self.network == "conv" else 200

    def check(self) -> None:
        """Raise UserError, naming the flag, if a value makes no sense."""
        if RECIPES[self.recipe] is not type(self):
            raise UserError(f"--recipe {self.recipe} does not fit: these are hyperparameters of another one")
        given = "frames", "learning_rate", "num_hidden_layer_neurons", "minutes", "workers"
        _above_zero(self, *(name for name in given if getattr(self, name) is not None))
        _from_to(self, 0, 1, "gamma")
        if self.until is not None and not math.isfinite(self.until):
            raise UserError(f"--until must be a score, not {self.until}")
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, not {self.seed}")
        self._check_convolutions()
        for name in OF_THE_PAGE:
            if not self.live and getattr(self, name) != getattr(Recipe, name):
                raise UserError(f"{flag(name)} is for the page: add --live")
        environment.rom(self.environment)

    def _check_convolutions(self) -> None:
        names = "conv_filters", "conv_kernels", "conv_strides"
        sizes = [getattr(self, name) for name in names]
        for name, values in zip(names, sizes, strict=True):
            if self.network != "conv" and values != getattr(Recipe, name):
                raise UserError(f"{flag(name)} is for convolutions: add --network conv")
            if not values or not all(0 < value <= MOST_FILTERS for value in values):
                raise UserError(f"{flag(name)} must be numbers from 1 to {MOST_FILTERS}")
        if len({len(values) for values in sizes}) > 1:
            raise UserError("--conv-filters, --conv-kernels and --conv-strides must be as many")
        side = SIDE
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            if kernel > side:
                raise UserError(f"--conv-kernels {kernel} does not fit the {side} x {side} pixels below it")
            side = (side - kernel) // stride + 1

    @property
    def environment(self) -> str:
        """The game with its options, see `environment.name`."""
        return environment.name(self.game, self.env_options)

    @property
    def target_score(self) -> float:
        """The mean score of 100 games that ends the run."""
        return math.inf if self.until is None else self.until

    @property
    def num_games(self) -> int:
        """Games played side by side."""
        raise NotImplementedError

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The fields that decide what is learned; a resumed run may not change them."""
        others = {"workers", "frames", "minutes", "until", *OF_THE_SESSION}
        return {
            name: list(value) if isinstance(value, tuple) else value  # as JSON has it
            for name, value in (asdict(self) | self._filled_in).items()
            if name not in others
        }

    @property
    def _filled_in(self) -> dict[str, Any]:
        """Fields whose defaults depend on the network."""
        return {"num_hidden_layer_neurons": self.units}


@dataclass(frozen=True, kw_only=True)
class Fast(Recipe):
    """Proximal policy optimisation, actor and critic: beats Pong's computer in a minute."""

    recipe: Annotated[Literal["fast", "classic"], arg(metavar="fast|classic")] = "fast"
    frames: Annotated[int, arg(metavar="N")] = 20_000_000
    until: Annotated[
        float | None, arg(metavar="SCORE", help_behavior_hint="(default: 18 in Pong, else none)")
    ] = None

    num_games: int = 32
    """Games played side by side."""
    rollout_steps: int = 64
    """Steps played in each game with one set of weights; then comes an update."""
    epochs: int = 3
    """How often an update goes through the steps of its rollout."""
    minibatches: int = 4
    """Parts into which each epoch splits these steps; the weights move once for each part."""
    gamma: float = 0.99
    """Discount per step, at first; see --schedule-frames."""
    lambda_: Annotated[float, arg(name="lambda")] = 0.95
    """Generalised advantages: 0 counts one reward and the value after it, 1 all rewards."""
    reward_ends_return: Annotated[Literal["auto", "yes", "no"], arg(metavar="auto|yes|no")] = "auto"
    """Whether a reward ends the return, as it ends a point in Pong; auto: in games without lives where random
    play finds that points can be lost and none comes within 60 frames of another."""
    life_loss_ends_return: Annotated[Literal["auto", "yes", "no"], arg(metavar="auto|yes|no")] = "auto"
    """Whether a lost life ends the return, so that lives are worth something; auto: in games with lives."""
    clip: float = 0.2
    """PPO's clipping range c: a change beyond 1 - c or 1 + c times an action's old probability gains no
    more."""
    entropy_coefficient: Annotated[
        float | None,
        arg(metavar="FLOAT", help_behavior_hint="(default: 0.01 where a reward ends the return, else 0.003)"),
    ] = None
    """Weight of the entropy bonus, at first. Rare rewards need more of it than frequent ones."""
    log_barrier_coefficient: Annotated[
        float | None,
        arg(
            metavar="FLOAT", help_behavior_hint="(default: 0.003 where a reward ends the return, else 0.001)"
        ),
    ] = None
    """Weight of the log-barrier bonus, at first: the mean of all actions' log-probabilities."""
    value_coefficient: float = 0.5
    """Weight of the squared error of the values."""
    hold_probability: float = 0.7
    """In every second game, if it has no reward in its first 1000 steps, the probability that a step takes
    the action that is held for 256 steps. It finds first rewards where random play meets hardly any."""
    learning_rate: Annotated[
        float | None,
        arg(metavar="FLOAT", help_behavior_hint="(default: 1.5e-3, with --network conv 5e-4)"),
    ] = None
    """RMSProp: how far each minibatch moves the weights, at first."""
    schedule_frames: int = 8_000_000
    """For a quarter of these frames nothing changes. Then 1 - gamma and the entropy and log-barrier
    coefficients decay exponentially: to a tenth when these frames are over, and on at that rate. The learning
    rate decays as their square root."""

    @property
    def rate(self) -> float:
        """The learning rate at first."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 5e-4 if self.network == "conv" else 1.5e-3

    def bonuses(self, reward_ends: bool) -> tuple[float, float]:
        """Weights of the entropy and the log-barrier bonus, at first; whether a reward ends the return."""
        entropy, log_barrier = (0.01, 0.003) if reward_ends else (0.003, 0.001)
        if self.entropy_coefficient is not None:
            entropy = self.entropy_coefficient
        if self.log_barrier_coefficient is not None:
            log_barrier = self.log_barrier_coefficient
        return entropy, log_barrier

    @property
    def _filled_in(self) -> dict[str, Any]:
        return {**super()._filled_in, "learning_rate": self.rate}

    @property
    def target_score(self) -> float:
        """The mean score of 100 games that ends the run: in Pong, 18 unless told otherwise."""
        return 18.0 if self.until is None and self.environment == PONG else super().target_score

    def check(self) -> None:
        """Raise UserError, naming the flag, if a value makes no sense."""
        super().check()
        _above_zero(self, "num_games", "rollout_steps", "epochs", "minibatches", "schedule_frames", "clip")
        _from_to(self, 0, 1, "lambda_")
        _from_to(self, 0, 0.99, "hold_probability")
        coefficients = (f"{name}_coefficient" for name in ("entropy", "log_barrier", "value"))
        _from_to(self, 0, math.inf, *(name for name in coefficients if getattr(self, name) is not None))
        if self.minibatches > self.num_games * self.rollout_steps:
            raise UserError("--minibatches must not be more than --num-games times --rollout-steps")


@dataclass(frozen=True, kw_only=True)
class Classic(Recipe):
    """The source article's algorithm: REINFORCE on whole games, RMSProp."""

    recipe: Annotated[Literal["fast", "classic"], arg(metavar="fast|classic")] = "classic"
    frames: Annotated[int, arg(metavar="N")] = 200_000_000
    until: Annotated[float | None, arg(metavar="SCORE")] = 0.01

    batch_size: int = 10
    """Whole games played with one set of weights; their gradients are summed for one update."""
    gamma: float = 0.99
    """Discount per step: the further an action is from the end of the point, the less it counts."""
    learning_rate: float = 1e-4
    """RMSProp: how far an update moves the weights."""
    decay_rate: float = 0.99
    """RMSProp: how slowly it forgets the size of earlier gradients."""

    def check(self) -> None:
        """Raise UserError, naming the flag, if a value makes no sense."""
        super().check()
        if self.environment != PONG:
            raise UserError(
                f"recipe classic is the article's, for {PONG} alone: learn other games with recipe fast"
            )
        _above_zero(self, "batch_size")
        _from_to(self, 0, 1, "decay_rate")
        if self.decay_rate == 1:
            raise UserError("--decay-rate must be below 1, or its running average never moves")

    @property
    def num_games(self) -> int:
        """Games played side by side."""
        return self.batch_size


RECIPES: dict[str, type[Recipe]] = {"fast": Fast, "classic": Classic}


def _above_zero(recipe: Recipe, *names: str) -> None:
    for name in names:
        if not 0 < getattr(recipe, name) < math.inf:
            raise UserError(f"{flag(name)} must be above 0, not {getattr(recipe, name)}")


def _from_to(recipe: Recipe, least: float, most: float, *names: str) -> None:
    for name in names:
        if not least <= getattr(recipe, name) <= most:
            raise UserError(f"{flag(name)} must lie between {least} and {most}, not {getattr(recipe, name)}")
