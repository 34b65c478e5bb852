"""The pages are correct: their code runs, and prints the output that they show."""

import contextlib
import io
import math
import re
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
# Translations such as page.ja.md have the code of the page itself, as test_translations.py checks.
TRANSLATIONS = sorted((ROOT / "docs").glob("*.??.md"))
# A block of Python and the block of text that directly follows it, if any: the exact output, unless
# it is marked with "about", for numbers that differ slightly, or with "varies", for output that
# depends on the backend and the machine.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$"
    r"(?:\s*^```(?:text| \{\.text \.(?P<kind>about|varies)\})\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d*)?(?:e[+-]?\d+)?")


def blocks(page):
    """Yields each block's code, its line on the page, its output, and how exact the output is."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield match["code"], line, match["output"], match["kind"]


def as_numbers(text):
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def agrees(printed, shown, kind):
    """Whether a block printed what the page shows."""
    printed, shown = printed.rstrip(), shown.rstrip()
    if kind == "varies":
        return len(printed.splitlines()) == len(shown.splitlines())
    if kind == "about":
        # A letter for each number, and no spaces, which depend on the widths of the numbers.
        words = ["".join(NUMBER.sub(" N ", text).split()) for text in (printed, shown)]
        pairs = zip(as_numbers(printed), as_numbers(shown), strict=False)
        return words[0] == words[1] and all(
            math.isclose(one, other, rel_tol=0.3, abs_tol=0.02) for one, other in pairs
        )
    return printed == shown


@pytest.mark.parametrize(
    ("printed", "shown", "kind", "expected"),
    [
        ("loss 0.70\n", "loss 0.70", None, True),
        ("loss 0.71\n", "loss 0.70", None, False),
        ("loss 0.71, 1,300\n", "loss 0.90, 1,100", "about", True),
        ("loss 0.71\n", "loss 1.40", "about", False),
        ("losses 0.70\n", "loss 0.70", "about", False),
        ("[ 1. 12.]", "[1.2 11.9]", "about", True),
        ("1 2", "1", "about", False),
        ("le chat\n", "the mat", "varies", True),
        ("", "the mat", "varies", False),
        ("[1 2]\n[1 2]", "[3 1]\n[3 1]", "varies", True),
        ("[1 2]", "[3 1]\n[3 1]", "varies", False),
    ],
)
def test_what_agrees_with_a_page(printed, shown, kind, expected):
    assert agrees(printed, shown, kind) is expected


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
    """Uses one thread: with small tensors, several threads mostly wait for each other."""
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
    for code, line, expected, kind in blocks(page):
        # Empty lines in front, so that an error names the line of the page.
        program = compile("\n" * line + code, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, namespace)
        if expected is not None:
            place = f"{page.name}, line {line}, printed:\n{printed.getvalue()}"
            assert agrees(printed.getvalue(), expected, kind), place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_a_title_and_closed_blocks(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("```") for line in lines) % 2 == 0


@pytest.mark.parametrize(("page", "file", "line"), QUOTES)
def test_quoted_line_is_in_the_file(page, file, line):
    code = (ROOT / file).read_text(encoding="utf-8")
    assert line in map(str.strip, code.splitlines()), f"{page} quotes a line that {file} lacks."
