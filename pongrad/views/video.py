"""Videos, as .mp4 or .gif; no display is needed."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from pongrad.games import environment
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.network.agent import Agent
from pongrad.runs import stages
from pongrad.runs.folder import RunFolder
from pongrad.views.moments import moments
from pongrad.views.pictures import (
    BACKGROUND,
    Inside,
    Picture,
    enlarge,
    label_picture,
    scale_for,
    side_by_side,
)

FRAMES_A_SECOND = 60
_GIF_FRAMES_A_SECOND = 20  # a GIF counts in hundredths of a second, so 60 cannot be had
_MOST_STAGES = 6
_STAGE_WIDTH = 320
"""Pixels of a stage in the time lapse, about."""
_GAP = 3
_PALETTE = "split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=none:diff_mode=rectangle"
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # as .mp4 has it


def check_name(out: Path) -> None:
    """Raise UserError unless a video can be written there."""
    if out.suffix.lower() not in (".mp4", ".gif"):
        raise UserError(f"cannot make a video named {out}: its name must end in .mp4 or .gif")
    if not os.path.isdir(out.absolute().parent):
        raise UserError(f"cannot write {out}: there is no folder {out.parent}")
    if os.path.isdir(out):
        raise UserError(f"cannot write {out}: it is a folder; give another name")


def record(agent: Agent, out: Path, seed: int, inside: bool, seconds: float | None) -> Game:
    """Write a video of the first fresh game that `evaluate` plays with this seed.

    Args:
        agent: who plays, in its own way (`agent.greedy`).
        out: a name that ends in .mp4 or .gif.
        seed: what the game's randomness comes from.
        inside: whether to show what goes on inside the agent beside the game.
        seconds: of play to show; None: all of the game.

    Returns:
        The game's number, score and steps as they were at the video's end.

    Raises:
        UserError: the file cannot be written.
    """
    game = Game(agent.game, seed, Purpose.EVALUATION, 0)
    panel = Inside(agent) if inside else None
    steps = frames = 0
    won = lost = 0.0
    with writer(out) as add:
        for moment in moments(agent, game, environment.make(agent.game)):
            if seconds is not None and frames >= seconds * FRAMES_A_SECOND:
                break
            beside = panel.draw(moment) if panel else None
            for frame in moment.frames:
                picture = enlarge(frame)
                add(picture if beside is None else side_by_side([picture, beside]))
            frames += len(moment.frames)
            steps, won, lost = moment.step + 1, moment.won, moment.lost
    return Game(agent.game, seed, Purpose.EVALUATION, 0, steps, frames, won=won, lost=lost)


def timelapse(run: RunFolder, out: Path, seed: int, seconds: float) -> int:
    """Write a video of the same opening, played by a run's agent at up to six stages side by side.

    Args:
        run: a run with stages.
        out: a name that ends in .mp4 or .gif.
        seed: what the game's randomness comes from.
        seconds: of play to show.

    Returns:
        How many stages are shown.

    Raises:
        UserError: there are no stages, or the file cannot be written.
    """
    found = stages.at_least_one(run)
    count = min(len(found), _MOST_STAGES)
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, count).round().astype(int)]
    agents = [Agent.load(file) for file in chosen]
    scale = scale_for(agents[0].vision.width, _STAGE_WIDTH)
    labels = [label_picture(stages.label(file), scale * agents[0].vision.width) for file in chosen]
    game = Game(agents[0].game, seed, Purpose.EVALUATION, 0)
    lives = [moments(agent, game, environment.make(agent.game)) for agent in agents]
    columns = min(count, 3)
    films: dict[int, Picture] = {}
    with writer(out) as add:
        shown = 0
        while shown < max(1, seconds * FRAMES_A_SECOND):
            for i, life in enumerate(lives):
                if moment := next(life, None):  # else the game is over and stands still
                    films[i] = moment.frames
            most = max(map(len, films.values()))
            shown += most
            for k in range(most):  # all steps have as many frames, unless the game skips them at random
                frames = [film[min(k, len(film) - 1)] for film in films.values()]
                cells = [
                    np.vstack([name, enlarge(frame, scale)])
                    for name, frame in zip(labels, frames, strict=True)
                ]
                for cell in cells:
                    cell[:, :_GAP] = cell[:, -_GAP:] = BACKGROUND
                cells += [np.zeros_like(cells[0])] * (-count % columns)
                add(np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]))
    return count


@contextlib.contextmanager
def writer(out: Path) -> Iterator["_Add"]:
    """What takes the pictures of a video, 60 a second, all of the first one's size.

    The file appears whole at the end; whatever happens before, one that was there stays as it is.

    Raises:
        UserError: the file cannot be written.
    """
    check_name(out)
    try:
        with storage.replacing(out) as unfinished:
            add = _Add(unfinished, out.suffix.lower() == ".gif")
            try:
                yield add
                add.finish()
            finally:
                add.stop()
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"cannot write {out}: {why}; make room, or choose another folder") from error


class _Add:
    """Hands pictures to ffmpeg, which is started with the first."""

    def __init__(self, out: Path, is_gif: bool) -> None:
        self._out = out
        self._is_gif = is_gif
        self._every = FRAMES_A_SECOND // _GIF_FRAMES_A_SECOND if is_gif else 1
        self._count = 0
        self._ffmpeg: Any = None

    def __call__(self, picture: Picture) -> None:
        if self._ffmpeg is None:
            self._start(*picture.shape[:2])
        if self._count % self._every == 0:
            try:
                self._ffmpeg.stdin.write(np.ascontiguousarray(picture))
            except BrokenPipeError:
                self.finish()  # says why ffmpeg has gone
                raise
        self._count += 1

    def _start(self, height: int, width: int) -> None:
        given = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FRAMES_A_SECOND // self._every} -i -"
        mp4 = f"-f mp4 -vf {_EVEN} -vcodec libx264 -pix_fmt yuv420p -crf 20"
        made = f"-f gif -vf {_PALETTE}" if self._is_gif else mp4
        args = ["-v", "error", "-y", *given.split(), *made.split()]
        args.append(f"file:{self._out}")  # else ffmpeg sees options and protocols in a name
        try:
            self._ffmpeg = subprocess.Popen(
                [imageio_ffmpeg.get_ffmpeg_exe(), *args],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is not for ffmpeg
            )  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"cannot start ffmpeg: {error}; unset IMAGEIO_FFMPEG_EXE, or install imageio-ffmpeg again"
            ) from error

    def finish(self) -> None:
        """Wait until the file is complete.

        Raises:
            OSError: it is not.
        """
        if self._ffmpeg is None:
            return
        _, said = self._ffmpeg.communicate()
        if self._ffmpeg.returncode:
            raise OSError(said.decode(errors="replace").strip().rpartition(": ")[2] or "ffmpeg has failed")

    def stop(self) -> None:
        """End ffmpeg, finished or not."""
        if self._ffmpeg is not None:
            self._ffmpeg.kill()
            with contextlib.suppress(OSError), self._ffmpeg:
                pass  # leaving it closes the pipes
