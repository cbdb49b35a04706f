"""Make every figure of the documentation, and the data of its widgets, in docs/figures.

    python docs/figures.py            # about two minutes the first time, half a minute then
    python docs/figures.py screen     # only this one

Everything comes from the real emulator, the programs of the package and the committed results. The first time
it trains for a million frames, in docs/figures/run; what is there is used again.
"""

import sys
from collections.abc import Callable

import ale_py
import figures_classic as classic
import figures_fast as fast
import widget_data
from scenes import FIGURES

from pongrad.ground.parallel import blas_in_one_thread
from pongrad.views.plots import Figure, own_style, save

DPI = 200
"""A figure is 7.2 inches wide: 1,440 pixels, twice what a page shows."""

DRAWN: dict[str, Callable[[], Figure]] = {
    "screen": classic.screen,
    "six-steps": classic.six_steps,
    "network": classic.network,
    "weights": classic.weights,
    "sigmoid": classic.sigmoid,
    "returns": classic.returns,
    "standardised": classic.standardised,
    "backprop": classic.backprop,
    "gradient-check": classic.gradient_check,
    "rmsprop": classic.rmsprop,
    "mistakes": classic.five_mistakes,
    "learning-classic": fast.learning_classic,
    "learning-fast": fast.learning_fast,
    "cost": fast.cost,
    "sparse": fast.sparse,
    "clip": fast.clip,
    "offsets": fast.offsets,
    "convolution": fast.convolution,
    "filters": fast.filters,
    "breakout": fast.breakout,
}
"""docs/figures/NAME.png and what draws it."""


def main() -> None:
    """Make all, or those that are named."""
    names = sys.argv[1:] or [*DRAWN, "widgets"]
    if unknown := set(names) - {*DRAWN, "widgets"}:
        sys.exit(f"there is no figure {', '.join(sorted(unknown))}: there are {', '.join(DRAWN)} and widgets")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    FIGURES.mkdir(exist_ok=True)
    with blas_in_one_thread(), own_style():
        for name in names:
            if name == "widgets":
                widget_data.write()
            else:
                save(DRAWN[name](), FIGURES / f"{name}.png", DPI)
    print(f"{len(names)} figures in {FIGURES}")


if __name__ == "__main__":
    main()
