"""Copies tables of docs/benchmarks.md into other pages, so that no number is typed twice.

A page asks for a table with a comment, which the built page replaces:

    <!-- from benchmarks
    section: Decoding: tokens per second
    columns: system | beams | first call, s
    where: beams = 4
    -->

MkDocs calls the function named `on_...`.
"""

from __future__ import annotations

import re
from pathlib import Path

from markdown.extensions.toc import slugify

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
MARKER = re.compile(r"<!-- from benchmarks\n(?P<settings>.*?)-->", re.DOTALL)


def on_page_markdown(markdown, page, config, files):
    """Replaces the comments of a page with the tables that they ask for."""
    benchmarks = BENCHMARKS.read_text(encoding="utf-8")
    return MARKER.sub(lambda match: copied_table(benchmarks, **_settings(match)), markdown)


def _settings(match):
    pairs = (line.partition(":") for line in match["settings"].strip().splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def copied_table(benchmarks: str, section: str, columns: str, where: str | None = None) -> str:
    """Returns some columns of a section's table, with a link to the section.

    Args:
        benchmarks: Markdown with a section `## ...` for each benchmark.
        section: Title of the section.
        columns: Names of the columns, separated by vertical bars; the first table with all of them
            is taken.
        where: `column = value` to keep only the rows with this value.

    Returns:
        Markdown.

    Raises:
        ValueError: If there is no such section, no table with these columns, or no such row.
    """
    found = re.search(rf"(?ms)^## {re.escape(section)}$(.*?)(?=^## |\Z)", benchmarks)
    if not found:
        raise ValueError(f"`section` must be a section of the benchmarks. Received: {section!r}.")
    names = [name.strip() for name in columns.split("|")]
    column, _, value = (part.strip() for part in (where or "").partition("="))
    needed = {*names, *([column] if where else [])}
    tables = [_rows(table) for table in re.findall(r"(?m)(?:^\|.*\n)+", found[1])]
    table = next((table for table in tables if needed <= set(table[0])), None)
    if table is None:
        raise ValueError(f"`columns` must be those of a table of {section!r}. Received: {columns}.")
    rows = [row for row in table if not where or row[column] == value]
    if not rows:
        raise ValueError(f"`where` must hold for a row of {section!r}. Received: {where}.")
    lines = [names, ["---"] * len(names), *([row[name] for name in names] for row in rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    # The date and the machine, whose name may have commas in its parentheses.
    measured = re.match(r"[^,]+, [^,(]+(\(.*?\))?", found[1].strip().splitlines()[-1])[0]
    address = f"benchmarks.md#{slugify(section, '-')}"
    return f"{text}\n\nMeasured on {measured}; more in [Benchmarks]({address})."


def _rows(table):
    """Returns the rows of a Markdown table, each a dict from column to cell."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
