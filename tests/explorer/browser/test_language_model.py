"""Prompts, generation, sampling and heads of a language model, on the page."""

import base64
import re

import numpy as np
import pytest
from keras import ops
from playwright.sync_api import expect

import keras_transformer as kt
from tests.harness import to_numpy


@pytest.fixture
def language_model(visit):
    return visit("language_model")


def test_a_text_is_read_while_it_is_typed(language_model):
    page = language_model.page
    expect(page.locator("#model-title")).to_have_text("a GPT")
    rows = language_model.part("tokens", "rows").locator(".chip")
    before = rows.count()
    page.locator("#text").press_sequentially(" on the mat")
    expect(rows).not_to_have_count(before)
    # Each row says what it reads, and below it what it writes: what the next row reads.
    reads = rows.locator("> bdi").all_text_contents()
    writes = [text.removeprefix("→ ") for text in rows.locator("small").all_text_contents()]
    assert writes[:-1] == reads[1:]


def test_tokens_are_generated_one_by_one(language_model):
    page = language_model.page
    page.locator("#new-tokens").fill("5")
    page.locator("#submit").click()
    expect(page.locator("#status")).to_have_text("5 tokens were written.")
    text = page.locator("#text").input_value()
    assert text.startswith("the cat sat") and len(text) > len("the cat sat")
    expect(language_model.part("tokens", "rows").locator(".chip.written")).to_have_count(5)
    expect(page.locator("#seed")).to_have_value("2")


def test_generation_stops_when_told(language_model):
    page = language_model.page
    page.locator("#new-tokens").fill("30")
    # In the page, at the first token: from here, on a busy machine, a click comes too late.
    page.evaluate(
        """new Promise((done) => {
          const observer = new MutationObserver(() => {
            if (!document.querySelector(".mini-tokens .written")) return;
            observer.disconnect();
            document.querySelector("#stop").click();
            done();
          });
          observer.observe(document.body, { childList: true, subtree: true });
          document.querySelector("#submit").click();
        })"""
    )
    expect(page.locator("#submit")).to_be_enabled()
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#status")).to_have_text(re.compile("^([1-9]|1\\d|2\\d) tokens were"))


def table_of_probabilities(language_model):
    """The panel with the table, filled."""
    panel = language_model.part("logits", "probabilities")
    expect(panel.locator("tbody tr")).to_have_count(12)
    # A token is its number until the page knows the words.
    expect(panel.locator("tbody button").first).not_to_have_text(re.compile(r"^#\d"))
    return panel


def shown_probabilities(panel):
    return dict(
        panel.locator(".logits tbody tr").evaluate_all(
            """rows => rows.map(row =>
                [row.querySelector("th"), row.querySelector(".share")].map(it => it.textContent))"""
        )
    )


def set_slider(page, name, value):
    page.locator(f"[data-control={name}]").evaluate(
        """(slider, value) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input", {bubbles: true}));
            slider.dispatchEvent(new Event("change", {bubbles: true}));
        }""",
        str(value),
    )


def test_the_bars_follow_every_slider_without_a_request(language_model):
    page = language_model.page
    panel = table_of_probabilities(language_model)
    before, asked = shown_probabilities(panel), len(language_model.requests)
    set_slider(page, "temperature", 1)
    expect(page.locator("#sampling-summary")).to_have_text("temperature 10.00")
    hot = shown_probabilities(panel)
    best = next(iter(before))
    assert float(hot[best].rstrip("%")) < float(before[best].rstrip("%"))
    for name, value in (("top_k", 30), ("top_p", 0.05), ("min_p", 0.98)):
        set_slider(page, name, value)
        assert "left out" in shown_probabilities(panel).values(), name
        expect(panel.locator(".note").nth(1)).not_to_have_text(re.compile("^60 of 60"))
        set_slider(page, name, {"top_k": 100, "top_p": 1, "min_p": 0}[name])
    expect(panel.locator(".note").nth(1)).to_have_text("60 of 60 tokens can be drawn.")
    assert len(language_model.requests) == asked


