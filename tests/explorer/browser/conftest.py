"""A browser, servers with tiny models, and pages that report whatever goes wrong on them."""

import contextlib

import keras
import pytest
from playwright.sync_api import expect

import keras_transformer as kt
from keras_transformer.explorer import Answers
from tests.browser import axe_text, open_browser
from tests.explorer import serving, tiny_model

WAIT = 30_000  # milliseconds: other tests may keep all cores busy


# Playwright's event loop runs as long as its browser: not longer than the tests of this folder.
@pytest.fixture(scope="package")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def answers():
    """Calls with a kind of model give its answers, made when they are first asked for."""
    made = {}

    def answers_of(kind):
        if kind not in made:
            keras.utils.set_random_seed(7)
            made[kind] = Answers(model_of(kind))
        return made[kind]

    return answers_of


@pytest.fixture(scope="package")
def servers(answers):
    """Calls with a kind of model give its server."""
    running = {}
    with contextlib.ExitStack() as stack:

        def server_of(kind):
            if kind not in running:
                running[kind] = stack.enter_context(serving(answers(kind)))
            return running[kind]

        yield server_of


def model_of(kind):
    """A tiny model whose translations are short."""
    opened = tiny_model(kind)
    if opened.kind == "translator":
        opened.pipeline.defaults = kt.DecodingDefaults(max_new_tokens=4, length_penalty=0.6)
    opened.examples = {
        "language_model": ["the cat sat", "where is the"],
        "translator": ["the cat sat", "the old dog slept"],
        "encoder": ["the cat [MASK] on the mat"],
    }.get(opened.kind, opened.examples)
    return opened


class Visit:
    """A page of a model, and what went wrong on it."""

    def __init__(self, browser, address, width, language, theme, **options):
        self.address, self.problems, self.requests = address, [], []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            locale=language,
            color_scheme=theme,
            **options,
        )
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._see)

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.text} {message.location.get('url', '')}")

    def _see(self, request):
        self.requests.append(request.url)
        if not request.url.startswith((self.address, "data:", "file:")):
            self.problems.append(f"a request to {request.url}")

    def open(self, path="/"):
        self.page.goto(self.address + path)
        self.page.locator(".tile").first.wait_for()
        self.settle()
        return self

    def settle(self):
        """Waits until the model has answered."""
        self.page.locator("body:not(.busy)").wait_for()

    def stage(self, name):
        """Opens a stage and returns its panel once it shows what is chosen."""
        button = self.page.locator(f".tile[data-stage={name}] .tile-button")
        if button.get_attribute("aria-expanded") == "false":
            button.click()
        panel = self.page.locator(f"[data-panel={name}]")
        expect(panel.locator("[aria-busy=true]")).to_have_count(0, timeout=WAIT)
        return panel

    def part(self, stage, name):
        """Opens a stage and returns one part of it."""
        return self.stage(stage).locator(f"[data-part={name}]")


@pytest.fixture
def visit(browser, servers):
    """Opens pages; in the end, none may have seen an error or asked another machine."""
    visits = []

    def open_page(kind, width=1280, language="en", theme="light", **options):
        address = servers(kind).address
        visits.append(Visit(browser, address, width, language, theme, **options))
        return visits[-1].open()

    yield open_page
    for one in visits:
        one.context.close()
    assert [one.problems for one in visits] == [[] for _ in visits]


@pytest.fixture(scope="package")
def axe():
    """The text of axe-core, which finds what keeps people from using a page."""
    return axe_text()
