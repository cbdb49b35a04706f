"""`train` as users call it: a session shown in the terminal and on the page, with a picture at its end."""

import contextlib
import functools
from typing import Any

from pongrad.learning.recipes import Recipe
from pongrad.playing.shared import SharedAgent
from pongrad.runs import training
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.views.terminal import Display


def train(config: Recipe, started: float | None = None) -> dict[str, Any]:
    """Train an agent; does what `pongrad train` does.

    Processes are spawned, so a script that calls this must do so under `if __name__ == "__main__":`.

    Args:
        config: the recipe with its hyperparameters, and when to stop. To resume a run, it must hold the
            hyperparameters that the run was started with.
        started: when the run's clock started (`time.monotonic()`); None: now.

    Returns:
        The content of the run's summary.json.

    Raises:
        UserError: the configuration makes no sense, the run's folder cannot be used, numbers are no longer
            finite, or workers die again and again.
        KeyboardInterrupt: Ctrl-C; everything has been saved.
        SystemExit: SIGTERM, with code 143; everything has been saved.
    """
    return training.train(config, TrainingView, started, functools.partial(print, flush=True))


class TrainingView:
    """Shows a training session while its `with` block runs; see `training.View`."""

    def __init__(self, folder: RunFolder, config: Recipe, shared: SharedAgent) -> None:
        self._folder = folder
        self._config = config
        self._shared = shared
        self._display = Display(folder, config)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "TrainingView":
        self._stack.enter_context(self._display)
        if self._config.live:
            from pongrad.views.live import Live  # a web server: only for those who want one

            try:
                page = self._stack.enter_context(Live(self._shared, self._folder))
            except BaseException:
                self._stack.close()
                raise
            self._display.page(page.url)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def update(self, progress: Progress, line: dict[str, Any]) -> None:
        """Show where the run stands after an update; `line` is its line of metrics."""
        self._display.update(progress, line)

    def not_deterministic(self) -> None:
        """Say once that the environment is not deterministic, so that games had to be begun again."""
        self._display.not_deterministic()

    def stopping(self) -> None:
        """Say that a signal has come, before the saving."""
        self._display.stopping()

    def end(self, progress: Progress, interrupted: bool) -> None:
        """Say what came out, and draw the learning curve."""
        self._display.end(progress, interrupted)
        from pongrad.views import plots  # Matplotlib takes a second to import: not while starting, or saving

        plots.learning_curve([self._folder], self._folder.path / "learning_curve.png")
