"""Makes notebooks from the examples, lists them on a page, and offers them for download.

The examples are scripts in the percent format, whose cells jupytext reads. What a notebook does
differently:

* Its opening text ends before the commands of the script.
* Its first cell of code installs the library.
* Settings replace the argument parser: the defaults, with their help as comments.
* A cell defines what the script imports from another example.

`python docs/notebooks.py --output build/notebooks` writes them. MkDocs calls the functions named
`on_...`.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jupytext
import nbformat
from mkdocs.structure.files import File
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PROJECT = "keras-transformer-layers"
# The examples that become notebooks, in the order of the page, and the extras that each needs.
EXTRAS = {
    "piece_by_piece": ("tensorflow", "viz"),
    "reverse_digits": ("tensorflow", "viz"),
    "why_it_works": ("tensorflow", "viz"),
    "look_inside": ("tensorflow", "text", "weights", "viz"),
    "translate_pretrained": ("tensorflow", "text", "weights"),
    "train_translator": ("tensorflow", "text"),
    "train_gpt": ("tensorflow", "text"),
    "temperature": ("tensorflow", "text", "weights", "viz"),
    "finetune_bert": ("tensorflow", "text", "weights", "examples"),
    "adapt_translator": ("tensorflow", "text", "weights", "examples"),
    "word2vec": ("jax", "viz", "examples"),
    "train_vit": ("tensorflow", "viz", "examples"),
    "forecast_seismogram": ("jax", "viz"),
}
MARKER = "<!-- notebooks -->"
# A sentence of the opening text of every example.
TIME = re.compile(r"^Takes (?P<time>.+?) on 2 CPU cores\b", re.MULTILINE)
COMMANDS = re.compile(r"\n\n    python .*", re.DOTALL)
INSTALLATION = """\
# The name of the library on PyPI, or the path or URL of a wheel, as pip reads them:
# "{project}{extras}"
# "folder/name.whl{extras}"
# "{project}{extras} @ https://host/name.whl"
LIBRARY = "{requirement}"
%pip install --quiet "{{LIBRARY}}"\
"""
SETTINGS = """\
## Settings

Change them as you like before you run the next cell.\
"""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class Opening(NamedTuple):
    """What an example says before its first line of code.

    Attributes:
        text: Markdown, without the commands of the script.
        title: The title.
        summary: The first paragraph.
        time: How long it takes on 2 CPU cores.
    """

    text: str
    title: str
    summary: str
    time: str


def build(name: str, library: str = PROJECT) -> str:
    """Returns an example as the text of a notebook.

    Args:
        name: Name of the example, a key of `EXTRAS`.
        library: What the notebook installs: a name on the package index, or the path or URL of a
            wheel.

    Returns:
        JSON in version 4.5 of the notebook format, without outputs.
    """
    cells = [
        new_markdown_cell(opening_of(name).text),
        new_code_cell(_installation(library, EXTRAS[name])),
    ]
    for cell in _cells_of(name)[1:]:
        source = cell.source.strip("\n")
        if cell.cell_type == "markdown":
            cells.append(new_markdown_cell(source))
        else:
            cells += _code_cells(source)
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # random by default, which would differ from build to build
    notebook = new_notebook(cells=cells, metadata=METADATA)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def opening_of(name: str) -> Opening:
    """Returns what an example says before its first line of code.

    Args:
        name: Name of the example.

    Raises:
        ValueError: If it does not say how long it takes.
    """
    text = COMMANDS.sub("", _cells_of(name)[0].source)
    found = TIME.search(text)
    if found is None:
        raise ValueError(
            "The example must say `Takes ... on 2 CPU cores` before its first command. "
            f"Received: name={name!r}."
        )
    title, summary = text.split("\n\n")[:2]
    return Opening(text, title.removeprefix("# "), " ".join(summary.split()), found["time"])


def table() -> str:
    """Returns a table of all notebooks in Markdown, with a link to each."""
    lines = ["| Notebook | What you see | Time on 2 CPU cores |", "|---|---|---|"]
    for name in EXTRAS:
        _, title, summary, time = opening_of(name)
        link = f"[{title}](notebooks/{name}.ipynb){{ download }}"
        lines.append(f"| {link} | {summary} | {time} |")
    return "\n".join(lines)


def _cells_of(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    return jupytext.reads(text, fmt="py:percent").cells


def _installation(library, extras):
    options = f"[{','.join(extras)}]"
    requirement = f"{library}{options}"
    if "://" in library:
        requirement = f"{PROJECT}{options} @ {library}"
    elif Path(library).is_file():
        requirement = f"{Path(library).resolve().as_posix()}{options}"
    return INSTALLATION.format(project=PROJECT, extras=options, requirement=requirement)


def _code_cells(source):
    """Returns the cells that a cell of code becomes."""
    source, definitions = _without_imports_of_examples(source)
    settings = _with_settings(source)
    cells = [] if settings == source else [new_markdown_cell(SETTINGS)]
    cells.append(new_code_cell(settings.replace("import argparse\n", "")))
    return [*cells, *map(new_code_cell, definitions)]


def _without_imports_of_examples(source):
    """Returns a cell without its imports from other examples, and the definitions imported."""
    lines, definitions = source.splitlines(keepends=True), []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (EXAMPLES / f"{node.module}.py").is_file():
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
            definitions += [_definition(node.module, alias.name) for alias in node.names]
    return "".join(lines), definitions


def _definition(example, name):
    """Returns the source of a function of an example."""
    source = (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")
    functions = {
        node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    }
    return ast.get_source_segment(source, functions[name])


def _with_settings(source):
    """Returns a cell with the defaults of its argument parser instead of the parser."""
    statements = [node for node in ast.parse(source).body if _mentions_parser(node)]
    if not statements:
        return source
    lines = source.splitlines()
    lines[statements[0].lineno - 1 : statements[-1].end_lineno] = [
        "from types import SimpleNamespace",
        "",
        "arguments = SimpleNamespace(",
        *(_setting(node.value, source) for node in statements[1:-1]),
        ")",
    ]
    return "\n".join(lines)


def _mentions_parser(node):
    return any(isinstance(one, ast.Name) and one.id == "parser" for one in ast.walk(node))


def _setting(call, source):
    """Returns the line for a call of `add_argument`: name, default and help."""
    name = call.args[0].value.removeprefix("--").replace("-", "_")
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    default = "False" if "action" in options else "None"
    if "default" in options:
        default = ast.get_source_segment(source, options["default"])
    line = f"    {name}={default},"
    if "help" in options:
        line += f"  # {options['help'].value.replace('%%', '%')}"
    return line


def on_config(config):
    """Rebuilds the site when an example changes."""
    config.watch.append(str(EXAMPLES))
    return config


def on_files(files, config):
    """Adds the notebooks to the site."""
    for name in EXTRAS:
        files.append(File.generated(config, f"notebooks/{name}.ipynb", content=build(name)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Puts the table into the page that asks for it."""
    return markdown.replace(MARKER, table()) if MARKER in markdown else markdown


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes all notebooks to a folder.

    Args:
        arguments: Those of the command line by default.
    """
    parser = argparse.ArgumentParser(description="Make notebooks from the examples.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "notebooks")
    parser.add_argument("--library", default=PROJECT, help="name, or path or URL of a wheel")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name in EXTRAS:
        path = chosen.output / f"{name}.ipynb"
        path.write_text(build(name, chosen.library), encoding="utf-8")
    print(f"{len(EXTRAS)} notebooks are in {chosen.output}.")


if __name__ == "__main__":
    main()
