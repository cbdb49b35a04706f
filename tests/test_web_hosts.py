"""The page behind a proxy or in a container, under the names that the user allows; and how signals end it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from test_web import MOMENT, PATIENCE, TRAINING, connect, get, knock, receive, say, served
from websockets.exceptions import InvalidStatus

from pongrad.ground.errors import UserError
from pongrad.learning.recipes import Fast
from pongrad.runs.folder import RunFolder
from pongrad.views import live, web

NAME = "my.machine.example"
HINT = f"start it with --allow-host {NAME}\n"


@pytest.fixture(scope="module")
def page(agent_file):
    with served("watch", agent_file, "--port", 0) as page:
        yield page


@pytest.fixture(scope="module")
def allowing(agent_file):
    names = ["--allow-host", NAME, "--allow-host", "Other.example", "--allow-host", "fe80::1"]
    with served("play", "--port", 0, *names) as page:
        yield page


def test_who_is_refused_is_told_what_to_do(page):
    status, body = get(page, "/", Host=f"{NAME}:8021")
    assert status == 403 and body.decode().endswith(HINT) and body.count(b"\n") == 1
    status, body = get(page, "/", Host=f"127.0.0.1:{page.port}", Origin=f"https://{NAME}")
    assert status == 403 and body.decode().endswith(HINT)


def test_no_text_but_a_name_comes_back(page):
    for host in ("<b>", "a b", "", "[", "[fe80::1%x]", "a" * 300, "\x9b31m"):
        status, body = get(page, "/", Host=host)
        assert status == 400 or (status == 403 and body.endswith(b"--allow-host NAME\n")), host


def test_a_refused_websocket_is_said_once_in_the_terminal(agent_file):
    with served("watch", agent_file, "--port", 0) as page:
        for origin in [f"https://{NAME}"] * 3 + [f"http://{i}.example" for i in range(20)]:
            with pytest.raises(InvalidStatus) as refused, connect(page.socket, origin=origin):
                pass
            assert b"--allow-host" in refused.value.response.body
        page.process.send_signal(signal.SIGTERM)
        lines = page.process.communicate(timeout=PATIENCE)[0].splitlines(keepends=True)
    assert lines[0].endswith(HINT) and sum(NAME in line for line in lines) == 1
    assert len(lines) == web.MOST_HINTS  # refused clients cannot fill the terminal


@pytest.mark.parametrize(
    "host", [NAME, f"{NAME}:8021", "MY.machine.example", "other.example", "[fe80::1]:81"]
)
def test_an_allowed_name_is_let_in(allowing, host):
    assert get(allowing, "/", Host=host)[0] == 200
    for origin in (None, f"http://{host}", f"https://{host}", f"https://{NAME}:8443"):
        with knock(allowing, host, origin) as client:
            assert receive(client, "hello")["mode"] == "play"


def test_a_proxy_may_ask_under_its_own_name(allowing):
    """Unless told otherwise, nginx sends its own view of the host, and the browser's Origin."""
    with connect(allowing.socket, origin=f"https://{NAME}") as client:
        receive(client, "hello")


def test_other_names_are_still_refused(allowing):
    for host in ("evil.example", f"{NAME}.evil.example", f"sub.{NAME}", "192.0.2.1"):
        assert get(allowing, "/", Host=host)[0] == 403, host
    for origin in ("https://evil.example", f"https://{NAME}.evil.example", f"ftp://{NAME}", NAME, "null"):
        for host in (NAME, f"127.0.0.1:{allowing.port}"):
            with pytest.raises(InvalidStatus) as refused, knock(allowing, host, origin):
                pass
            assert refused.value.response.status_code == 403


@pytest.mark.parametrize("name", ["https://a.example", "a.example:80", "*", "", "a b", "fe80::1%eth0"])
def test_what_is_no_name_is_refused_at_the_start(name):
    with pytest.raises(UserError, match="--allow-host takes a host's name"):
        web.check_host_names(["good.example", name])


def test_a_run_is_shown_where_and_as_whom_the_user_says(tmp_path):
    """The flags are the session's: the run does not keep them, and resumes with others."""
    run = tmp_path / "run"
    flags = [*TRAINING, "--run", run, "--live", "--port", 0]
    with served("train", *flags, "--host", "0.0.0.0", "--allow-host", NAME) as page:
        assert page.host == "localhost"
        assert get(page, "/", Host=NAME)[0] == get(page, "/", Host="192.0.2.7")[0] == 200
        assert get(page, "/", Host="evil.example")[0] == 403
        with pytest.raises(InvalidStatus), connect(page.socket, origin="https://evil.example"):
            pass
        while not re.search("--allow-host evil.example", line := page.process.stdout.readline()):
            assert line
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait(timeout=PATIENCE) == 143
    config = RunFolder(run).config()
    assert (config.host, config.port, config.allow_host) == ("127.0.0.1", None, ())
    with served("train", "--run", run, "--resume", "--live", "--port", page.port) as again:
        assert (again.host, again.port) == ("127.0.0.1", page.port)
        assert get(again, "/", Host=NAME)[0] == 403


