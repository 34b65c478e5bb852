"""The pages say what is true: their code runs, and what they show is what comes out."""

import contextlib
import io
import re
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
# A block of Python, and the block of text after it, if that follows at once.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\s*^```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)


def blocks(page):
    """The code of a page, its line number there, and what it shows as its output."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield match["code"], text.count("\n", 0, match.start("code")), match["output"]


@pytest.fixture(autouse=True)
def one_thread():
    """More threads only wait for each other over small tensors, longest on a busy machine."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p))], ids=lambda page: page.stem)
def test_code_of_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(1)
    namespace = {"__name__": "page"}
    for code, line, expected in blocks(page):
        # Empty lines in front, so that an error names the line of the page.
        program = compile("\n" * line + code, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, namespace)
        if expected is not None:
            assert printed.getvalue().rstrip() == expected.rstrip(), f"{page.name}, line {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_a_title_and_closed_blocks(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("```") for line in lines) % 2 == 0
