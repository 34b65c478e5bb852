"""The pages say what is true: their code runs, and what they show is what comes out."""

import contextlib
import io
import re
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
# Translations such as page.ja.md, whose code is that of the page itself.
TRANSLATIONS = sorted((ROOT / "docs").glob("*.??.md"))
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


# Lines quoted from a file of the library, which the block names as its title.
QUOTE = re.compile(r'^```py title="(?P<file>.+?)"\n(?P<lines>.*?)^```$', re.DOTALL | re.MULTILINE)
QUOTES = [
    (page.name, match["file"], line.strip())
    for page in PAGES
    for match in QUOTE.finditer(page.read_text(encoding="utf-8"))
    for line in match["lines"].splitlines()
]


@pytest.fixture(autouse=True)
def one_thread():
    """More threads only wait for each other over small tensors, longest on a busy machine."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)


RUN = [page for page in PAGES if page not in TRANSLATIONS and any(blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
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


@pytest.mark.parametrize(("page", "file", "line"), QUOTES)
def test_quoted_line_is_in_the_file(page, file, line):
    code = (ROOT / file).read_text(encoding="utf-8")
    assert line in map(str.strip, code.splitlines()), f"{page} quotes a line that {file} lacks."


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: page.stem)
def test_translation_has_the_code_and_the_images_of_the_page(page):
    original = page.with_name(f"{page.name.split('.')[0]}.md")
    contents = []
    for one in (original, page):
        text = one.read_text(encoding="utf-8")
        code = [(block["code"], block["output"]) for block in BLOCK.finditer(text)]
        quotes = [match[0] for match in QUOTE.finditer(text)]
        equations = re.findall(r"^\$\$.*?\$\$$", text, re.DOTALL | re.MULTILINE)
        contents.append((code, quotes, equations, re.findall(r"\]\((images/.+?)\)", text)))
    assert contents[0] == contents[1]
