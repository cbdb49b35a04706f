"""The live page's server: who may talk to it, what it takes, and that no viewer can hold anything up."""

import asyncio
import contextlib
import functools
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import FAST_VISION
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync import client as websocket

from pongrad.ground.errors import UserError
from pongrad.runs.folder import RunFolder
from pongrad.views import web
from pongrad.views.moments import moments
from pongrad.views.pictures import neurons
from pongrad.views.watch import MOMENT, NEURONS, Watch, encode, neurons_message

PATIENCE = 60  # seconds until something that must come counts as missing
connect = functools.partial(websocket.connect, open_timeout=PATIENCE)


@contextlib.contextmanager
def served(*args):
    """A command that serves a page, with what it said, its address and its process."""
    line = [sys.executable, "-u", "-m", "pongrad", *map(str, args)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = ""
        while not (found := re.search(r"http://([^/]+):(\d+)/", said)):
            text = process.stdout.readline()
            assert text, said
            said += text
        host, port = found[1], int(found[2])
        yield SimpleNamespace(process=process, host=host, port=port, socket=f"ws://{host}:{port}/socket")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def page(agent_file):
    with served("watch", agent_file, "--port", 0) as page:
        yield page


def get(page, path, method="GET", **headers):
    connection = http.client.HTTPConnection(page.host, page.port, timeout=PATIENCE)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


def knock(page, host, origin=None):
    """Connect as one who asks for this host."""
    line = socket.create_connection((page.host, page.port))
    return connect(f"ws://{host}/socket", sock=line, origin=origin)


def receive(client, want):
    """The next message of a kind: a kind of JSON, or the first byte of a binary one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = client.recv(timeout=PATIENCE)
        if isinstance(message, str) and isinstance(want, str):
            message = json.loads(message)
            if message["kind"] == want:
                return message
        elif isinstance(message, bytes) and message[0] == want:
            return message
    raise AssertionError(f"no {want}")


def count_moments(client, seconds):
    """How many moments come until none has come for so long."""
    count = 0
    with contextlib.suppress(TimeoutError):
        while True:
            message = client.recv(timeout=seconds)
            count += isinstance(message, bytes) and message[0] == MOMENT
    return count


def say(client, **command):
    client.send(json.dumps(command))


def test_the_page_is_four_files_and_nothing_else(page):
    begin = {"/": b"<!doctype html>", "/page.js": b"//", "/filters.js": b"//", "/page.css": b":root"}
    for path, begins in begin.items():
        status, body = get(page, path)
        assert status == 200 and body.startswith(begins)
    for path in (
        "/web.py", "/../web.py", "/%2e%2e/web.py", "/page.js/../../web.py", "/..%2fweb.py", "//etc/passwd",
        "/champion.safetensors", "/index.html/", "/page.js%00", "/etc/passwd", "/page/page.js",
    ):  # fmt: skip
        assert get(page, path)[0] == 404, path
    assert get(page, "/", method="POST")[0] == 405


def test_foreign_hosts_and_origins_are_refused(page):
    ours = f"127.0.0.1:{page.port}"
    assert get(page, "/", Host=ours)[0] == 200
    assert get(page, "/", Host=f"localhost:{page.port}", Origin=f"http://localhost:{page.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{page.port}", "", "127.0.0.1.evil.example", "[", "192.0.2.1"):
        assert get(page, "/", Host=host)[0] in (400, 403), host
    for origin in ("http://evil.example", "null", f"https://{ours}", "http://127.0.0.1", "http://localhost"):
        assert get(page, "/", Host=ours, Origin=origin)[0] == 403, origin
        with pytest.raises(InvalidStatus) as refused, connect(page.socket, origin=origin):
            pass
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refused, knock(page, "evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with connect(page.socket, origin=f"http://{ours}") as client:
        receive(client, "hello")


def test_it_listens_on_loopback_unless_told_otherwise(page):
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(page.process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]
    everywhere = web._Guard(None, "0.0.0.0", (), print)
    for host, known in (("192.0.2.7:80", True), (socket.gethostname(), True), ("evil.example", False)):
        assert (everywhere._foreign({"host": host}) is None) is known


@pytest.mark.parametrize(
    "nonsense",
    ["", "hello", "[1]", "{}", "null", '{"speed": "light"}', '{"speed": ["slow"]}', '{"pause": 1}',
     '{"step": 7}', '{"step": 1, "pause": true}', '{"load": "/etc/passwd"}', '{"drew": 2}',
     "[" * 200, b"\x00\xff", b'{"step": 1}'],
)  # fmt: skip
def test_nonsense_closes_the_line_and_nothing_else(page, nonsense):
    closes_the_line_and_nothing_else(page, nonsense, 1008)


def test_an_oversized_message_closes_the_line_and_nothing_else(page):
    closes_the_line_and_nothing_else(page, "x" * (web.LONGEST_COMMAND + 1), 1009)


def closes_the_line_and_nothing_else(page, message, code):
    with connect(page.socket) as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.send(message)
            while True:
                client.recv(timeout=PATIENCE)
        assert closed.value.rcvd.code == code
    with connect(page.socket) as client:
        receive(client, "hello")


def test_a_viewer_is_sent_what_it_can_draw(page):
    with connect(page.socket) as client:
        hello = receive(client, "hello")
        assert (hello["mode"], hello["shape"], hello["channels"], hello["units"]) == (
            "watch",
            list(FAST_VISION.shape),
            2,
            20,
        )
        for _ in range(3):
            receive(client, MOMENT)
        assert count_moments(client, 1.0) == web.WINDOW - 3
        say(client, drew=1)
        receive(client, MOMENT)
        assert count_moments(client, 1.0) == 0


def test_pause_step_and_speed(page):
    with connect(page.socket) as client:
        say(client, pause=True)
        while not receive(client, "status")["paused"]:
            pass
        count_moments(client, 0.5)
        for _ in range(web.WINDOW):
            say(client, drew=1)
        assert count_moments(client, 0.5) == 0  # it has room, but is paused
        say(client, step=1)
        moment = receive(client, MOMENT)
        assert moment[2] == 4  # frames
        assert count_moments(client, 0.5) == 0
        with connect(page.socket) as other:  # who comes now sees where it stands
            assert receive(other, "status")["paused"]
            assert receive(other, MOMENT) == moment
        say(client, speed="fast")
        say(client, step=1)
        assert receive(client, "status")["speed"] == "fast"
        assert receive(client, MOMENT)[2] == 1
        say(client, speed="real")
        say(client, pause=False)
        receive(client, MOMENT)


def test_one_that_never_reads_holds_nobody_up(page):
    """Nor does it make the server keep anything for it."""
    lazy = []
    for _ in range(5):
        line = socket.create_connection((page.host, page.port))
        line.sendall(
            f"GET /socket HTTP/1.1\r\nHost: {page.host}:{page.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        lazy.append(line)
    with connect(page.socket) as client:
        say(client, speed="fast")
        for _ in range(200):
            receive(client, MOMENT)
            say(client, drew=1)
        say(client, speed="real")
    for line in lazy:
        line.close()


def test_more_viewers_than_enough_are_turned_away(page):
    with contextlib.ExitStack() as stack:
        for _ in range(web.MOST_VIEWERS):
            stack.enter_context(connect(page.socket))
        late = stack.enter_context(connect(page.socket))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                late.recv(timeout=PATIENCE)
        assert closed.value.rcvd.code == 1013


def test_nothing_is_played_while_nobody_looks(new_agent):
    class Counted(Watch):
        played = 0

        def _games(self, emulator):
            for moment in super()._games(emulator):
                self.played += 1
                yield moment

    async def look_for_a_while():
        show, broadcaster = Counted(new_agent(hidden=(20,)), "agent", None), web.Broadcaster()
        show.handle({"speed": "fast"})
        playing = asyncio.create_task(show.run(broadcaster))
        await asyncio.sleep(0.3)
        before = show.played
        viewer = web.Viewer()
        broadcaster.enter(viewer)
        while show.played < web.WINDOW:
            await asyncio.sleep(0.01)
        broadcaster.viewers.clear()
        await asyncio.sleep(0.3)
        playing.cancel()
        return before, show.played

    assert asyncio.run(look_for_a_while()) == (0, web.WINDOW)


def test_a_viewer_keeps_at_most_one_of_each_kind():
    """Whatever is told and shown while it does not read."""

    async def flood():
        viewer = web.Viewer()
        for i in range(1000):
            viewer.tell("run", f"news {i}")
            viewer.tell("neurons", bytes(10))
            viewer.show(bytes(10))
        return viewer

    viewer = asyncio.run(flood())
    assert viewer._states == {"run": "news 999", "neurons": bytes(10)}
    assert len(viewer._moments) == web.WINDOW and not viewer.has_room


def test_a_moment_comes_across_whole(new_agent, new_game, emulator):
    agent = new_agent(hidden=(20,), critic=True, vision=FAST_VISION)
    *_, moment = (moment for moment, _ in zip(moments(agent, new_game(), emulator), range(50), strict=False))
    message = encode(3, moment, whole=True)
    kind, action, frames, actions, units, inputs, number, step, won, lost, value = struct.unpack_from(
        "<4BHHII3f", message
    )
    assert (kind, action, won, lost, frames, units) == (MOMENT, moment.action, moment.won, moment.lost, 4, 20)
    assert (actions, number, step, value) == (6, 3, 49, np.float32(moment.value))
    at = struct.calcsize("<4BHHII3f")

    def take(dtype, count):
        nonlocal at
        part = np.frombuffer(message, dtype, count, at)
        at += part.nbytes
        return part

    seen = np.zeros(moment.inputs.size)
    places, values = take("<u2", inputs), take("i1", inputs)
    seen[places] = values
    np.testing.assert_array_equal(seen, moment.inputs.ravel())
    np.testing.assert_array_equal(take("<f4", actions), moment.probabilities)
    np.testing.assert_array_equal(take("<f4", units), moment.hidden)
    for frame in moment.frames:
        (count,) = take("<u4", 1)
        lengths, colours = take("<u4", count), take("u1", 3 * count).reshape(-1, 3)
        np.testing.assert_array_equal(colours.repeat(lengths, axis=0), frame.reshape(-1, 3))
    assert at == len(message) < 8000  # small, too: 120 KB a second


def test_the_neurons_come_across_whole(new_agent):
    agent = new_agent(hidden=(20,))
    message = neurons_message(agent)
    assert tuple(message[:4]) == (NEURONS, 20, 20, 0)
    weights = np.frombuffer(message, np.int8, offset=4).reshape(20, 20, 20) / 127
    np.testing.assert_allclose(weights, neurons(agent, 20), atol=0.005)


def test_a_show_that_breaks_is_not_hidden():
    class Broken:
        async def run(self, broadcaster):
            raise RuntimeError("broken")

    listening = web.listen(web.LOOPBACK, 0)
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(web.serve(Broken(), listening, web.LOOPBACK, web.Broadcaster()))


def test_a_port_in_use_is_one_clear_line(page):
    with pytest.raises(UserError, match=f"port {page.port} .*: give another --port"):
        web.listen(web.LOOPBACK, page.port)
    with pytest.raises(UserError, match="give another --port"):
        web.listen(web.LOOPBACK, 70_000)


def test_ctrl_c_ends_it(agent_file):
    with served("watch", agent_file, "--port", 0) as page, connect(page.socket) as client:
        receive(client, MOMENT)
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(timeout=PATIENCE) == 130
        assert "Traceback" not in page.process.stdout.read()


TRAINING = ["--seed", 5, "--num-games", 4, "--rollout-steps", 500, "--num-hidden-layer-neurons", 20]


def test_a_run_is_shown_as_it_learns_and_learns_the_same(tmp_path):
    """Numbers and weights change under the viewer's eyes, it is told the end, and no byte is different."""
    run = tmp_path / "live"
    with served("train", *TRAINING, "--run", run, "--live") as page, connect(page.socket) as client:
        assert receive(client, "hello")["name"] == "live"
        weights, frames, stopping, ended = set(), set(), False, ""
        while not ended:
            message = client.recv(timeout=PATIENCE)
            if isinstance(message, bytes):
                if message[0] == MOMENT:
                    say(client, drew=1)
                else:
                    weights.add(message)
            else:
                news = json.loads(message)
                if news["kind"] == "run":
                    assert (news["recipe"], news["seed"]) == ("fast", 5)
                    frames.add(news["frames"])
                ended = news["kind"] == "ended" and news["text"]
            if len(weights) > 1 and len(frames) > 1 and not stopping:
                stopping = True
                page.process.send_signal(signal.SIGTERM)
        assert "The training has ended" in ended and "pongrad watch" in ended
        assert page.process.wait(timeout=PATIENCE) == 143
    stopped = RunFolder(run).load_checkpoint()
    flags = [*TRAINING, "--frames", stopped.progress.frames, "--run", tmp_path / "quiet"]
    line = [sys.executable, "-m", "pongrad", "train", *map(str, flags)]
    subprocess.run(line, check=True, capture_output=True)
    quiet = RunFolder(tmp_path / "quiet").load_checkpoint()
    assert quiet.progress.update == stopped.progress.update
    np.testing.assert_array_equal(quiet.weights["W1"], stopped.weights["W1"])


def test_when_training_is_killed_its_page_goes_too(tmp_path):
    with served("train", *TRAINING, "--run", tmp_path / "run", "--live") as page:
        with connect(page.socket) as client:
            receive(client, "hello")
        family = psutil.Process(page.process.pid).children(recursive=True)
        os.kill(page.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        assert len(family) > 2 and not alive
