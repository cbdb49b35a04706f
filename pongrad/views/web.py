"""The web server behind the page: four files, one WebSocket, and viewers that can never hold anything up.

It answers only to pages it served itself: foreign Origin and Host headers are refused, unless the user allows
their names. From a page it takes one of a few short commands, never a path or code; any other message closes
the connection.
"""

import asyncio
import contextlib
import ipaddress
import json
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from pongrad.ground.errors import UserError

PORT = 8021
LOOPBACK = "127.0.0.1"
WINDOW = 6
"""Moments that may be on their way to a viewer, who says when each has been drawn."""
MOST_VIEWERS = 100
LONGEST_COMMAND = 200
"""Bytes a message from the page may have."""
MOST_HINTS = 10
"""Lines about refused names, one a name; the refused clients choose the names."""

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/filters.js": ("filters.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Viewer:
    """One open page: what is still to be sent to it, which is never more than a few messages."""

    def __init__(self) -> None:
        self._states: dict[str, str | bytes] = {}
        self._moments: deque[bytes] = deque()
        self._flying = 0
        self._news = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether it has drawn nearly all that it was sent."""
        return self._flying + len(self._moments) < WINDOW

    def tell(self, kind: str, message: str | bytes) -> None:
        """Send how things stand; of each kind only the newest counts."""
        self._states[kind] = message
        self._news.set()

    def show(self, moment: bytes) -> None:
        """Send a moment, unless it is behind: then it misses this one."""
        if self.has_room:
            self._moments.append(moment)
            self._news.set()

    def drew(self) -> None:
        """It says that it has drawn one more moment."""
        self._flying = max(0, self._flying - 1)

    async def send(self, websocket: WebSocket) -> None:
        """Send what there is, as fast as the other side takes it."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._states or self._moments:
                if self._states:
                    message = self._states.pop(next(iter(self._states)))
                else:
                    message = self._moments.popleft()
                    self._flying += 1
                if isinstance(message, str):
                    await websocket.send_text(message)
                else:
                    await websocket.send_bytes(message)


class Broadcaster:
    """All viewers together.

    Attributes:
        viewers: those who are looking now.
    """

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self._states: dict[str, str | bytes] = {}
        self._last: bytes | None = None
        self._filled = asyncio.Event()

    async def wait_for_viewers(self) -> None:
        """Wait until there is a viewer."""
        while not self.viewers:
            self._filled.clear()
            await self._filled.wait()

    @property
    def has_room(self) -> bool:
        """Whether a viewer could draw one more moment."""
        return any(viewer.has_room for viewer in self.viewers)

    def tell(self, kind: str, message: str | bytes | dict[str, Any]) -> None:
        """Send a state to all viewers, and to those who connect later."""
        if isinstance(message, dict):
            message = json.dumps({"kind": kind, **message})
        self._states[kind] = message
        for viewer in self.viewers:
            viewer.tell(kind, message)

    def show(self, moment: bytes) -> None:
        """Show all viewers a moment; a viewer who comes while nothing moves sees the last one."""
        self._last = moment
        for viewer in self.viewers:
            viewer.show(moment)

    def enter(self, viewer: Viewer) -> None:
        """Bring a new viewer up to date."""
        for kind, message in self._states.items():
            viewer.tell(kind, message)
        if self._last is not None:
            viewer.show(self._last)
        self.viewers.add(viewer)
        self._filled.set()


class PageSource(Protocol):
    """What a page shows."""

    async def run(self, broadcaster: Broadcaster) -> None:
        """Show it until cancelled."""

    def handle(self, command: dict[str, Any]) -> None:
        """Do what a viewer asks for.

        Raises:
            ValueError: there is no such command.
        """


