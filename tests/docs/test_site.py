"""The built site has no dead links, sends no requests to other machines, and is accessible."""

import re
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("playwright")

from tests.browser import axe_text, open_browser, serious_violations  # noqa: E402
from tests.docs.site import Links, build, load_hook, serving  # noqa: E402
from tests.docs.test_translations import TRANSLATIONS  # noqa: E402

# Pages of each kind: start, diagram, wide tables, code, messages, equations, Japanese.
FOR_EVERYBODY = [
    "index.html",
    "what-is-where/index.html",
    "benchmarks/index.html",
    "coming-from/index.html",
    "errors/index.html",
    "api/layers/MultiHeadAttention/index.html",
    "ja/index.html",
    "ja/getting-started/index.html",
    "ja/from-recurrence-to-attention/index.html",
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def address(site):
    with serving(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def html_files(site):
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_link_leads_somewhere(site):
    pages = {path: Links(path) for path in html_files(site)}
    dead = []
    for path, links in pages.items():
        for reference in links.references:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            # The theme's link to the top of a page has an empty fragment.
            known = pages[target].places if target in pages else ()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in known):
                dead.append((str(path.relative_to(site)), reference))
    assert not dead


def test_pages_draw_everything_and_ask_no_other_machine(site, address, browser, request):
    # The pages of the API come from one template.
    files = html_files(site)
    guides = [path for path in files if path.relative_to(site).parts[0] != "api"]
    of_api = [path for path in files if path not in guides]
    sample = request.config.getoption("--sample")
    wrong, drawn = [], {"equations": 0, "diagrams": 0}
    page = browser.new_page()
    page.on("pageerror", lambda error: wrong.append((page.url, str(error))))
    page.on("request", lambda one: one.url.startswith((address, "data:")) or wrong.append(one.url))
    page.on("response", lambda one: one.status < 400 or wrong.append((one.url, one.status)))
    for path in [*guides, *of_api[::sample]]:
        text = path.read_text(encoding="utf-8")
        page.goto(f"{address}/{path.relative_to(site).as_posix()}")
        if 'class="arithmatex"' in text:
            page.wait_for_function(
                "[...document.querySelectorAll('.arithmatex')].every(x => x.querySelector('svg'))"
            )
            assert not page.locator("[data-mml-node=merror]").count(), path
            drawn["equations"] += page.locator(".arithmatex svg").count()
        if 'class="mermaid"' in text:
            page.wait_for_function("!document.querySelector('pre.mermaid')")
            for diagram in page.locator("div.mermaid").all():
                assert diagram.bounding_box()["height"] > 50, path
                drawn["diagrams"] += 1
    assert not wrong
    assert all(drawn.values())


def japanese_files(site):
    """Each Japanese page with the English one."""
    found = sorted((site / "ja").rglob("*.html"))
    return [(path, site / path.relative_to(site / "ja")) for path in found]


def test_japanese_pages_are_in_japanese_and_lead_to_the_english_ones_and_back(site):
    pairs = japanese_files(site)
    assert len(pairs) == len(TRANSLATIONS) and {path for path, _ in pairs} <= set(html_files(site))
    for path, original in pairs:
        texts = [one.read_text(encoding="utf-8") for one in (path, original)]
        assert '<html lang="ja"' in texts[0] and '<html lang="en"' in texts[1]
        for name in ("ガイド", "はじめに", "API リファレンス", "再帰から注意へ"):
            assert re.search(rf"\s{name}\s", texts[0]), (path, name)
        for label in ("検索", "ダーク", "言語切り替え"):
            assert f'aria-label="{label}"' in texts[0], (path, label)
        for label in ("Search", "Dark", "Select language"):
            assert f'aria-label="{label}"' not in texts[0] and f'"{label}"' in texts[1], (
                path,
                label,
            )
        for place, text, language, other in (
            (path, texts[0], "en", original),
            (original, texts[1], "ja", path),
        ):
            (link,) = re.findall(rf'<a href="([^"]+)" lang="{language}" hreflang', text)
            assert (place.parent / link / "index.html").resolve() == other
    # A page that has not been translated leads to the start page.
    page = site / "errors" / "index.html"
    assert 'href="../ja/" lang="ja"' in page.read_text(encoding="utf-8")
    assert 'href="/ja/" lang="ja"' in (site / "404.html").read_text(encoding="utf-8")


def test_japanese_pages_follow_each_other(site):
    place, visited = site / "ja" / "index.html", []
    while place is not None:
        visited.append(place)
        text = place.read_text(encoding="utf-8")
        (logo,) = re.findall(r'<a href="([^"]+)" [^>]*class="md-header__button md-logo"', text)
        assert (place.parent / logo / "index.html").resolve() == site / "ja" / "index.html"
        found = re.search(r'<link rel="next" href="([^"]+)"', text)
        place = (place.parent / found[1] / "index.html").resolve() if found else None
    assert sorted(visited) == [path for path, _ in japanese_files(site)]


def test_japanese_tables_have_the_numbers_of_the_english_ones(site):
    counts = []
    for path, original in japanese_files(site):
        cells = [
            re.findall(
                r"<td[^>]*>([-\d.,]+%?)(?: / |</td>|（| \()", one.read_text(encoding="utf-8")
            )
            for one in (path, original)
        ]
        assert cells[0] == cells[1], path
        counts.append(len(cells[0]))
    assert sum(counts) > 300


def test_menu_of_languages_leads_there_and_back(address, browser):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    failed = []
    page.on("response", lambda one: one.status < 400 or failed.append(one.url))
    page.goto(f"{address}/piece-by-piece/")
    for language, url in (("ja", "/ja/piece-by-piece/"), ("en", "/piece-by-piece/")):
        page.locator(".md-select button").hover()
        page.locator(f".md-select__link[hreflang={language}]").click()
        page.wait_for_url(f"{address}{url}*")
        assert page.locator("html").get_attribute("lang") == language
    page.close()
    assert not failed


@pytest.mark.parametrize("start", ["/", "/ja/"])
def test_search_finds_words_of_both_languages(start, address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}{start}")
    field, results = page.locator(".md-search__input"), page.locator(".md-search-result__link")
    for word, found in (
        ("残差接続", "/ja/piece-by-piece/"),
        ("residual", "/piece-by-piece/"),
        ("エンコーダ", "/ja/piece-by-piece/"),
        ("rematerialization", "/training-at-scale/"),
        ("固定長の文脈ベクトル", "/ja/from-recurrence-to-attention/"),
        ("num_heads", "/api/layers/MultiHeadAttention/"),
    ):
        field.fill(word)
        field.press("End")  # the theme waits for a key
        expected = results.and_(page.locator(f"[href*='{address}{found}']"))
        expected.first.wait_for(state="attached")
        marked = page.locator(".md-search-result__list mark").all_inner_texts()
        assert any(mark.lower() in word for mark in marked), (word, marked)
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_for_everybody(width, address, browser):
    axe = axe_text()
    for theme in ("light", "dark"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        for name in FOR_EVERYBODY:
            page.goto(f"{address}/{name}")
            page.evaluate("new Promise(requestAnimationFrame)")  # tables are made scrollable
            page.evaluate(axe)
            assert not serious_violations(page, "html"), (name, theme)
            # Wide tables and code scroll within the page, which itself does not.
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.close()


def test_scripts_load_only_where_they_are_needed(site):
    for script in load_hook("browser_scripts").SCRIPTS:
        name = script.uri.rpartition("/")[2]
        for path in html_files(site):
            text = path.read_text(encoding="utf-8")
            assert (script.sign in text) == (name in text), path
