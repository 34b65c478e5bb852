"""Every public name has its page, and a docstring that says what a reader needs."""

import inspect
import re
from types import ModuleType

import pytest

import keras_transformer as kt
from tests.docs.site import ROOT, load_hook

pytest.importorskip("mkdocs")
pytest.importorskip("griffe")


def public_names():
    """Each public name with its object, except for the modules of `kt`."""
    for name in kt.__all__:
        value = getattr(kt, name)
        if isinstance(value, ModuleType):
            yield from ((f"kt.{name}.{inner}", getattr(value, inner)) for inner in value.__all__)
        else:
            yield f"kt.{name}", value


CALLABLES = {name: value for name, value in public_names() if callable(value)}


def test_every_public_name_has_a_page():
    hooks = load_hook("hooks")
    pages = {
        "kt" + page.uri.removeprefix("api").removesuffix(".md").replace("/", "."): page
        for found in hooks.pages().values()
        for page in found
    }
    packages = {f"kt.{name}" for name in kt.__all__ if isinstance(getattr(kt, name), ModuleType)}
    indices = {f"{name}.index" for name in {"kt", *packages}}
    assert set(pages) == {name for name, _ in public_names()} | indices
    for name, page in pages.items():
        if name not in indices:
            # The page shows this object, under the path where it is defined.
            assert re.search(r"^::: keras_transformer\.", page.markdown, re.MULTILINE), name
            owner = pages[f"{name.rpartition('.')[0]}.index"]
            assert f"]({name.rpartition('.')[2]}.md)" in owner.markdown, name


def test_index_says_something_about_every_name():
    for found in load_hook("hooks").pages().values():
        rows = re.findall(r"(?m)^\| \[`(.*?)`\]\(.*?\) \|(.*)\|$", found[0].markdown)
        assert rows and all(text.strip() for _, text in rows), found[0].uri


def test_every_public_name_is_found_by_its_task():
    page = (ROOT / "docs" / "what-is-where.md").read_text(encoding="utf-8")
    tasks = page.partition("## Find it by task\n")[2].partition("\n## ")[0]
    named = re.findall(r"`(kt\.[\w.]+)`", tasks)
    assert set(named) == {name for name, _ in public_names()}


def test_related_names_exist():
    known, found = {name for name, _ in public_names()}, 0
    for name, value in CALLABLES.items():
        related = (inspect.getdoc(value) or "").partition("\nSee Also:\n")[2].partition("\n\n")[0]
        names = re.findall(r"`(kt\.[\w.]+)`", related)
        assert set(names) <= known - {name}, name
        found += bool(names)
    assert found >= 30


def sections(value):
    return set(re.findall(r"(?m)^(\w+):$", inspect.getdoc(value) or ""))


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [p for p in found if p.name not in ("self", "args", "kwargs")]


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_docstring_is_complete(name):
    value = CALLABLES[name]
    found = sections(value)
    assert "Example" in found
    if inspect.isclass(value) and issubclass(value, tuple):
        assert "Attributes" in found
    elif parameters(value.__init__ if inspect.isclass(value) else value):
        assert "Args" in found
    if not inspect.isclass(value):
        returned = inspect.signature(value).return_annotation
        has_result = found & {"Returns", "Yields"} or returned in (None, "None")
        assert has_result or len(parameters(value)) == 1


@pytest.mark.parametrize("name", sorted(n for n in CALLABLES if n.startswith("kt.layers.")))
def test_call_of_layer_is_documented(name):
    call = getattr(CALLABLES[name], "call", None)
    if call is not None:
        assert {"Args", "Returns"} <= sections(call)


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_every_argument_is_described(name):
    value = CALLABLES[name]
    if inspect.isclass(value) and issubclass(value, tuple):
        pytest.skip("its fields are described as attributes")
    function = value.__init__ if inspect.isclass(value) else value
    described = set(re.findall(r"(?m)^    \*{0,2}(\w+):", inspect.getdoc(value)))
    missing = {p.name for p in parameters(function)} - described
    assert not missing or name == "kt.layers.gelu_approximate"
