"""The page of a training run: a process of its own, with low priority, that shows the agent as it learns.

It plays the game it shows with its own copy of the weights, and copies the newest ones every two seconds from
the memory that the workers share; the numbers come from the run's folder. Without viewers it sleeps.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from pongrad.ground.errors import UserError
from pongrad.network.agent import Agent
from pongrad.playing.processes import spawn
from pongrad.playing.shared import SharedAgent
from pongrad.runs.folder import RunFolder
from pongrad.views import web
from pongrad.views.watch import Watch

SECONDS_BETWEEN_COPIES = 2.0

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
    ended, broadcaster = asyncio.Event(), web.Broadcaster()

    def end() -> None:
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        broadcaster.tell(
            "ended", {"text": f"The training has ended. To go on watching: pongrad watch {path}"}
        )
        ended.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), end)
    agent = shared.agent(shared.version).copy()
    source = Watch(agent, path.name, RunFolder(path), share=SHARE)
    copying = asyncio.create_task(_copy_newest(shared, agent, broadcaster))
    await web.serve(source, listening, web.LOOPBACK, broadcaster, ended)
    copying.cancel()


async def _copy_newest(shared: SharedAgent, agent: Agent, broadcaster: web.Broadcaster) -> None:
    """Give the agent the newest weights again and again, while there are viewers.

    The newest weights stay as they are until two more updates have ended; a copy that these have overtaken is
    made again.
    """
    while True:
        await broadcaster.wait_for_viewers()
        version = None
        while version is None or shared.version > version + 1:
            version = shared.version
            for name, weights in shared.agent(version).network.weights.items():
                agent.network.weights[name][...] = weights
        await asyncio.sleep(SECONDS_BETWEEN_COPIES)
