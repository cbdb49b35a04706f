"""The page of a training run: a process of its own, with low priority, that shows the agent as it learns.

The game it shows is played with the weights in the memory that the workers share, so it is always the
newest agent's; the numbers come from the run's folder. While nobody looks it sleeps.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from pongrad import web
from pongrad.errors import UserError
from pongrad.runs import RunFolder
from pongrad.shared import SharedAgent
from pongrad.watch import Watch
from pongrad.workers import spawn

SHARE = 0.04
"""Of one core: what showing the game may cost; with two cores or more that is less than 5 % of training."""


class Live:
    """Serves the page while its `with` block runs.

    Attributes:
        url: where it is.
    """

    def __init__(self, shared: SharedAgent, folder: RunFolder) -> None:
        """Start the process.

        Args:
            shared: the agent that learns, in shared memory.
            folder: its run.

        Raises:
            UserError: there is no port to listen on.
        """
        try:
            listening = web.listen(web.LOOPBACK, web.PORT)
        except UserError:  # another training run is there already
            listening = web.listen(web.LOOPBACK, 0)
        self.url = web.url(listening)
        self._process, self._pipe = spawn(_serve, (listening, shared, folder.path), "pongrad-live")
        listening.close()

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(3)
        self._process.kill()  # it holds nothing that could be lost
        self._process.join()


def _serve(pipe: Any, listening: socket.socket, shared: SharedAgent, path: Path) -> None:
    """The process's life: serve until the other end of the pipe closes, however that comes about."""
    with contextlib.suppress(OSError):
        os.nice(10)
    asyncio.run(_until_closed(pipe, listening, shared, path))


async def _until_closed(pipe: Any, listening: socket.socket, shared: SharedAgent, path: Path) -> None:
    ended, hall = asyncio.Event(), web.Hall()

    def end() -> None:
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        hall.tell("ended", {"text": f"The training has ended. To go on watching: pongrad watch {path}"})
        ended.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), end)
    show = Watch(shared.agent(shared.published), path.name, RunFolder(path), share=SHARE)
    await web.serve(show, listening, web.LOOPBACK, hall, ended)
