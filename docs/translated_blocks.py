"""Copies what commands write into a page into its translations, so that no number is typed twice.

A translation asks for a block, which lies between `<!-- name -->` and `<!-- end of name -->` in the
original, with a comment that the built page replaces:

    <!-- from the original: name -->

docs/phrases.ja.yml translates the words of these blocks and of the tables of docs/benchmarks.md:
paragraphs, headers and cells of tables, titles of images. Phrases have placeholders for one word,
`{minutes}`, or for several, `{machine...}`.

MkDocs calls the function named `on_...`.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from translations import DEFAULT, language_of, original_of

DOCS = Path(__file__).resolve().parent
MARKER = re.compile(r"<!-- from the original: (?P<name>.+?) -->")
CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
IMAGE = re.compile(r"!\[(?P<title>.*?)\](?P<target>\(.+?\))")
WORD, ANY = r"\S+", ".+"
PLACEHOLDER = re.compile(r"\\\{(?P<name>\w+)(?P<dots>(?:\\\.){3})?\\\}")


def on_page_markdown(markdown, page, config, files):
    """Copies the blocks that a translation asks for, and translates them."""
    language = language_of(page.file.src_uri)
    if language == DEFAULT:
        return markdown
    original = (DOCS / original_of(page.file.src_uri)).read_text(encoding="utf-8")
    markdown = MARKER.sub(lambda match: block_of(original, match["name"]), markdown)
    return translated(markdown, phrases(language))


def block_of(original: str, name: str) -> str:
    """Returns what a command has written into a page.

    Args:
        original: Markdown of the page.
        name: Name in the comments around the block.

    Returns:
        Markdown.

    Raises:
        ValueError: If the page has no such block.
    """
    begin, end = f"<!-- {re.escape(name)} -->\n", f"\n<!-- end of {re.escape(name)} -->"
    found = re.search(f"{begin}(.*?){end}", original, re.DOTALL)
    if not found:
        raise ValueError(f"`name` must be a block of the original. Received: {name!r}.")
    return found[1].strip()


def phrases(language: str) -> list[tuple[re.Pattern, str]]:
    """Returns the patterns of English phrases with their translations."""
    text = (DOCS / f"phrases.{language}.yml").read_text(encoding="utf-8")
    # A phrase without placeholders fits better than one with them.
    entries = sorted(yaml.safe_load(text).items(), key=lambda entry: "{" in entry[0])
    return [(pattern(phrase), other) for phrase, other in entries]


def pattern(phrase: str) -> re.Pattern:
    """Returns the pattern of a phrase, with a group for each placeholder."""
    return re.compile(
        PLACEHOLDER.sub(
            lambda match: f"(?P<{match['name']}>{ANY if match['dots'] else WORD})",
            re.escape(phrase).replace(r"\ ", " "),
        )
    )


def translation(text: str, known: list[tuple[re.Pattern, str]]) -> str | None:
    """Returns the translation of a text by the first phrase that fits, or None."""
    for phrase, other in known:
        if match := phrase.fullmatch(text):
            return other.format(**match.groupdict())
    return None


def translated(markdown: str, known: list[tuple[re.Pattern, str]]) -> str:
    """Returns Markdown with all of its texts translated for which there are phrases."""

    def part(text):
        return translation(text, known) or text

    def paragraph(text):
        if text.lstrip().startswith("|"):
            cells = (re.split(r"( *\| *)", line) for line in text.split("\n"))
            return "\n".join("".join(map(part, line)) for line in cells)
        if image := IMAGE.fullmatch(text.strip()):
            return text.replace(image[0], f"![{part(image['title'])}]{image['target']}")
        return translation(" ".join(text.split()), known) or text

    parts = CODE.split(markdown)
    parts[::2] = [re.sub(r"(?:.+\n?)+", _each(paragraph), text) for text in parts[::2]]
    return "".join(parts)


def _each(paragraph):
    """Returns a replacement that keeps the line break at the end of a paragraph."""

    def replaced(match):
        text = match[0].removesuffix("\n")
        return paragraph(text) + match[0][len(text) :]

    return replaced
