"""`train` as users call it: a session shown in the terminal and on the page, with a picture at its end."""

import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Any

from pongrad.ground.errors import UserError
from pongrad.learning.recipes import Recipe
from pongrad.playing.processes import check_may_start_processes
from pongrad.playing.shared import SharedAgent
from pongrad.runs import training
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.views.output import lossy_output
from pongrad.views.terminal import Display

if TYPE_CHECKING:
    from pongrad.views.live import Live


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
        SystemExit: SIGTERM or SIGHUP, with code 143 or 129; everything has been saved.
    """
    if not isinstance(config, Recipe):
        raise UserError(f"train takes a recipe, such as Fast(seed=1), not {config!r}")
    check_may_start_processes()
    with lossy_output(), contextlib.ExitStack() as stack:
        view: training.NewView = TrainingView
        if config.live:
            from pongrad.views.live import listen  # a web server: only for those who want one

            listening = stack.enter_context(listen(config))  # before there is a run, for it may be refused
            view = functools.partial(TrainingView, listening=listening)
        return training.train(config, view, started, functools.partial(print, flush=True))


class TrainingView:
    """Shows a training session while its `with` block runs; see `training.View`."""

    def __init__(
        self,
        folder: RunFolder,
        config: Recipe,
        shared: SharedAgent,
        listening: socket.socket | None = None,
    ) -> None:
        self._listening = listening
        self._page: Live | None = None
        self._folder = folder
        self._config = config
        self._shared = shared
        self._display = Display(folder, config)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "TrainingView":
        self._stack.enter_context(self._display)
        if self._listening:
            from pongrad.views.live import Live

            try:
                page = Live(self._shared, self._folder, self._config, self._listening)
                self._page = self._stack.enter_context(page)
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
        for text in self._page.news() if self._page else ():
            print(text, flush=True)

    def not_deterministic(self) -> None:
        """Say once that the environment is not deterministic, so that games had to be begun again."""
        self._display.not_deterministic()

    def stopping(self) -> None:
        """Say that a signal has come, before the saving."""
        self._display.stopping()

    def end(self, progress: Progress, interrupted: bool) -> None:
        """Say what came out, and draw the learning curve if there is one."""
        self._display.end(progress, interrupted)
        if not progress.games:
            return
        from pongrad.views import plots  # Matplotlib takes a second to import: not while starting, or saving

        plots.learning_curve([self._folder], self._folder.path / "learning_curve.png")