def test_a_chosen_token_is_written_out(language_model):
    panel = table_of_probabilities(language_model)
    panel.locator("tbody button").nth(2).click()
    token = panel.locator("tbody button").nth(2).text_content()
    expect(panel.locator(".equation h4")).to_have_text(f"{token}, written out")
    last = panel.locator(".equation li").last.text_content()
    probability = float(last.rsplit("= ", 1)[1])
    share = panel.locator(".share").nth(2).text_content()
    assert share == f"{100 * probability:.1f}%"


def test_another_row_has_other_probabilities(language_model):
    panel = table_of_probabilities(language_model)
    before = shown_probabilities(panel)
    language_model.part("logits", "row").locator(".chip").first.click()
    expect(panel.locator(".share").first).not_to_have_text(next(iter(before.values())))


def test_saliency_has_a_bar_for_each_token(language_model):
    part = language_model.part("logits", "saliency")
    part.locator("button").click()
    rows = language_model.part("logits", "row").locator(".chip")
    expect(part.locator(".kt-bar-row")).to_have_count(rows.count())


# === The page's probabilities ===

PROBABILITIES = """async (cases) => {
    const { distribution } = await import("/page/sampling.js");
    return cases.map(({ logits, options }) =>
        Array.from(distribution(Float32Array.from(logits), options).probabilities));
}"""


def random_case(generator):
    size = int(generator.integers(2, 400))
    logits = generator.normal(0, generator.choice([0.5, 3, 10]), size).astype("float32")
    if generator.random() < 0.3:
        logits = np.round(logits)  # many ties
    pick = generator.random
    return logits, {
        "temperature": float(generator.choice([1.0, round(10 ** generator.uniform(-1, 1), 2)])),
        "topK": int(generator.integers(1, size + 2)) if pick() < 0.5 else None,
        "topP": float(round(generator.uniform(0.01, 1), 2)) if pick() < 0.5 else None,
        "minP": float(round(generator.uniform(0, 1), 2)) if pick() < 0.5 else None,
    }


def expected_probabilities(logits, options):
    logits = kt.decoding.scale_temperature(
        ops.convert_to_tensor(logits[None]), options["temperature"]
    )
    filters = {"topK": "keep_top_k", "topP": "keep_top_p", "minP": "keep_min_p"}
    for name, function in filters.items():
        if options[name] is not None:
            logits = getattr(kt.decoding, function)(logits, options[name])
    return to_numpy(ops.softmax(logits))[0]


def test_the_pages_probabilities_are_those_of_decoding(language_model):
    generator = np.random.default_rng(3)
    cases = [random_case(generator) for _ in range(200)]
    found = language_model.page.evaluate(
        PROBABILITIES, [{"logits": x.tolist(), "options": options} for x, options in cases]
    )
    for (logits, options), probabilities in zip(cases, found, strict=True):
        expected = expected_probabilities(logits, options)
        np.testing.assert_allclose(probabilities, expected, atol=1e-6, err_msg=str(options))


# === Attention ===


def test_a_head_is_chosen_and_its_numbers_are_the_models(language_model, servers):
    part = language_model.part("attention", "heads")
    part.locator(".kt-thumbnail").nth(3).click()
    panel = language_model.stage("attention")
    expect(panel.locator(".stepper-value").first).to_have_text("Layer 2 of 2")
    expect(panel.locator(".stepper-value").nth(1)).to_have_text("Head 2 of 2")
    scores = language_model.part("attention", "scores")
    stages = scores.locator("[data-stage-of-scores]")
    expect(stages).to_have_count(4)
    canvas = stages.last.locator("canvas")
    canvas.focus()
    for key in ("Control+Home", "ArrowDown", "ArrowDown", "Enter"):
        canvas.press(key)
    run = servers("language_model").post("run", text="the cat sat")[1]
    path = "decoder/block_1/self_attention"
    tensors = {
        name: decoded(servers("language_model"), run, f"{path}/{name}", 1)
        for name in ("scores", "scaled", "weights")
    }
    written = scores.locator(".equation li").all_text_contents()
    numbers = [
        float(line.rsplit("= ", 1)[-1].replace("−", "-"))
        for line in (written[0], written[1], written[-1])
    ]
    for number, tensor in zip(numbers, tensors.values(), strict=True):
        assert number == pytest.approx(tensor[2, 0], abs=1e-4)
    expect(stages.last.locator(".kt-readout")).to_contain_text(f"{tensors['weights'][2, 0]:.4f}")


