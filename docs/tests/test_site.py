"""The site that `make docs` has built, in a real browser: Debian's Chromium, without a window."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

SITE = Path(__file__).parents[2] / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing: apt-get install chromium")
PATIENCE = 20_000  # milliseconds
expect.set_options(timeout=PATIENCE)

WIDGETS = [
    ("gamma", "lesson/05-what-a-point-teaches.html"),
    ("six-steps", "lesson/02-from-screen-to-numbers.html"),
    ("neuron", "lesson/08-seeing-it-learn.html"),
]
WHAT_IT_SHOWS = """widget => widget.innerHTML
    + [...widget.querySelectorAll("canvas")].map(canvas => canvas.toDataURL())
    + [...widget.querySelectorAll("input, select")].map(control => control.value)"""
TOO_WIDE = """width => document.documentElement.scrollWidth <= width ? [] :
    [...document.querySelectorAll(".md-content *")]
        .filter(part => part.getBoundingClientRect().right > width + 1)
        .slice(0, 3).map(part => part.outerHTML.slice(0, 80))"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    assert PAGES, "there is no site: run make docs"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser, address):
    """Open pages; nothing may go wrong in them, and no request may leave the local server."""
    contexts, problems = [], []

    def make(**options):
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()

        def note(what):
            problems.append(f"{page.url}: {what}")

        def requested(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                return route.continue_()
            note(f"asks for {route.request.url}")
            return route.abort()

        context.route("**/*", requested)
        page.on("pageerror", lambda error: note(error))
        page.on("console", lambda message: message.type in ("error", "warning") and note(message.text))
        page.on("response", lambda answer: answer.status >= 400 and note(f"{answer.status} {answer.url}"))
        return page

    yield make
    for context in contexts:
        context.close()
    assert not problems


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_every_page_opens(new_page, address, width, scheme):
    """In the system's colours, with all its pictures, and no wider than the window."""
    page, wrong = new_page(viewport={"width": width, "height": 900}, color_scheme=scheme), []
    for name in PAGES:
        page.goto(address + name)
        expect(page.locator("body")).to_have_attribute(
            "data-md-color-scheme", "slate" if scheme == "dark" else "default"
        )
        page.wait_for_load_state("networkidle")
        missing = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
        wrong += [(name, "missing", missing)] if missing else []
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wrong.append((name, "too wide", page.evaluate(TOO_WIDE, width)))
        if page.locator("merror, .arithmatex").count():
            wrong.append((name, "a formula is not drawn", ""))
    assert not wrong


def test_no_link_is_broken(new_page, address):
    """Every link inside the site leads to a file, and its anchor to a part of that page."""
    page, links, parts = new_page(), [], {}
    for name in PAGES:
        page.goto(address + name)
        links += [(name, link) for link in page.evaluate("[...document.links].map(a => a.href)")]
        parts[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(part => part.id)"))
    broken = []
    for name, link in links:
        if link.startswith(address):
            target, _, anchor = link.removeprefix(address).partition("#")
            target = target or "index.html"
            if not (SITE / target).is_file() or (anchor and anchor not in parts[target]):
                broken.append((name, link))
    assert len(links) > 100 and not broken


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)], ids=str)
@pytest.mark.parametrize(("widget", "name"), WIDGETS)
def test_widgets_answer(new_page, address, widget, name, size):
    """To the keyboard and, on a phone, to a finger; what they show changes."""
    page = new_page(viewport=dict(zip(("width", "height"), size, strict=True)), has_touch=size[0] == 390)
    page.goto(address + name)
    part = page.locator(f".widget[data-widget={widget}]")
    controls = part.locator("input, button, select").filter(visible=True)
    expect(controls.first).to_be_enabled()

    def changes(act):
        before = part.evaluate(WHAT_IT_SHOWS)
        act()
        page.wait_for_function(
            f"([widget, before]) => ({WHAT_IT_SHOWS})(widget) !== before", arg=[part.element_handle(), before]
        )

    for control in controls.all():
        if control.is_enabled():
            key = "Enter" if control.evaluate("control => control.tagName") == "BUTTON" else "ArrowLeft"
            changes(lambda control=control, key=key: control.press(key))
    if size[0] == 390:
        box = controls.first.bounding_box()
        assert box["height"] >= 24, "too small for a finger"
        x = box["width"] * 0.3
        changes(lambda: controls.first.tap(position={"x": x, "y": box["height"] / 2}))
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize(("widget", "name"), WIDGETS)
def test_without_javascript_a_widget_is_a_picture(new_page, address, widget, name):
    page = new_page(java_script_enabled=False)
    page.goto(address + name)
    picture = page.locator(f".widget[data-widget={widget}] img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.naturalWidth") > 0 and picture.get_attribute("alt")


def test_search_finds(new_page, address):
    page = new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.locator("[data-md-component=search-query]").click()
    page.keyboard.insert_text("discoun")  # at once: the theme's search warns about some single letters
    page.keyboard.type("t")
    expect(page.locator(".md-search-result__link").first).to_be_visible()
