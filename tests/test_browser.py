"""The page in a real browser: Debian's Chromium, without a window, driven by Playwright."""

import asyncio
import itertools
import re
import shutil
import signal
import threading
import time

import pytest
from conftest import ACTION_NAMES, FAST_VISION
from playwright.sync_api import expect, sync_playwright
from test_web import PATIENCE, TRAINING, served

from pongrad.views import web
from pongrad.views.duel import POINTS, Play

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing: apt-get install chromium")
expect.set_options(timeout=1000 * PATIENCE)
LOST = re.compile("connection lost")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page whose console must stay free of errors; those of a lost connection are the browser's own."""
    context = browser.new_context()
    page, errors = context.new_page(), []
    page.set_default_timeout(1000 * PATIENCE)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    yield page
    context.close()
    assert [error for error in errors if "WebSocket connection" not in error] == []


@pytest.fixture(scope="module")
def agent_file(new_agent, tmp_path_factory):
    """An agent that always goes down: an early stage."""
    path = tmp_path_factory.mktemp("agent") / "agent.safetensors"
    agent = new_agent(hidden=(20,), critic=True, vision=FAST_VISION)
    agent.network.weights["W1"][:], agent.network.weights["W2"][:] = 1, 0
    agent.network.weights["W2"][:, agent.action_names.index("LEFT")] = 1
    agent.save(path)
    return path


def picture(page, canvas="game"):
    return page.evaluate(f"document.getElementById('{canvas}').toDataURL()")


def until(page, condition):
    """Wait for something that the browser does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(30)


def changes(page, what):
    """Wait until it is another than now."""
    before = what()
    until(page, lambda: what() != before)


def stands_still(page):
    """Wait until the game's picture does not change for a third of a second."""

    def same():
        before = picture(page)
        page.wait_for_timeout(350)
        return picture(page) == before

    until(page, same)


def fits(page):
    """Nothing is wider than the window, and no part lies over another."""
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [
            box
            for part in page.locator("header, section, button, select, canvas, h2, dd, .legend span").all()
            if part.is_visible() and (box := part.bounding_box())
        ]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width + 0.5 for box in boxes)
        for kind in ("section, header", "button, fieldset, select, canvas, .big, h2"):
            parts = [part.bounding_box() for part in page.locator(kind).all() if part.is_visible()]
            for a, b in itertools.combinations(parts, 2):
                apart_x = a["x"] + a["width"] <= b["x"] + 0.5 or b["x"] + b["width"] <= a["x"] + 0.5
                apart_y = a["y"] + a["height"] <= b["y"] + 0.5 or b["y"] + b["height"] <= a["y"] + 0.5
                assert apart_x or apart_y, (width, a, b)


def test_a_real_training_run_is_drawn_live(page, tmp_path):
    """Game, probabilities, neurons, numbers and curve change, pause and step work; then it is killed."""
    with served("train", *TRAINING, "--run", tmp_path / "run", "--live") as server:
        page.goto(f"http://{server.host}:{server.port}/")
        expect(page.locator("#line")).to_have_text("connected")
        expect(page.locator("#name")).to_have_text("run plays ALE/Pong-v5 against the computer")
        for _ in range(3):
            changes(page, lambda: picture(page))
        for name in ("seen", "history", "neurons"):
            changes(page, lambda name=name: picture(page, name))
        expect(page.locator("#actions span")).to_have_text(list(ACTION_NAMES))
        expect(page.locator("#actions .taken")).to_have_count(1)
        changes(page, lambda: page.locator("#actions").inner_text())
        expect(page.locator("#firing")).to_have_text(re.compile(r"\d+ of 20 fire"))
        expect(page.locator("#recipe")).to_have_text("fast, seed 5")
        expect(page.locator("#score")).to_have_text(re.compile(r"−\d"))
        changes(page, lambda: page.locator("#frames").text_content())
        changes(page, lambda: picture(page, "curve"))
        fits(page)

        page.click("#pause")
        expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
        stands_still(page)
        before = picture(page)
        page.click("#step")
        until(page, lambda: picture(page) != before)
        stands_still(page)
        page.click("#pause")
        changes(page, lambda: picture(page))
        page.locator("label", has_text="slow").click()
        expect(page.locator("#speeds [value=slow]")).to_be_checked()

        server.process.send_signal(signal.SIGKILL)
        expect(page.locator("#line")).to_have_text(re.compile("The training has ended"))
        fits(page)


