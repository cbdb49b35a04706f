"""pongrad: learn to win at Pong from raw pixels, with a neural network written by hand.

from pongrad import Agent, Fast, train
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pongrad.learning.recipes import Classic as Classic
    from pongrad.learning.recipes import Fast as Fast
    from pongrad.network.agent import Agent as Agent
    from pongrad.views.training_view import train as train

_HOMES = {
    "Agent": "pongrad.network.agent",
    "Classic": "pongrad.learning.recipes",
    "Fast": "pongrad.learning.recipes",
    "train": "pongrad.views.training_view",
}

__all__ = ["Agent", "Classic", "Fast", "train"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import pongrad` compiles and starts nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pongrad' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
