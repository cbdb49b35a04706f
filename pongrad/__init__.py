"""pongrad: learn to win at Pong from raw pixels, with a neural network written by hand.

from pongrad import Agent, Classic, train
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pongrad.agent import Agent as Agent
    from pongrad.recipes import Classic as Classic
    from pongrad.training import train as train

_HOMES = {"Agent": "pongrad.agent", "Classic": "pongrad.recipes", "train": "pongrad.training"}

__all__ = ["Agent", "Classic", "train"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import pongrad` compiles and starts nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pongrad' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