def test_a_convolutional_network_is_drawn_live(page, tmp_path):
    """What it is given, its filters, their maps and the layers above change as it plays and learns."""
    shape = ["--conv-filters", 4, 8, "--conv-kernels", 8, 4, "--conv-strides", 4, 2]
    flags = [*TRAINING, "--network", "conv", *shape, "--run", tmp_path / "run", "--live"]
    with served("train", *flags) as server:
        page.goto(f"http://{server.host}:{server.port}/")
        for name in ("game", "seen", "history", "filters"):
            changes(page, lambda name=name: picture(page, name))
        expect(page.locator("#first")).to_have_text("Layer 1: 4 filters, and where each fires")
        above = page.locator("#deeper h2")
        expect(above).to_have_text(
            ["Layer 2: 8 feature maps", re.compile(r"Layer 3: \d+ of 20 neurons fire")]
        )
        for canvas in page.locator("#deeper canvas").all():
            changes(page, lambda canvas=canvas: canvas.evaluate("canvas => canvas.toDataURL()"))
        expect(page.locator("#thinking")).to_be_hidden()
        changes(page, lambda: page.locator("#frames").text_content())
        fits(page)


def test_a_lost_connection_is_said_and_taken_up_again(page, agent_file):
    with served("watch", agent_file, "--port", 0) as server:
        page.goto(f"http://{server.host}:{server.port}/")
        expect(page.locator("#line")).to_have_text("connected")
    expect(page.locator("#line")).to_have_text(LOST)
    with served("watch", agent_file, "--port", server.port):
        expect(page.locator("#line")).to_have_text("connected")
        changes(page, lambda: picture(page))


@pytest.fixture
def table(agent_file):
    """A duel that is served from this process, so that its score can be looked at and set."""
    listening, ended, loop = web.listen(web.LOOPBACK, 0), asyncio.Event(), asyncio.new_event_loop()
    show = Play([("early stage", agent_file)])
    serving = web.serve(show, listening, web.LOOPBACK, web.Broadcaster(), ended)
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
    thread.start()
    show.url = web.url(listening)
    yield show
    loop.call_soon_threadsafe(ended.set)
    thread.join(PATIENCE)


def test_a_person_plays_a_game_to_its_end(page, table):
    page.goto(table.url)
    expect(page.locator("#right")).to_have_text("early stage")

    def mine():
        """The mean row of the left paddle's pixels on the page."""
        return page.evaluate("""() => {
            const data = game.getContext("2d").getImageData(17, 34, 1, 160).data, rows = [];
            for (let i = 0; i < 160; i++)
                if (Math.abs(data[4 * i] - 213) < 9 && Math.abs(data[4 * i + 1] - 130) < 9) rows.push(i);
            return rows.length ? rows.reduce((a, b) => a + b) / rows.length : null;
        }""")

    until(page, lambda: mine() is not None)
    fits(page)
    for up, down in (("ArrowUp", "ArrowDown"), ("w", "s")):
        page.keyboard.down(down)
        until(page, lambda: mine() > 110)
        page.keyboard.up(down)
        page.keyboard.down(up)
        until(page, lambda: mine() < 50)
        page.keyboard.up(up)
    box = page.locator("#lower").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)  # as a finger does: pointer events
    page.mouse.down()
    until(page, lambda: mine() > 110)
    page.mouse.up()

    def score():
        return [int(page.locator(name).text_content()) for name in ("#lost", "#won")]

    def serve_until(what):
        def served():
            page.keyboard.press("Space")
            page.wait_for_timeout(100)
            return what()

        until(page, served)

    serve_until(lambda: score() != [0, 0])
    assert sum(score()) == sum(table._duel.points) > 0
    page.keyboard.press("p")
    expect(page.locator("#says")).to_have_text("Paused")
    stands_still(page)
    page.keyboard.press("p")
    expect(page.locator("#says")).to_have_text("")

    table._duel.points[:] = POINTS - 1, POINTS - 1  # the points between are left out
    serve_until(lambda: max(score()) == POINTS)
    expect(page.locator("#says")).to_have_text(re.compile(r"You (win|lose), \d+ to \d+. Rematch\?"))
    page.click("#rematch")
    expect(page.locator("#says")).to_have_text("")
    assert score() == [0, 0]
    changes(page, lambda: picture(page))
