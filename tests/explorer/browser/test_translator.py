"""Translation on the page: beams, cross-attention, heads switched off, recurrent decoders."""

import pytest
from playwright.sync_api import expect


@pytest.fixture
def translator(visit):
    return visit("translator")


def beam(visit):
    part = visit.part("beam", "beam")
    part.locator(".kt-hypothesis").first.wait_for()
    visit.settle()
    return part


def move(slider, value, event):
    slider.evaluate(
        """(slider, [value, event]) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input", {bubbles: true}));
            if (event === "change") slider.dispatchEvent(new Event("change", {bubbles: true}));
        }""",
        [str(value), event],
    )


def test_four_beams_are_those_of_the_server(translator, servers):
    part = beam(translator)
    tree = servers("translator").post("translate", text="the cat sat", num_beams=4)[1]["tree"]
    nodes = part.locator(".kt-node")
    expect(nodes).to_have_count(1 + sum(len(step) for step in tree["steps"]))  # and the root
    for hypothesis, row in zip(
        tree["hypotheses"], part.locator(".kt-hypothesis").all(), strict=True
    ):
        expect(row).to_contain_text(f"{hypothesis['score']:.3f}".replace("-", "−"))
    assert {"alive", "pruned"} <= {one["state"] for step in tree["steps"] for one in step}
    expect(part.locator(".kt-node-pruned").first).to_be_visible()


def test_the_length_penalty_rescales_at_once_and_searches_on_release(translator, servers):
    part = beam(translator)
    slider, asked = part.locator("[data-control=length_penalty]"), len(translator.requests)
    move(slider, 2, "input")
    before = servers("translator").post("translate", text="the cat sat", num_beams=4)[1]["tree"]
    scores = sorted(
        (totals(before, one) / ((5 + one["length"]) / 6) ** 2 for one in before["hypotheses"]),
        reverse=True,
    )
    for score, row in zip(scores, part.locator(".kt-hypothesis").all(), strict=True):
        expect(row).to_contain_text(f"{score:.3f}".replace("-", "−"))
    expect(part.locator(".equation p")).to_contain_text("^2.00")
    assert len(translator.requests) == asked
    move(slider, 2, "change")
    translator.settle()
    assert translator.requests[-1].endswith("/api/translate")


def totals(tree, hypothesis):
    step, index = hypothesis["path"][-1]
    return tree["steps"][step][index]["total"]


def test_more_beams(translator):
    part = beam(translator)
    move(part.locator("[data-control=num_beams]"), 2, "change")
    expect(part.locator(".kt-hypothesis")).to_have_count(2)
    part.locator(".kt-hypothesis").nth(1).click()
    text = part.locator(".kt-hypothesis bdi, .kt-hypothesis span").nth(2).text_content()
    part.get_by_role("button", name="Look into this translation").click()
    expect(translator.page.locator("#target")).to_have_value(text)


def test_the_decoder_looks_at_the_source(translator):
    panel = translator.stage("attention")
    expect(panel.locator(".segments input:checked + label")).to_have_text("Decoder to encoder")
    part = translator.part("attention", "lines")
    expect(part.locator(".kt-column.kt-right")).to_contain_text("␣cat")
    expect(part.locator(".kt-column.kt-left")).to_contain_text("<s>")
    panel.get_by_text("Encoder", exact=True).click()
    expect(part.locator(".kt-column.kt-left")).to_contain_text("␣cat")


def test_a_head_switched_off_and_the_translation_without_it(translator, servers):
    part = translator.part("attention", "off")
    part.locator("input").first.uncheck()
    ablate = {"decoder/block_0/cross_attention": [0]}
    expected = servers("translator").post("translate", text="the cat sat", ablate=ablate)[1]
    expect(part.locator(".translations dd")).to_have_text(
        [expected["unablated"], expected["translation"]]
    )
    expect(part.locator("input").first).not_to_be_checked()


def test_another_target_is_read(translator):
    page = translator.page
    page.locator("#target").fill("a dog ran")
    page.locator("#submit").click()
    rows = translator.part("tokens", "rows").locator(".chip > bdi")
    expect(rows).to_contain_text(["<s>", "␣a", "␣dog", "␣r", "an"])


def test_gates_and_states_over_time(visit):
    page = visit("ssru")
    titles = page.stage("states").locator(".strip b")
    expect(titles.first).to_have_text("Forget gate")
    expect(titles).to_contain_text(["Candidate", "State"])
    page = visit("recurrent")
    titles = page.stage("states").locator(".strip b")
    expect(titles).to_contain_text(["Input gate", "Memory cell"])
    expect(page.part("attention", "heads").locator(".kt-thumbnail")).to_have_count(1)
