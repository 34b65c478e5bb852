"""The notebooks: valid, with all code of the examples, and two of them run from the wheel."""

import argparse
import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("jupytext")
pytest.importorskip("mkdocs")

import nbformat  # noqa: E402

from tests.docs.site import ROOT, load_hook  # noqa: E402
from tests.robustness.distributions import build, copy_sources  # noqa: E402

notebooks = load_hook("notebooks")
NAMES = list(notebooks.EXTRAS)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCRIPTS = [path.stem for path in EXAMPLES if path.stem != "finetuning_common"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def built(name, **options):
    return nbformat.reads(notebooks.build(name, **options), as_version=4)


def sources(notebook, kind):
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def statements(source):
    return ast.parse(source).body


def example(name):
    return (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")


def is_of_parser(statement):
    """Whether a statement of an example makes or uses its argument parser."""
    return re.match(r"import argparse|parser\b|arguments = parser\b", ast.unparse(statement))


def is_of_settings(statement):
    """Whether a statement of a notebook makes its settings."""
    return "SimpleNamespace" in ast.unparse(statement)


def is_import_of_example(statement):
    return isinstance(statement, ast.ImportFrom) and statement.module in {p.stem for p in EXAMPLES}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid_and_has_no_outputs(name):
    notebook = built(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        assert cell.source == cell.source.strip("\n") and cell.source
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)
    assert notebooks.build(name) == notebooks.build(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_code_of_the_example(name):
    expected = [
        one
        for one in statements(example(name))
        if not is_of_parser(one) and not is_import_of_example(one)
    ]
    code = "\n".join(sources(built(name), "code")[1:])  # without the installation
    found = [one for one in statements(code) if not is_of_settings(one)]
    imported = {
        alias.name
        for one in filter(is_import_of_example, statements(example(name)))
        for alias in one.names
    }
    definitions = [one for one in found if getattr(one, "name", None) in imported]
    assert {one.name for one in definitions} == imported
    assert [ast.dump(one) for one in found if one not in definitions] == [
        ast.dump(one) for one in expected
    ]
    common = {ast.dump(one) for one in statements(example("finetuning_common"))}
    assert {ast.dump(one) for one in definitions} <= common


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_are_the_defaults_of_the_example(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    parser = [one for one in statements(example(name)) if is_of_parser(one)]
    script = {"Path": Path}
    exec(compile(ast.Module(parser, []), name, "exec"), script)
    code = "\n".join(sources(built(name), "code")[1:])
    settings = [one for one in statements(code) if is_of_settings(one)]
    notebook = {"Path": Path}
    exec(compile(ast.Module(settings, []), name, "exec"), notebook)
    assert isinstance(script["arguments"], argparse.Namespace)
    assert isinstance(notebook["arguments"], SimpleNamespace)
    assert vars(notebook["arguments"]) == vars(script["arguments"])
    for option in script["parser"]._actions:
        if option.help and option.dest != "help":
            assert re.search(rf"    {option.dest}=.*,  # {re.escape(option.help % {})}\n", code)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_text_of_the_example(name):
    opening, *found = sources(built(name), "markdown")
    comments = re.findall(r"^# %% \[markdown\]\n((?:#.*\n)+)", example(name), re.MULTILINE)
    first, *expected = [re.sub(r"^# ?", "", text, flags=re.M).strip() for text in comments]
    assert [text for text in found if text != notebooks.SETTINGS] == expected
    assert found.count(notebooks.SETTINGS) == 1
    # The first text ends where the commands begin.
    assert first.startswith(opening) and first.removeprefix(opening).startswith("\n\n    python ")
    assert opening.startswith("# ") and notebooks.TIME.search(opening)
    assert "--smoke" not in opening


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_says_what_one_sees_and_how_long_it_takes(name):
    opening = notebooks.opening_of(name)
    assert len(opening.summary) > 50
    assert "ou see" in opening.text
    assert re.search(r"\d+ minutes|a minute", opening.time)


def test_an_example_without_its_time(tmp_path, monkeypatch):
    (tmp_path / "quick.py").write_text("# %% [markdown]\n# # Quick\n#\n# You see.\n")
    monkeypatch.setattr(notebooks, "EXAMPLES", tmp_path)
    with pytest.raises(ValueError, match="must say `Takes .* CPU cores`.*Received: name='quick'"):
        notebooks.opening_of("quick")


def test_no_name_is_undefined(tmp_path):
    """Ruff reads notebooks, magics included."""
    notebooks.main(["--output", str(tmp_path)])
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(NAMES)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F82"]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("library", "requirement"),
    [
        ("keras-transformer-layers", "keras-transformer-layers[jax,viz]"),
        ("one.whl", "{folder}/one.whl[jax,viz]"),
        (
            "https://host/one.whl",
            "keras-transformer-layers[jax,viz] @ https://host/one.whl",
        ),
    ],
)
def test_the_first_code_installs_the_library(library, requirement, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("one.whl").touch()
    code = sources(built("forecast_seismogram", library=library), "code")[0]
    expected = requirement.format(folder=tmp_path.resolve().as_posix())
    assert code.splitlines()[-2:] == [
        f'LIBRARY = "{expected}"',
        '%pip install --quiet "{LIBRARY}"',
    ]


def test_the_project_has_the_extras():
    assert notebooks.PROJECT == PROJECT["name"]
    assert set().union(*notebooks.EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("name", NAMES)
def test_the_backend_is_among_the_extras(name):
    backend = re.search(r'setdefault\("KERAS_BACKEND", "(\w+)"\)', example(name))[1]
    assert backend in notebooks.EXTRAS[name]
    assert ("matplotlib" in example(name)) == ("viz" in notebooks.EXTRAS[name])


def test_the_page_lists_all_notebooks():
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    shown = notebooks.on_page_markdown(page, page=None, config=None, files=None)
    assert notebooks.MARKER in page and notebooks.MARKER not in shown
    assert re.findall(r"\]\(notebooks/(\w+)\.ipynb\)\{ download \}", shown) == NAMES
    rows = [line for line in shown.splitlines() if line.startswith("| [")]
    assert all(len(row.strip("|").split("|")) == 3 for row in rows)
    other = "# Page\n"
    assert notebooks.on_page_markdown(other, page=None, config=None, files=None) == other


# What two notebooks print, and one of their figures.
RUN = {
    "piece_by_piece": ("The figures are in", "pieces-schedule.png"),
    "reverse_digits": ("| two beams |", "pieces-beams.png"),
}


# One test and one process: a sample always has the only slow test of a file, and imports take most
# of the time.
@pytest.mark.slow
def test_notebooks_run_from_top_to_bottom(tmp_path):
    wheel = build("wheel", copy_sources(tmp_path / "sources"), tmp_path / "dist")
    notebooks.main(["--output", str(tmp_path), "--library", str(wheel)])
    for name in RUN:
        path = tmp_path / f"{name}.ipynb"
        text = path.read_text(encoding="utf-8")
        assert text.count("smoke=False,") == 1
        path.write_text(text.replace("smoke=False,", "smoke=True,"), encoding="utf-8")
    installed = tmp_path / "installed"
    installed.mkdir()
    # pip installs there, without the dependencies, which are those of the tests.
    settings = {"TARGET": str(installed), "UPGRADE": "1", "NO_DEPS": "1", "NO_INDEX": "1"}
    environment = {
        **os.environ,
        **{f"PIP_{name}": value for name, value in settings.items()},
        "PYTHONPATH": str(installed),
        "KERAS_BACKEND": "torch",
    }
    # -P: the folder of the runner is not on the path.
    command = [sys.executable, "-P", str(ROOT / "tests" / "docs" / "notebook_runner.py")]
    result = subprocess.run(
        [*command, *(f"{name}.ipynb" for name in RUN)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count(f"It used {installed}") == len(RUN)
    for line, figure in RUN.values():
        assert line in result.stdout
        assert len(list((tmp_path / "runs").rglob(figure))) == 1
