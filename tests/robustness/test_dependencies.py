"""Imported distributions are declared: in the core if always needed, otherwise in an extra."""

import ast
import re
import sys
import tomllib

from tests.robustness import REPOSITORY
from tests.test_house import FILES, imported_modules, parsed, top_level_imports

# Modules whose distributions have different names.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
# Not for users of the package.
OF_DEVELOPERS = {"test", "docs", "bench", "all"}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def distributions(requirements):
    """The names of distributions in a list of requirements."""
    return {normalized(re.match(r"[A-Za-z0-9._-]+", one)[0]) for one in requirements}


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


CORE = distributions(PROJECT["dependencies"])
EXTRAS = {
    extra: distributions(requirements)
    for extra, requirements in PROJECT["optional-dependencies"].items()
    if extra not in OF_DEVELOPERS
}


def third_party(modules):
    """The distributions of modules that are neither ours nor in the standard library."""
    names = {module.split(".")[0] for module in modules if module}
    names -= {"keras_transformer", *sys.stdlib_module_names}
    return {normalized(DISTRIBUTIONS.get(name, name)) for name in names}


def imports_by_name(tree):
    """The modules that `import_text_package` and `importlib.import_module` are called with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func)
            if function in ("import_text_package", "importlib.import_module"):
                yield node.args[0].value


def found_in(path, nodes):
    """The third-party distributions named in the import statements of a file."""
    nodes = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    # The module itself comes first; a name imported from it may not be a module.
    modules = [imported_modules(node, path) for node in nodes]
    named = [
        module
        for node, names in zip(nodes, modules, strict=True)
        for module in (names if isinstance(node, ast.Import) else names[:1])
    ]
    return third_party(named)


def test_imports_at_the_top_are_core_dependencies():
    found = {path: found_in(path, top_level_imports(parsed(path))) for path in FILES}
    undeclared = {str(path): names - CORE for path, names in found.items() if names - CORE}
    assert not undeclared
    # No declared dependency is unused.
    assert set().union(*found.values()) == CORE


def test_other_imports_are_in_an_extra():
    declared = CORE.union(*EXTRAS.values())
    undeclared = {}
    for path in FILES:
        names = found_in(path, ast.walk(parsed(path))) - declared
        if names:
            undeclared[str(path)] = names
    assert not undeclared


def test_text_packages_are_in_the_extra_text():
    """The error of `import_text_package` promises it."""
    named = {name for path in FILES for name in imports_by_name(parsed(path))}
    assert {"keras_hub", "sentencepiece", "tokenizers"} <= named
    assert third_party(named) <= EXTRAS["text"]