class _Guard:
    """Lets only requests in that name this server as it is known, from pages that it served.

    Another site cannot reach it by having its own name lead here (DNS rebinding). Names that the user allows
    are let in with http and https and any port, since a proxy may have others than this server.
    """

    def __init__(self, app: ASGIApp, host: str, allowed: Sequence[str], say: Callable[[str], None]) -> None:
        self._app = app
        self._say = say
        self._said: set[str] = set()
        self._allowed = {name.lower() for name in allowed}
        self._names = {"localhost", LOOPBACK, "::1", host.lower()} | self._allowed
        self._everywhere = host in ("0.0.0.0", "::")
        if self._everywhere:
            name = socket.gethostname().lower()
            self._names |= {name, f"{name}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        foreign = None if scope["type"] == "lifespan" else self._foreign(Headers(scope=scope))
        if foreign is None:
            await self._app(scope, receive, send)
            return
        name = foreign if _is_host_name(foreign) else "NAME"
        hint = (
            "This page answers only to names it knows: if this one is yours, "
            f"start it with --allow-host {name}"
        )
        await PlainTextResponse(hint + "\n", 403, _HEADERS)(scope, receive, send)
        if scope["type"] == "websocket" and name not in self._said and len(self._said) < MOST_HINTS:
            self._said.add(name)  # no browser shows what a refused WebSocket was told
            self._say(hint)

    def _foreign(self, headers: Mapping[str, str]) -> str | None:
        """The first name in the headers that is not ours; None: all are."""
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _host_name(f"//{host}")
        if name not in self._names and not (self._everywhere and _is_address(name)):
            return name
        if origin is None or origin == f"http://{host}":
            return None
        name = _host_name(origin)
        return None if name in self._allowed and origin.startswith(("http://", "https://")) else name


def check_host_names(names: Sequence[str]) -> None:
    """Raise UserError if one of the names to be allowed is none."""
    for name in names:
        if not _is_host_name(name):
            raise UserError(f"--allow-host takes a host's name, such as my.machine.example, not {name!r}")


def _is_host_name(text: str) -> bool:
    """Whether it can be a host's name; such a text is harmless in a terminal, too."""
    return bool(re.fullmatch(r"[\w.-]{1,253}", text, re.ASCII)) or ("%" not in text and _is_address(text))


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Whether it is a bare number, which no foreign page's name can be made to look like."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def app(
    source: PageSource,
    broadcaster: Broadcaster,
    host: str,
    allowed: Sequence[str],
    say: Callable[[str], None],
) -> ASGIApp:
    """The page of a source, as it is served on this host; see `serve`."""
    page = files("pongrad.views") / "page"

    def serve_file(name: str, kind: str) -> Callable[[Request], Response]:
        content = (page / name).read_bytes()
        return lambda request: Response(content, media_type=kind, headers=_HEADERS)

    async def meet(websocket: WebSocket) -> None:
        await websocket.accept()
        if len(broadcaster.viewers) >= MOST_VIEWERS:
            await websocket.close(1013, "too many viewers")
            return
        viewer = Viewer()
        broadcaster.enter(viewer)
        sending = asyncio.create_task(viewer.send(websocket))
        try:
            await _listen(websocket, viewer, source)
        finally:
            broadcaster.viewers.discard(viewer)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sending

    routes = [Route(path, serve_file(*file), methods=["GET"]) for path, file in _FILES.items()]
    return _Guard(Starlette(routes=[*routes, WebSocketRoute("/socket", meet)]), host, allowed, say)


async def _listen(websocket: WebSocket, viewer: Viewer, source: PageSource) -> None:
    """Do what the page asks for, until it closes or sends an unknown command."""
    async for text in _texts(websocket):
        try:
            command = json.loads(text)
            if command == {"drew": 1}:
                viewer.drew()
            elif isinstance(command, dict):
                source.handle(command)
            else:
                raise ValueError
        except (ValueError, RecursionError):
            await websocket.close(1008, "no such command")
            return


async def _texts(websocket: WebSocket) -> AsyncIterator[str]:
    while (message := await websocket.receive())["type"] == "websocket.receive":
        yield message.get("text") or ""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: any that is free.

    Raises:
        UserError: the address or the port cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host}, port {port} ({reason}): give another --port or --host"
        ) from error


def url(listening: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}/"


def _print(text: str) -> None:
    print(text, flush=True)


async def serve(
    source: PageSource,
    listening: socket.socket,
    host: str,
    broadcaster: Broadcaster,
    ended: asyncio.Event | None = None,
    allowed: Sequence[str] = (),
    say: Callable[[str], None] = _print,
) -> None:
    """Serve a source's page until cancelled, or until `ended` is set.

    Args:
        source: what the page shows.
        listening: from `listen`.
        host: what was listened on.
        broadcaster: the page's viewers.
        ended: set when it is to end.
        allowed: names of other hosts under which it answers, too.
        say: is given a line when a page under another name was refused.
    """
    config = uvicorn.Config(
        app(source, broadcaster, host, allowed, say),
        log_level="critical",
        ws="websockets-sansio",
        ws_max_size=LONGEST_COMMAND,
        ws_per_message_deflate=False,  # what is sent is small already
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    others = [asyncio.create_task(source.run(broadcaster))]
    if ended:
        others.append(asyncio.create_task(_true(ended)))
    await asyncio.wait([serving, *others], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    for task in others:
        if not task.done():
            task.cancel()
    await asyncio.wait(others)
    await serving
    for task in others:
        if not task.cancelled():
            task.result()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command."""
        yield


async def _true(event: asyncio.Event) -> None:
    await event.wait()
