"""Figures in a browser: they draw, are read by keyboard, and ask for nothing."""

import os
import shutil

import numpy as np
import pytest

import keras_transformer as kt
from tests.visualize import figure_models as models

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as runner:
        chromium = runner.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_figure(browser, tmp_path):
    """Opens a figure from the disk; whatever goes wrong on its page fails the test."""
    wrong, pages = [], []

    def opened(figure, width=1000, theme="light", in_frame=False):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
        pages.append(page)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        page.on("request", lambda one: one.url.startswith("file:") or wrong.append(one.url))
        path = tmp_path / f"{len(pages)}.html"
        text = figure._repr_html_() if in_frame else figure.html()
        head = "<!DOCTYPE html><meta charset=utf-8><title>notebook</title>" if in_frame else ""
        path.write_text(head + text, encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_timeout(100)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not wrong


def is_drawn(page, selector="canvas"):
    """Whether a canvas has, or soon gets, pixels of more than one color."""
    return page.wait_for_function(
        """selector => {
            const canvas = document.querySelector(selector);
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size > 1;
        }""",
        arg=selector,
    )


@pytest.fixture(scope="module")
def figures():
    model, inputs, words = models.translator(), models.sources_and_targets(), models.Words()
    view = kt.visualize
    return {
        "plot_attention": view.plot_attention(model, inputs, tokens=words),
        "head_view": view.head_view(model, inputs, tokens=words),
        "model_view": view.model_view(model, inputs, tokens=words),
        "logit_lens": view.logit_lens(model, inputs, tokens=words),
        "saliency": view.saliency(model, inputs, tokens=words),
        "beam_tree": view.beam_tree(model, [5, 9, 3], 2, tokens=words, max_length=4),
        "positions": view.plot_positions(model, 9),
        "vit": view.plot_vit_attention(models.vit(), np.ones((20, 20, 3))),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_figure_draws_itself(figures, open_figure, width, theme):
    for figure in figures.values():
        page = open_figure(figure, width, theme)
        assert page.locator("h1").inner_text() == figure.title
        if page.locator("canvas").count():
            assert is_drawn(page)
        assert page.locator("script").count() == 2
        too_wide = "document.documentElement.scrollWidth > innerWidth"
        assert not page.evaluate(too_wide), figure


def test_a_figure_in_a_notebook(figures, open_figure):
    page = open_figure(figures["head_view"], in_frame=True)
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").inner_text() == "Head view"
    assert frame.locator(".kt-left .kt-token").count() == 7


def test_awkward_tokens_are_text(open_figure):
    size = len(models.AWKWARD)
    words = {"source": models.AWKWARD, "target": ["a", "b"]}
    inputs = {"source_ids": [list(range(4, 4 + size))], "target_ids": [[2, 5]]}
    figure = kt.visualize.head_view(models.translator(), inputs, tokens=words)
    page = open_figure(figure)
    shown = page.locator(".kt-left .kt-token").all_text_contents()
    assert shown[:3] == models.AWKWARD[:3] and shown[4] == "שלום" and shown[8] == "猫"
    assert shown[3] == "aU+2028b" and shown[5] == "◌\u0301e" and shown[6] == "U+202Egpj"
    assert shown[9] == "∅" and shown[10] == "␣" and shown[11] == models.AWKWARD[11]
    assert page.locator("img").count() == 0


def test_a_matrix_is_read_by_keyboard(figures, open_figure):
    figure = figures["plot_attention"]
    page = open_figure(figure)
    page.locator("canvas").first.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    value = figure.data["matrices"][0]["values"][1, 5]
    readout = page.locator("output").first.inner_text()
    assert readout.endswith(f"{value:.4f}") and "reads → writes 1 " in readout
    page.keyboard.press("+")
    assert is_drawn(page)


def test_heads_and_tokens_are_chosen(figures, open_figure):
    figure = figures["head_view"]
    page = open_figure(figure)
    boxes = page.locator("input[type=checkbox]")
    assert boxes.count() == 3
    page.get_by_role("button", name="none").click()
    boxes.nth(1).check()
    page.locator(".kt-left").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    best = figure.data["attentions"][0]["weights"][0][1, 1].max()
    assert f"{best:.3f}" in page.locator("output").inner_text()
    page.locator("select").first.select_option("2")
    assert page.locator(".kt-right .kt-token").count() == 7
    assert page.locator(".kt-left .kt-token").count() == 5
    assert is_drawn(page)


def test_a_head_is_chosen_among_all(figures, open_figure):
    page = open_figure(figures["model_view"])
    assert page.locator(".kt-thumbnail").count() == 6
    page.locator(".kt-thumbnail").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    title = page.locator("figcaption").inner_text()
    assert title == "encoder self-attention, layer 1, head 1"
    page.locator("select").first.select_option("1")
    assert page.locator("figcaption").inner_text().startswith("decoder self-attention, layer 0")


def test_a_tree_is_read_by_keyboard(figures, open_figure):
    figure = figures["beam_tree"]
    page = open_figure(figure)
    assert page.locator("button.kt-hypothesis").count() == len(figure.data["hypotheses"])
    page.locator("svg").focus()
    assert page.locator("output").inner_text().startswith("step 1, rank 1: ")
    page.keyboard.press("ArrowDown")
    second = figure.data["steps"][0][1]
    assert f"sum {second['total']:.3f}".replace("-", "−") in page.locator("output").inner_text()
    page.locator("button.kt-hypothesis").nth(1).click()
    assert page.locator("button.kt-hypothesis").nth(1).get_attribute("aria-pressed") == "true"


def test_a_lens_and_patches_are_read_by_keyboard(figures, open_figure):
    page = open_figure(figures["logit_lens"])
    page.locator("td[tabindex='0']").focus()
    page.keyboard.press("ArrowUp")
    best = figures["logit_lens"].data["probabilities"][1, 0, 0]
    assert f"{best:.3f}" in page.locator("output").inner_text()
    page = open_figure(figures["vit"])
    page.locator("canvas").focus()
    page.keyboard.press("ArrowDown")
    value = figures["vit"].data["maps"][0]["values"][1, 0]
    assert page.locator("output").inner_text() == f"patch 1, 0: {value:.4f}"


def test_five_hundred_tokens_stay_usable(open_figure):
    model = models.language_model(max_length=512)
    inputs = models.ids_of_text(1, 512)
    page = open_figure(kt.visualize.plot_attention(model, inputs, heads=0))
    page.locator("canvas").focus()
    page.keyboard.press("Control+End")
    assert page.locator("output").inner_text().startswith("\u2068reads → writes 511")
    assert page.evaluate("document.querySelector('.kt-matrix-scroller').scrollTop") > 500
    assert is_drawn(page)
    page = open_figure(kt.visualize.head_view(model, inputs))
    page.locator(".kt-left .kt-token").nth(500).click()
    assert "→" in page.locator("output").inner_text()
