"""The figures that `make docs` has made, and the widgets' data: all there, and true."""

import functools
import http.server
import json
import re
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from pongrad import classic, classic_conv
from pongrad.ground.parallel import blas_in_one_thread

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS))

import figures  # noqa: E402
import figures_classic  # noqa: E402
import figures_fast  # noqa: E402
import mistakes  # noqa: E402
import scenes  # noqa: E402

MADE = DOCS / "figures"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def data(name):
    return json.loads((MADE / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def errors():
    with blas_in_one_thread():
        return {mistake.wrong.__name__: pair for mistake, *pair in mistakes.errors(scenes.lived())}


# --- Figures --------------------------------------------------------------------------------------------


def test_every_figure_that_a_page_names_is_made():
    pages = [path.read_text() for path in DOCS.rglob("*.md") if MADE not in path.parents]
    named = {name for page in pages for name in re.findall(r"figures/([\w-]+)\.png", page)}
    assert named and named <= set(figures.DRAWN)


@pytest.mark.parametrize("name", figures.DRAWN)
def test_a_figure_is_twice_as_wide_as_a_page_and_not_blank(name):
    with Image.open(MADE / f"{name}.png") as picture:
        assert picture.width == round(figures_classic.WIDTH * figures.DPI)
        assert len(picture.convert("RGB").getcolors(2**24)) > 10


def test_an_unknown_figure_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["figures.py", "nothing"])
    with pytest.raises(SystemExit, match="there is no figure nothing"):
        figures.main()


# --- Checks and mistakes --------------------------------------------------------------------------------


def test_the_gradient_check_finds_the_right_gradient_right():
    with blas_in_one_thread():
        pairs = figures_classic.gradient_pairs()
    assert pairs.keys() == {"W1", "W2"}
    for by_hand, by_slope in pairs.values():
        assert len(by_hand) == 200 and np.abs(by_slope).max() > 0.1
        assert mistakes.relative_error(by_hand, by_slope) < 1e-6


def test_there_are_the_five_mistakes(errors):
    assert list(errors) == [
        "relu_not_masked",
        "difference_of_the_same_array",
        "discount_across_points",
        "wrong_sign",
        "one_step_for_all",
    ]


def test_each_check_passes_the_right_function_and_fails_the_wrong_one(errors):
    for right, wrong in errors.values():
        assert right < mistakes.PASSES_BELOW < 1e-2 < wrong <= 1


def test_the_same_array_makes_a_difference_of_nothing():
    screens, previous = scenes.lived().screens[:20], None
    for screen in screens:
        x, previous = mistakes.difference_of_the_same_array(screen, previous)
        assert not x.any()


def test_the_clipped_objective_is_ppos():
    ratios = np.linspace(0.5, 1.5, 11)
    for advantage in (1.0, -1.0):
        want = np.minimum(ratios * advantage, ratios.clip(0.8, 1.2) * advantage)
        np.testing.assert_allclose(figures_fast.clipped(ratios, advantage), want, rtol=1e-12)


def test_the_convolution_is_the_sum_over_the_patch():
    _, x = scenes.processed()
    weights = classic_conv.initial_weights(np.random.default_rng(1))
    h, _ = classic_conv.forward(classic_conv.cut_patches(x[None]), weights)
    patch = x[4 * 5 : 4 * 5 + 8, 4 * 7 : 4 * 7 + 8]
    want = np.maximum((weights["W1"] * patch.ravel()).sum(axis=1), 0)
    np.testing.assert_allclose(h.reshape(19, 19, 16)[5, 7], want, atol=1e-12)


@pytest.mark.parametrize("name", ["classic_learning", "fast_learning"])
def test_the_committed_curves_have_three_panels(name):
    picture = np.asarray(Image.open(scenes.RESULTS / f"{name}.png").convert("RGB"))
    widths = [right - left for left, right in figures_fast.panels(picture)]
    assert max(widths) - min(widths) <= 3 and min(widths) > 300


# --- Widgets --------------------------------------------------------------------------------------------


def rewards_of(game):
    rewards = np.zeros(game["steps"])
    for step, reward in game["rewards"]:
        rewards[step] = reward
    return rewards


def test_the_widgets_game_is_a_real_one():
    """It ends with one side's twenty-first point; played again it is the same."""
    rewards = rewards_of(data("gamma"))
    assert max((rewards == 1).sum(), (rewards == -1).sum()) == 21 and rewards[-1] != 0
    np.testing.assert_array_equal(scenes.played().rewards, rewards)


def test_its_returns_are_the_lessons():
    game = data("gamma")
    assert game["gamma"] == classic.gamma
    np.testing.assert_allclose(game["returns"], classic.discount(rewards_of(game)), atol=1e-4)


def test_the_six_steps_are_the_lessons():
    screen, *_, flat, x = [result for *_, result in figures_classic.steps()]
    np.testing.assert_array_equal(flat, classic.preprocess(screen))
    np.testing.assert_array_equal(x, scenes.processed()[1].ravel())
    assert set(np.unique(x)) == {-1, 0, 1}


def test_each_of_the_six_steps_has_its_picture():
    steps = data("six-steps")
    assert len(steps) == 7
    for step in steps[:5]:
        rows, columns = step["shape"].split(" x ")[:2]
        with Image.open(MADE / step["picture"]) as picture:
            assert picture.size == (int(columns), int(rows))


def test_every_neuron_has_a_picture_of_every_stage():
    about = data("neuron")
    assert about["stages"][0] == "untrained" and len(about["stages"]) == len(scenes.ages())
    with Image.open(MADE / about["picture"]) as picture:
        assert picture.size == (
            about["neurons"] * about["width"],
            len(about["stages"]) * about["height"],
        )


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing: apt-get install chromium")
def test_the_slider_computes_the_lessons_returns(monkeypatch):
    """With any gamma the widget says what `classic.discount` says."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(DOCS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    html = (
        '<div class="widget" data-widget="gamma"><img src="/figures/returns.png" alt=""></div>'
        '<script src="/widgets/widgets.js"></script>'
    )
    rewards = rewards_of(data("gamma"))
    set_to = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.route(f"{address}page", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(f"{address}page")
        gamma, step = page.get_by_label("gamma", exact=True), page.get_by_label("step", exact=True)
        for value in (0.8, 0.95, 0.99, 1.0):
            monkeypatch.setattr(classic, "gamma", value)
            gamma.evaluate(set_to, str(value))
            for t in (0, 200, 260, 599):
                step.evaluate(set_to, str(t))
                want = classic.discount(rewards)[t]
                page.wait_for_function(f"document.body.innerText.includes('Step {t} has the return')")
                said = re.search(r"has the return (-?[\d.]+):", page.inner_text("body"))
                assert float(said[1]) == pytest.approx(want, abs=6e-4)
        browser.close()
    server.shutdown()
