"""Writes the API reference: one page for each public name, from the `__all__` of each package.

MkDocs calls the functions named `on_...`. The library is read, not imported, so that the site can
be built without a backend.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import griffe
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

LIBRARY = "keras_transformer"
SECTION = "API reference"
ROOT = Path(__file__).resolve().parent.parent


class Page(NamedTuple):
    """A page of the reference: its path, its title and its Markdown."""

    uri: str
    title: str
    markdown: str


@cache
def pages() -> dict[str, list[Page]]:
    """Returns the pages of each package by its public name, its index page first."""
    library = griffe.load(LIBRARY, search_paths=[ROOT])
    packages = {LIBRARY: library}
    for name in sorted(library.exports):
        if name in library.members and library[name].is_module:
            packages[f"{LIBRARY}.{name}"] = library[name]
    return {path: _package_pages(path, module, packages) for path, module in packages.items()}


def _package_pages(path, module, packages):
    names = [name for name in map(str, module.exports) if f"{path}.{name}" not in packages]
    folder = path.replace(LIBRARY, "api", 1).replace(".", "/")
    title = SECTION if path == LIBRARY else _short(path)
    index = [f"# {title}\n\n{_described(module)}\n"]
    if path == LIBRARY:
        index += [
            "\n[Find it by task](../what-is-where.md#find-it-by-task) sorts the names by use.\n",
            "\n| Package | |\n|---|---|\n",
            *(
                f"| [`{_short(other)}`]({other.split('.')[-1]}/index.md) | {_summary(package)} |\n"
                for other, package in packages.items()
                if other != LIBRARY
            ),
        ]
    if names:
        index += ["\n| Name | |\n|---|---|\n"]
        index += [
            f"| [`{name}`]({name}.md) | {_summary(module[name])} |\n" for name in sorted(names)
        ]
    found = [Page(f"{folder}/index.md", _short(path), "".join(index))]
    for name in sorted(names):
        markdown = (
            f"---\ntitle: {name}\n---\n\n"
            f"`{_short(path)}.{name}`{{ .public-name }}\n\n::: {_target(module[name]).path}\n"
        )
        found.append(Page(f"{folder}/{name}.md", name, markdown))
    return found


def _short(path):
    return path.replace(LIBRARY, "kt", 1)


def _target(item):
    return item.final_target if item.is_alias else item


def _described(item):
    return item.docstring.value if item.docstring else ""


def _summary(item):
    """Returns the first line of a docstring, or the value of a constant that has none."""
    item = _target(item)
    text = _described(item).split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    if not text and item.is_attribute:
        text = f"The constant {item.value}."
    return text


@cache
def addresses() -> dict[str, str]:
    """Returns each page's address by its name in code: `kt.layers.X`, for a class also just `X`."""
    found_at = {}
    for path, found in pages().items():
        found_at[_short(path)] = found[0].uri
        for page in found[1:]:
            found_at[f"{_short(path)}.{page.title}"] = page.uri
            # Just the name of a function may also be that of an argument, such as `padding_mask`.
            if page.title[0].isupper() and not page.title.isupper():
                found_at[page.title] = page.uri
    return found_at


def on_config(config):
    """Puts the reference into the navigation."""
    sections = []
    for path, found in pages().items():
        entries = [found[0].uri, *({page.title: page.uri} for page in found[1:])]
        sections.append({_short(path): entries})
    (overview,) = sections[0].values()
    for item in config.nav:
        if SECTION in item:
            item[SECTION] = [overview[0], *overview[1:], *sections[1:]]
    config.watch.append(str(ROOT / LIBRARY))
    return config


def on_files(files, config):
    """Adds the pages, which exist in memory only."""
    for found in pages().values():
        for page in found:
            files.append(File.generated(config, page.uri, content=page.markdown))
    return files


def on_page_content(html, page, config, files):
    """Links the names in running text to their pages."""

    def link(match):
        uri = addresses().get(match[1].removesuffix("()"))
        if uri is None or uri == page.file.src_uri:
            return match[0]
        address = get_relative_url(files.get_file_from_path(uri).url, page.url)
        return f'<a href="{address}">{match[0]}</a>'

    # Text that is already a link, a heading or a block of code is left unchanged.
    parts = re.split(r"(<a [^>]*>.*?</a>|<h\d.*?</h\d>|<pre.*?</pre>)", html, flags=re.DOTALL)
    parts[::2] = [re.sub(r"<code>([\w.]+(?:\(\))?)</code>", link, part) for part in parts[::2]]
    return "".join(parts)
