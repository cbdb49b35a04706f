"""Recipes: an algorithm and its hyperparameters, as the fields of a dataclass.

The fields, with the text below each, are the flags of `pongrad train`.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from pongrad.errors import UserError

ACTIONS = {"ALE/Pong-v5": (2, 3)}
"""For each game a recipe can play: Gymnasium's numbers of the two actions, UP first."""


@dataclass(frozen=True, kw_only=True)
class Classic:
    """The source article's algorithm: REINFORCE on whole games, RMSProp."""

    recipe: Literal["classic"] = "classic"
    """The algorithm to learn with."""
    game: Annotated[str, arg(metavar="ID")] = "ALE/Pong-v5"
    """Gymnasium id of the game to learn."""
    seed: Annotated[int, arg(metavar="N")] = 1
    """Where all randomness comes from: same seed, same agent, whatever the number of workers."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """Processes that play."""
    frames: Annotated[int, arg(metavar="N")] = 200_000_000
    """Stop after so many frames (60 a second of play)."""
    minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: no limit)")] = None
    """Stop after so many minutes of training."""
    until: Annotated[float, arg(metavar="SCORE")] = 0.01
    """Stop when the mean score of the last 100 games reaches this; 0.01 is the first mean above 0."""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new one in runs/)")] = None
    """Folder of the run."""
    resume: bool = False
    """Go on with the run in that folder, or with the newest one in runs/."""

    batch_size: int = 10
    """Whole games played with one set of weights; their gradients are summed for one update."""
    gamma: float = 0.99
    """Discount: an action counts so many times as much for every step further from the point's end."""
    learning_rate: float = 1e-4
    """RMSProp: how far an update moves the weights."""
    decay_rate: float = 0.99
    """RMSProp: how slowly it forgets the size of earlier gradients."""
    num_hidden_layer_neurons: int = 200
    """Hidden ReLU neurons."""

    def check(self) -> None:
        """Raise UserError, naming the flag, if a value makes no sense."""
        positive = ["frames", "batch_size", "learning_rate", "num_hidden_layer_neurons"]
        positive += [name for name in ("minutes", "workers") if getattr(self, name) is not None]
        for name in positive:
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{flag(name)} must be above 0, not {getattr(self, name)}")
        if not math.isfinite(self.until):
            raise UserError(f"--until must be a score, not {self.until}")
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, not {self.seed}")
        if not 0 <= self.gamma <= 1:
            raise UserError(f"--gamma must lie between 0 and 1, not {self.gamma}")
        if not 0 <= self.decay_rate < 1:
            raise UserError(f"--decay-rate must be at least 0 and below 1, not {self.decay_rate}")
        if self.game not in ACTIONS:
            raise UserError(f"unknown game {self.game!r}: recipe classic plays {', '.join(ACTIONS)}")

    @property
    def learning(self) -> dict[str, Any]:
        """The fields that decide what is learned; a resumed run may not change them."""
        how_long = {"workers", "frames", "minutes", "until", "run", "resume"}
        return {name: value for name, value in asdict(self).items() if name not in how_long}


def flag(name: str) -> str:
    """A field's name as it is written on the command line."""
    return "--" + name.replace("_", "-")