def test_a_port_that_is_taken_is_refused_only_if_the_user_named_it(page, tmp_path, monkeypatch):
    line = [
        sys.executable,
        "-m",
        "pongrad",
        "train",
        "--live",
        "--port",
        str(page.port),
        "--run",
        tmp_path / "a",
    ]
    refused = subprocess.run(line, capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1, port {page.port}" in refused.stderr
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(web, "PORT", page.port)
    with live.listen(Fast(live=True)) as listening:
        assert listening.getsockname()[1] not in (0, page.port)


@pytest.mark.parametrize("flag", [{"host": "0.0.0.0"}, {"port": 8021}, {"allow_host": (NAME,)}])
def test_flags_of_the_page_need_the_page(flag):
    Fast(live=True, **flag).check()
    with pytest.raises(UserError, match="add --live"):
        Fast(**flag).check()
    assert Fast(**flag).hyperparameters == Fast().hyperparameters


@pytest.fixture(params=["watch", "play"])
def command(request, agent_file):
    return [request.param, *([agent_file] if request.param == "watch" else []), "--port", 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(command, number):
    with served(*command) as page, connect(page.socket) as client:
        receive(client, "hello")
        page.process.send_signal(number)
        assert page.process.wait(timeout=PATIENCE) == 128 + number
        assert page.process.stdout.read() == ""


@pytest.mark.parametrize("pause", [0.01, 0.05, 0.15, 0.3])
def test_a_second_signal_ends_it_quietly(command, pause):
    """Whatever it is doing then; a viewer that never reads makes its end take long."""
    with served(*command) as page, connect(page.socket) as client:
        lazy = socket.create_connection((page.host, page.port))
        lazy.sendall(f"GET / HTTP/1.1\r\nHost: {page.host}:{page.port}\r\n".encode())
        receive(client, "hello")
        page.process.send_signal(signal.SIGINT)
        time.sleep(pause)
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait(timeout=PATIENCE) in (130, 143)
        assert page.process.stdout.read() == ""
        lazy.close()


def test_a_second_signal_ends_one_that_hangs(agent_file):
    """The first asks it to end, but a game's step does not return; the second ends it all the same."""
    program = (
        "import sys, time\n"
        "from pongrad.cli import main\n"
        "from pongrad.views.watch import Watch\n"
        "async def run(self, broadcaster):\n"
        "    while True: time.sleep(0.01)\n"
        "Watch.run = run\n"
        f"main(['watch', {str(agent_file)!r}, '--port', '0'])\n"
    )
    line = [sys.executable, "-u", "-c", program]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert "plays at" in process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE)[0] == ""
        assert process.returncode == 130


def test_a_signal_at_the_start_is_quiet(command):
    """As soon as the page's own start has begun; what Python imports before is the command line's."""
    program = (
        "import sys\n"
        "from pongrad import cli\n"
        "source = cli._Page.run\n"
        "cli._Page.run = lambda self: (print('starts', flush=True), source(self))\n"
        f"cli.main({list(map(str, command))!r})\n"
    )
    for pause in (0.0, 0.1, 0.3):
        line = [sys.executable, "-u", "-c", program]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "starts\n"
            time.sleep(pause)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE)[1] == ""
            assert process.returncode == 130


def test_under_nohup_a_closed_terminal_does_not_end_it(agent_file):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the process inherits it
    try:
        with served("watch", agent_file, "--port", 0) as page, connect(page.socket) as client:
            page.process.send_signal(signal.SIGHUP)
            for _ in range(3 * web.WINDOW):
                receive(client, MOMENT)
                say(client, drew=1)
            assert page.process.poll() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_training_that_is_stopped_twice_leaves_no_page_and_no_word_of_it(tmp_path):
    with served("train", *TRAINING, "--run", tmp_path / "run", "--live", "--port", 0) as page:
        with connect(page.socket) as client:
            receive(client, MOMENT)
            family = psutil.Process(page.process.pid).children(recursive=True)
            for _ in range(2):
                os.kill(page.process.pid, signal.SIGTERM)
                time.sleep(0.02)
            assert page.process.wait(timeout=PATIENCE) in (-15, 143)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        assert family and not alive
        assert not re.search("Traceback|exception", page.process.stdout.read())
