"""Speed of the explorer's page in Chromium, and its picture for the README.

    python benchmarks/explorer_page.py --write docs/benchmarks.md
    python benchmarks/explorer_page.py --picture docs/images/explorer.png
    python benchmarks/explorer_page.py --picture docs/images/explorer.ja.png --language ja-JP

The model is a GPT with 6 layers, width 256, 8 heads and random weights, and the text has about 20
tokens. Paint is the browser's own first contentful paint, in new pages. An interaction is measured
in the page, from the event to the frame after the last answer of the server. The picture is of
Firefox's translator.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from page import machine, write_section
from playwright.sync_api import sync_playwright

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not even look up at it."
COMMAND = "python benchmarks/explorer_page.py --write docs/benchmarks.md"
VOCABULARY_SIZE = 6000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# Counts the pending requests, since a view is complete only when its numbers have arrived.
COUNT = """
window.underWay = 0;
const ask = window.fetch;
window.fetch = (...options) => {
  window.underWay += 1;
  return ask(...options).finally(() => setTimeout(() => { window.underWay -= 1; }));
};
"""
# Acts, then resolves with the milliseconds until a frame has shown the settled page.
MEASURE = """
async ([selector, act]) => {
  const frame = () => new Promise(requestAnimationFrame);
  const element = [...document.querySelectorAll(selector)].find((one) => one.checkVisibility());
  const start = performance.now();
  if (act === "click") element.click();
  else {
    element.value = act;
    element.dispatchEvent(new Event("input", {bubbles: true}));
  }
  const isBusy = () => window.underWay > 0 || document.body.classList.contains("busy");
  do await frame(); while (isBusy());
  await frame();
  return performance.now() - start;
}
"""
INTERACTIONS = {
    "next head": ("[data-panel=attention] [aria-label='Head: forward']", "click"),
    "next layer": ("[data-panel=attention] [aria-label='Layer: forward']", "click"),
    "temperature": ("[data-control=temperature]", "0.7"),
    "open a stage": (".tile[data-stage=block] .tile-button", "click"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--picture", help="PNG to draw instead of measuring")
    parser.add_argument("--language", default="en-US", help="language of the picture")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("Chromium is missing: run `make browser`.")
    if arguments.picture:
        draw(arguments.picture, arguments.language)
        return
    with tempfile.TemporaryDirectory() as folder, served([save_model(Path(folder) / "gpt")]) as url:
        paints, times = measure(url, arguments.repeats)
    rows = [f"| {name} | {statistics.median(each):.0f} |" for name, each in times.items()]
    body = "\n".join(
        [
            f"```bash\n{COMMAND}\n```\n",
            f"| median of {arguments.repeats} | milliseconds |",
            "|---|---|",
            f"| first contentful paint | {statistics.median(paints):.0f} |",
            *rows,
            f"\n{machine()}",
        ]
    )
    print(body)
    if arguments.write:
        write_section(arguments.write, "The explorer's page", body)


def save_model(folder: Path) -> str:
    """Saves a text generator with random weights and a subword tokenizer."""
    import keras_transformer as kt

    train, _, _ = kt.datasets.tatoeba.load_data("fra")
    tokenizer = kt.data.train_tokenizer(list(train[0])[:50_000], vocabulary_size=VOCABULARY_SIZE)
    model = kt.models.gpt(
        VOCABULARY_SIZE,
        num_layers=6,
        num_heads=8,
        hidden_dim=256,
        intermediate_dim=1024,
        max_length=128,
    )
    kt.TextGenerator(model, tokenizer).save(folder)
    return str(folder)


@contextlib.contextmanager
def served(options: list[str]) -> Iterator[str]:
    """Runs the explorer in a separate process and yields its address."""
    command = [sys.executable, "-m", "keras_transformer.explorer", "--no-browser", "--port", "0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:  # type: ignore[union-attr]
                if "http://" in line:
                    yield re.search(r"http://\S+", line)[0]  # type: ignore[index]
                    break
        finally:
            process.terminate()


def measure(url: str, repeats: int) -> tuple[list[float], dict[str, list[float]]]:
    """Returns the paints of new pages, and the times of each interaction."""
    paints: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in INTERACTIONS}
    with browser() as chromium:
        for _ in range(repeats):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(COUNT)
            page.goto(url)
            page.locator(".tile").first.wait_for()
            page.locator("#text").fill(TEXT)
            page.wait_for_timeout(1000)
            page.locator("body:not(.busy)").wait_for()
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            paints.append(page.evaluate(paint))
            for name, how in INTERACTIONS.items():
                stage = "logits" if name == "temperature" else "attention"
                button = page.locator(f".tile[data-stage={stage}] .tile-button")
                if button.get_attribute("aria-expanded") == "false":
                    button.click()
                    page.wait_for_timeout(500)
                times[name].append(page.evaluate(MEASURE, list(how)))
            page.close()
    return paints, times


def draw(path: str, language: str) -> None:
    """Takes the picture of the explorer with Firefox's translator."""
    with served([]) as url, browser() as chromium:
        page = chromium.new_page(
            viewport={"width": 1280, "height": 1000}, color_scheme="light", locale=language
        )
        page.goto(url)
        page.locator(".tile").first.wait_for()
        page.wait_for_timeout(3000)
        page.locator("body:not(.busy)").wait_for()
        page.screenshot(path=path)


@contextlib.contextmanager
def browser() -> Iterator:
    """Yields a headless Chromium."""
    arguments = ["--headless", "--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


if __name__ == "__main__":
    main()
