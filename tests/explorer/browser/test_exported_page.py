"""Exported pages, opened from the disk."""

import pytest
from playwright.sync_api import expect

from keras_transformer.explorer.page_export import exported_page
from tests.explorer.browser.conftest import Visit

HOSTILE = "<script>alert(1)</script> & \u2028 \u05e9\u05dc\u05d5\u05dd e\u0301 cat"


@pytest.fixture
def exported(browser, answers, tmp_path):
    """Exports a page and opens it; in the end, it may have seen no error and asked nobody."""
    visits = []

    def open_page(kind, text=None, **options):
        path = tmp_path / f"{kind}.html"
        path.write_text(exported_page(answers(kind), text), encoding="utf-8")
        visits.append(Visit(browser, path.as_uri(), 1280, "en", "light", **options))
        return visits[-1].open("")

    yield open_page
    for one in visits:
        one.context.close()
    assert [one.problems for one in visits] == [[] for _ in visits]
    assert all(url.startswith(("file:", "data:")) for one in visits for url in one.requests)


@pytest.mark.parametrize("kind", ["language_model", "translator", "vision"])
def test_every_stage_of_an_exported_page(kind, exported):
    page = exported(kind)
    for tile in page.page.locator(".tile").all():
        panel = page.stage(tile.get_attribute("data-stage"))
        panel.locator("h3").first.wait_for()
    scores = page.part("attention", "scores")
    expect(scores.locator("canvas")).to_have_count(4)
    expect(scores.locator(".equation li")).to_have_count(4)
    expect(page.page.locator("#submit")).to_have_count(0)
    if kind == "translator":
        expect(page.part("beam", "beam").locator(".kt-hypothesis").first).to_be_visible()
    page.page.locator("#language").click()
    expect(page.page.locator("h1")).to_have_text("モデルの中を見る")
    page.page.locator("#theme").click()
    expect(page.page.locator("html")).to_have_attribute("data-theme", "dark")


def test_hostile_text_is_text_in_an_exported_page(exported):
    page = exported("language_model", HOSTILE)
    page.page.on("dialog", lambda dialog: page.problems.append(dialog.message))
    expect(page.page.locator(".quoted")).to_have_text(HOSTILE, use_inner_text=False)
    expect(page.part("tokens", "rows").locator(".chip").first).to_be_visible()
    assert page.page.locator("main script").count() == 0
