"""The built site has no dead links, sends no requests to other machines, and is accessible."""

from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("playwright")

from tests.browser import axe_text, open_browser, serious_violations  # noqa: E402
from tests.docs.site import Links, build, load_hook, serving  # noqa: E402

# Pages of each kind: start, diagram, wide tables, code, messages, equations.
FOR_EVERYBODY = [
    "index.html",
    "what-is-where/index.html",
    "benchmarks/index.html",
    "coming-from/index.html",
    "errors/index.html",
    "api/layers/MultiHeadAttention/index.html",
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