def test_numbers_of_the_head_before_are_marked_until_those_of_the_next_come(language_model):
    heads = language_model.part("attention", "heads")
    waiting = []
    language_model.page.route("**/api/tensor", lambda route: waiting.append(route))
    heads.locator(".kt-thumbnail").nth(3).click()
    panel = language_model.page.locator("[data-panel=attention]")
    expect(panel.locator(".stepper-value").nth(1)).to_have_text("Head 2 of 2")
    old = panel.locator("[aria-busy=true] [data-part=scores]")
    expect(old).to_have_count(1)
    expect(panel.locator("[aria-busy=true]")).to_have_css("opacity", "0.5")
    for route in waiting:
        route.continue_()
    language_model.page.unroute("**/api/tensor")
    expect(old).to_have_count(0)
    expect(panel.locator("[data-part=scores]")).to_have_count(1)


def decoded(server, run, name, head):
    answer = server.post("tensor", run=run["run"], name=name, index=[head])[1]
    return np.frombuffer(base64.b64decode(answer["data"]), "<f4").reshape(answer["shape"])


def test_what_a_row_must_not_see_is_masked(language_model):
    canvas = language_model.part("attention", "scores").locator(
        "[data-stage-of-scores=masked] canvas"
    )
    canvas.focus()
    for key in ("Control+Home", "ArrowRight", "Enter"):
        canvas.press(key)
    equation = language_model.part("attention", "scores").locator(".equation")
    expect(equation).to_contain_text("may not see")
    expect(equation.locator("li").last).to_contain_text("= 0.0000")


def test_a_head_switched_off_changes_the_prediction(language_model):
    part = language_model.part("attention", "off")
    part.locator("input").first.uncheck()
    expect(part.locator(".changes .kt-title")).to_have_text(["All heads on", "Heads off"])
    before, after = (part.locator(".kt-bars").nth(i).all_text_contents() for i in range(2))
    assert before != after
    part.locator("button", has_text="All heads on").click()
    expect(part.locator("input").first).to_be_checked()
    expect(part.locator(".changes .kt-title")).to_have_count(0)


def test_the_layers_words_end_in_the_prediction(language_model):
    table = language_model.part("lens", "lens").locator("table")
    expect(table.locator("tbody tr")).to_have_count(3)
    words = table.locator("tbody tr").first.locator(".lens-cell").all_text_contents()
    expect(language_model.page.locator(".mini-bars b").first).to_have_text(words[-1])
    table.locator(".lens-cell[aria-pressed=true]").press("ArrowDown")
    expect(table.locator(".lens-cell[aria-pressed=true]")).to_be_focused()
    expect(language_model.part("lens", "lens").locator(".kt-title")).to_contain_text("Layer 1")


def test_a_block_from_top_to_bottom(language_model):
    steps = language_model.part("block", "block").locator(".steps > li b")
    expect(steps.first).to_have_text("Self-attention")
    expect(steps.last).to_have_text("Output of the block")
    language_model.stage("block").get_by_role("button", name="Layer: forward").click()
    expect(language_model.stage("block").locator(".stepper-value")).to_have_text("Layer 2 of 2")
    expect(steps.first).to_have_text("Self-attention")


def test_vectors_add_up(language_model):
    strips = language_model.part("embedding", "embedding").locator(".strip")
    expect(strips.locator("b")).to_have_text(["Token", "Position", "What the first layer reads"])
    values = []
    for strip in strips.all():
        strip.locator("canvas").focus()
        strip.locator("canvas").press("ArrowRight")
        text = strip.locator("output").text_content()
        values.append(float(text.rsplit(": ", 1)[1].replace("−", "-")))
    assert values[0] + values[1] == pytest.approx(values[2], abs=2e-4)
