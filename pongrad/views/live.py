"""The page of a training run: a process of its own, with low priority, that shows the agent as it learns.

It plays the game it shows with its own copy of the weights, and copies the newest ones every two seconds from
the memory that the workers share; the numbers come from the run's folder. Without viewers it sleeps.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pongrad.ground.commands import command
from pongrad.ground.errors import UserError
from pongrad.ground.system import lower_priority
from pongrad.learning.recipes import Recipe
from pongrad.network.agent import Agent
from pongrad.playing.processes import spawn
from pongrad.playing.shared import SharedAgent
from pongrad.runs.folder import RunFolder
from pongrad.views import web
from pongrad.views.watch import Watch

SECONDS_BETWEEN_COPIES = 2.0

SHARE = 0.04
"""Of one core: what showing the game may cost; with two cores or more that is less than 5 % of training."""


def listen(config: Recipe) -> socket.socket:
    """A socket for the page, where the recipe says; its port may be taken only if the user has named none.

    Raises:
        UserError: the address or the port cannot be had, or a name to allow is none.
    """
    if os.name == "nt":  # its event loops cannot wait for the pipe from the training
        raise UserError("--live needs Linux or macOS: leave it out")
    web.check_host_names(config.allow_host)
    if config.port is None:
        with contextlib.suppress(UserError):  # another training run may be there already
            return web.listen(config.host, web.PORT)
    return web.listen(config.host, config.port or 0)


class Live:
    """Serves the page while its `with` block runs.

    Attributes:
        url: where it is.
    """

    def __init__(
        self, shared: SharedAgent, folder: RunFolder, config: Recipe, listening: socket.socket
    ) -> None:
        """Start the process.

        Args:
            shared: the agent that learns, in shared memory.
            folder: its run.
            config: its recipe.
            listening: from `listen`; it is closed here.
        """
        self.url = web.url(listening)
        self._process, self._pipe = spawn(
            _serve, (listening, shared, folder.path, config.host, config.allow_host), "pongrad-live"
        )
        listening.close()

    def __enter__(self) -> "Live":
        return self

    def news(self) -> Iterator[str]:
        """What there is to say since the last call: which names the page was refused under."""
        with contextlib.suppress(EOFError, OSError):  # the process has died
            while self._pipe.poll():
                yield self._pipe.recv()

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(3)
        self._process.kill()  # it holds nothing that could be lost
        self._process.join()


def _serve(pipe: Any, listening: socket.socket, shared: SharedAgent, path: Path, *names: Any) -> None:
    """The process's life: serve until the other end of the pipe closes, however that comes about."""
    lower_priority(10)
    asyncio.run(_until_closed(pipe, listening, shared, path, *names))


async def _until_closed(
    pipe: Any,
    listening: socket.socket,
    shared: SharedAgent,
    path: Path,
    host: str,
    allowed: tuple[str, ...],
) -> None:
    ended, broadcaster = asyncio.Event(), web.Broadcaster()

    def end() -> None:
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        broadcaster.tell(
            "ended", {"text": f"The training has ended. To go on watching: {command('watch', path)}"}
        )
        ended.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), end)
    agent = shared.agent(shared.version).copy()
    source = Watch(agent, path.name, RunFolder(path), share=SHARE)
    copying = asyncio.create_task(_copy_newest(shared, agent, broadcaster))
    await web.serve(source, listening, host, broadcaster, ended, allowed, pipe.send)
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
