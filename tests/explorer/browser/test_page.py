"""What holds on every page: keyboard, narrow screens, languages, hostile text, messages."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

import keras_transformer.explorer
from tests.browser import serious_violations
from tests.explorer import KINDS

PAGE = Path(keras_transformer.explorer.__file__).parent / "page"
STAGES = {
    "language_model": "tokens embedding attention block lens logits",
    "translator": "tokens embedding attention block lens logits beam",
    "ssru": "tokens embedding attention states block lens logits beam",
    "recurrent": "tokens embedding attention states logits beam",
    "encoder": "tokens embedding attention block mask",
    "classifier": "tokens embedding states classes",
    "vision": "picture embedding attention block classes",
}
HOSTILE = "<script>alert(1)</script> & \u2028 \u05e9\u05dc\u05d5\u05dd e\u0301 </textarea> cat"


@pytest.mark.parametrize(
    ("kind", "language"),
    [*((kind, "en") for kind in KINDS), ("translator", "ja"), ("vision", "ja")],
)
def test_every_stage_on_narrow_screens_and_for_everybody(kind, language, visit, axe):
    page = visit(kind, width=390, language=language)
    names = [tile.get_attribute("data-stage") for tile in page.page.locator(".tile").all()]
    assert names == STAGES[kind].split()
    page.page.evaluate(axe)
    assert not serious_violations(page.page, "html")
    for name in names:
        page.stage(name).locator("h3").first.wait_for()
        page.settle()
        assert not serious_violations(page.page, f"[data-panel={name}]"), name
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.parametrize("kind", ["language_model", "vision"])
def test_dark_and_wide_pages_for_everybody(kind, visit, axe):
    page = visit(kind, theme="dark", language="ja")
    page.page.evaluate(axe)
    assert not serious_violations(page.page, "html")


@pytest.mark.parametrize("kind", ["language_model", "ssru", "encoder", "vision"])
def test_the_walk_through_by_keyboard(kind, visit):
    page = visit(kind, reduced_motion="reduce")
    page.page.locator("#walk").press("Enter")
    walk = page.page.locator(".walk")
    expect(walk).to_be_visible()
    count = int(walk.locator("header .note").text_content().split(" of ")[1])
    assert count >= 10 and (kind == "vision" or count >= 12)
    titles = []
    for place in range(count):
        expect(walk.locator("header .note")).to_have_text(f"{place + 1} of {count}")
        titles.append(walk.locator("h2").text_content())
        if place:
            expect(page.page.locator(".spot")).to_be_visible()
        walk.locator("h2").press("ArrowRight")
    expect(walk).to_be_hidden()
    expect(page.page.locator("#walk")).to_be_focused()
    assert len(set(titles)) == count


def test_the_language_is_chosen_and_kept(visit):
    page = visit("language_model")
    page.stage("attention").locator("h3").first.wait_for()
    page.page.locator("#language").click()
    expect(page.page.locator("h1")).to_have_text("モデルの中を見る")
    expect(page.page.locator("html")).to_have_attribute("lang", "ja")
    expect(page.stage("attention").locator("h3").first).to_have_text("すべてのヘッド")
    page.open()
    expect(page.page.locator("#submit")).to_have_text("生成")
    page.page.locator("#language").click()
    expect(page.page.locator("#submit")).to_have_text("Generate")


def test_japanese_readers_get_a_japanese_page(visit):
    page = visit("translator", language="ja-JP")
    expect(page.page.locator("#submit")).to_have_text("翻訳")
    page.page.locator("#walk").click()
    expect(page.page.locator(".walk h2")).to_have_text("Transformer とは")
    page.page.locator(".walk h2").press("Escape")
    expect(page.page.locator(".walk")).to_be_hidden()


def test_the_theme_is_chosen_and_kept(visit):
    page = visit("language_model", theme="dark")
    color = "getComputedStyle(document.body).backgroundColor"
    dark = page.page.evaluate(color)
    page.page.locator("#theme").click()
    light = page.page.evaluate(color)
    assert light != dark
    page.open()
    assert page.page.evaluate(color) == light


def test_a_page_by_keyboard_alone(visit):
    page = visit("language_model").page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator(".tile[data-stage=attention] .tile-button").press("Enter")
    panel = page.locator("[data-panel=attention]")
    expect(panel).to_be_visible()
    forward = panel.get_by_role("button", name="Layer: forward")
    forward.press("Enter")
    expect(panel.locator(".stepper-value").first).to_have_text("Layer 2 of 2")
    expect(panel.get_by_role("button", name="Layer: forward")).to_be_focused()
    box = panel.locator("[data-part=off] input").first
    box.press("Space")
    expect(panel.locator(".changes .kt-bars")).to_have_count(2)
    expect(panel.locator("[data-part=off] input").first).to_be_focused()
    page.locator(".tile[data-stage=logits] .tile-button").press("Enter")
    chip = page.locator("[data-part=row] .chip[aria-checked=true]")
    chip.press("ArrowLeft")
    expect(page.locator("[data-part=row] .chip[aria-checked=true]")).to_be_focused()
    slider = page.locator("[data-control=temperature]")
    slider.press("ArrowRight")
    expect(page.locator("#sampling-summary")).to_have_text("temperature 1.02")


@pytest.mark.parametrize("kind", ["language_model", "translator"])
def test_hostile_text_is_text(kind, visit):
    page = visit(kind)
    page.page.on("dialog", lambda dialog: page.problems.append(dialog.message))
    page.page.locator("#text").fill(HOSTILE)
    page.page.locator("#text").press("Enter")
    page.settle()
    for name in STAGES[kind].split():
        page.stage(name).locator("h3").first.wait_for()
    page.settle()
    assert page.page.locator("main script").count() == 0
    page.page.locator("#text").fill(HOSTILE)
    assert page.page.locator("#text").input_value().startswith("<script>")


def test_what_the_server_refuses_is_said(visit):
    page = visit("language_model")
    page.page.locator("#text").fill("   ")
    page.page.locator("#submit").click()
    alert = page.page.get_by_role("alert")
    expect(alert).to_contain_text("Enter a text first.")
    page.page.locator("#error-close").click()
    expect(alert).to_be_hidden()
    page.page.locator("#text").fill("the cat sat " * 300)
    expect(alert).to_contain_text("tokens; the model reads at most 40.")
    page.page.locator("#language").click()
    page.page.locator("#text").fill("the cat sat " * 301)
    expect(alert).to_contain_text("モデルが読めるのは 40 トークンまでです。")
    page.page.locator("#text").fill("the dog")
    expect(alert).to_be_hidden()
    page.settle()
    assert len(page.problems) == 3 and all("400" in problem for problem in page.problems)
    page.problems.clear()


def test_whose_model_it_is_is_said(visit, answers):
    opened = answers("language_model").opened
    opened.attribution = "Weights of <b>somebody</b>, CC-BY 4.0"
    try:
        answers("language_model").description["attribution"] = opened.attribution
        page = visit("language_model").page
        expect(page.get_by_role("contentinfo")).to_have_text(opened.attribution)
    finally:
        answers("language_model").description["attribution"] = opened.attribution = None


def test_a_run_that_the_server_has_forgotten_is_made_again(visit, servers):
    page = visit("language_model")
    for length in range(1, 12):
        servers("language_model").post("run", text="the cat sat on the mat"[: 2 * length])
    expect(page.part("attention", "scores").locator("canvas")).to_have_count(4)
    page.settle()
    assert all("404" in problem for problem in page.problems)
    page.problems.clear()


def test_masked_words_are_guessed(visit, servers):
    page = visit("encoder")
    part = page.part("mask", "mask")
    expect(part.locator(".kt-bar-row")).to_have_count(10)
    answer = servers("encoder").post("mask", text=page.page.locator("#text").input_value())[1]
    expect(part.locator(".kt-bar-label").first).to_have_text(answer["top"][0][0]["text"])


def test_patches_of_a_picture(visit):
    page = visit("vision")
    canvas = page.part("picture", "picture").locator("canvas.picture")
    canvas.press("ArrowRight")
    expect(page.part("picture", "picture")).to_contain_text("attention of 1,1")
    page.page.locator(".example").nth(1).click()
    expect(page.page.locator(".example").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.stage("classes").locator(".kt-bar-row")).to_have_count(3)


def test_a_head_switched_off_changes_the_classes(visit):
    page = visit("vision")
    part = page.part("attention", "off")
    part.locator("input").first.uncheck()
    expect(part.locator(".changes .kt-title")).to_have_text(["All heads on", "Heads off"])
    before, after = (part.locator(".kt-bars").nth(i).all_text_contents() for i in range(2))
    assert before != after
    part.locator("button", has_text="All heads on").click()
    expect(part.locator(".changes .kt-title")).to_have_count(0)


def test_the_page_has_no_markup_from_text():
    for path in PAGE.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", 'style="', "http"):
            assert banned not in text, (path.name, banned)


def test_four_models_beside_each_other(visit):
    """With the server's answer made here: training its models takes a minute."""
    page = visit("translator")
    weights = {"shape": [2, 2], "dtype": "float32", "data": "AACAPwAAAAAAAAA/AAAAPw=="}
    tensors = [
        {"name": "encoder: forget gate", "what": "gate", "rows": ["a", "<b>"], "tensor": weights},
        {"name": "attends", "what": "weights", "rows": ["a", "<b>"], "tensor": weights},
    ]
    models = [
        {"name": "x", "kind": kind, "note": "9 weights.", "tensors": tensors, "accuracy": 0.5}
        for kind in ("rnn", "lstm", "attention", "transformer")
    ]
    answer = {"tokens": ["a", "<b>"], "note": "", "models": models}
    lines = [{"progress": 0.5, "what": "LSTM"}, answer]
    page.page.route(
        "**/api/compare",
        lambda route: route.fulfill(
            content_type="application/x-ndjson",
            body="".join(json.dumps(line) + "\n" for line in lines),
        ),
    )
    page.page.get_by_role("button", name="Compare").click()
    articles = page.page.locator(".compare article")
    expect(articles.locator("h3")).to_have_text(
        ["Recurrent network", "LSTM", "LSTM with attention", "Transformer"]
    )
    expect(articles.first.locator(".strip-labels")).to_contain_text("<b>")
    expect(articles.last.locator(".kt-matrix canvas")).to_be_visible()
    expect(articles.last).to_contain_text("Right on 50%")
