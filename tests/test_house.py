"""The rules of the house: who imports whom, what no file does, what every public name has."""

import ast
import doctest
import importlib
import inspect
import json
from pathlib import Path

import pytest

import keras_transformer
from tests.harness import run_python

ROOT = Path(keras_transformer.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

# A package may import itself, `checks`, `recording`, `files`, and what is listed here.
MODEL_USERS = {"ops", "layers", "models"}
GROUND = {"checks", "recording", "files"}
ALLOWED = {
    "checks": set(),
    "recurrent_steps": set(),
    "recording": {"recurrent_steps"},
    "files": set(),
    "ops": set(),
    "layers": {"ops"},
    "models": {"ops", "layers"},
    "training": MODEL_USERS,
    "decoding": MODEL_USERS,
    "pretrained": MODEL_USERS | {"data"},
    "visualize": MODEL_USERS | {"decoding", "data"},
    "data": set(),
    "datasets": set(),
    "missing_backend": set(),
    "version": set(),
}
ALLOWED["pipelines"] = set(ALLOWED)
ALLOWED["explorer"] = set(ALLOWED)
# Text libraries, backends and plotting load when they are first used.
NEVER_AT_THE_TOP = {
    "ctranslate2",
    "flax",
    "huggingface_hub",
    "jax",
    "keras_hub",
    "keras_nlp",
    "matplotlib",
    "safetensors",
    "sentencepiece",
    "sentencex",
    "sklearn",
    "starlette",
    "tensorflow",
    "tensorflow_text",
    "tokenizers",
    "torch",
    "transformers",
    "uvicorn",
}
NOT_LOADED = ("tensorflow_text", "keras_hub", "sentencepiece", "matplotlib", "transformers")
NOT_LOADED += ("starlette", "uvicorn")


def module_name(path):
    parts = ["keras_transformer", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(node, path):
    """The absolute names of the modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = module_name(path).split(".")
        package = package if path.name == "__init__.py" else package[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def top_level_imports(tree):
    """Imports that run when the module is imported: those outside of functions."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        stack.extend(ast.iter_child_nodes(node))


def foreign_parts(path):
    """The packages of ours, other than its own, that a file imports anywhere."""
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for node in ast.walk(parsed(path)):
        for name in imported_modules(node, path):
            parts = name.split(".")
            known = {*ALLOWED, *PACKAGES}
            if parts[0] == "keras_transformer" and len(parts) > 1 and parts[1] in known - {own}:
                yield parts[1], node.lineno


@pytest.mark.parametrize("name", NAMES)
def test_imports_follow_the_order_of_the_house(name):
    own = Path(name).parts[0].removesuffix(".py")
    if own == "__init__":
        return  # it may import everything
    assert own in ALLOWED, f"{own} has no place in the order yet."
    # The ground floor itself only has the checks.
    everywhere = {"checks"} if own in GROUND else GROUND
    wrong = [
        (part, line)
        for part, line in foreign_parts(ROOT / name)
        if part not in {*ALLOWED[own], *everywhere}
    ]
    assert not wrong, f"{name} imports what stands above it: {wrong}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_heavy_is_imported_at_the_top(name):
    heavy = []
    for node in top_level_imports(parsed(ROOT / name)):
        for module in imported_modules(node, ROOT / name):
            if module.split(".")[0] in NEVER_AT_THE_TOP:
                heavy.append((module, node.lineno))
    assert not heavy, f"{name} imports at its top: {heavy}"


@pytest.mark.parametrize("name", NAMES)
def test_no_print_no_assert_and_only_public_keras(name):
    wrong = []
    for node in ast.walk(parsed(ROOT / name)):
        if isinstance(node, ast.Assert):
            wrong.append((node.lineno, "assert"))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print":
            wrong.append((node.lineno, "print"))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("keras.src"):
            wrong.append((node.lineno, "keras.src"))
        for module in imported_modules(node, ROOT / name):
            if module.startswith(("keras.src", "tensorflow.python", "tensorflow.keras")):
                wrong.append((node.lineno, module))
    assert not wrong, f"{name}: {wrong}"


def public_objects():
    for package in ["keras_transformer", *(f"keras_transformer.{name}" for name in PACKAGES)]:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            yield package, name, getattr(module, name)


def test_every_package_says_what_is_public():
    for package in PACKAGES:
        module = importlib.import_module(f"keras_transformer.{package}")
        assert module.__all__, package
        assert len(module.__all__) == len(set(module.__all__)), package
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, (package, missing)


def test_every_public_name_has_a_docstring_of_its_own():
    bare = []
    for package, name, value in public_objects():
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            inherited = inspect.isclass(value) and "__doc__" not in vars(value)
            if inherited or not (value.__doc__ or "").strip():
                bare.append(f"{package}.{name}")
    assert not bare, bare


def test_every_public_layer_and_function_is_described():
    """Google form: what has arguments describes them, and `call` has its own docstring."""
    import keras

    lacking = []
    for package, name, value in public_objects():
        if inspect.isclass(value) and issubclass(value, keras.layers.Layer):
            if "Args:" not in (value.call.__doc__ or ""):
                lacking.append(f"{package}.{name}.call: Args")
            for section in ("Args:", "Example:", "Reference:"):
                if section not in value.__doc__:
                    lacking.append(f"{package}.{name}: {section}")
    assert not lacking, lacking


@pytest.mark.parametrize("name", NAMES)
def test_every_serialisable_class_is_registered_in_our_package(name):
    import keras

    module = importlib.import_module(module_name(ROOT / name))
    kinds = (
        keras.layers.Layer,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
    )
    for value in vars(module).values():
        own = inspect.isclass(value) and value.__module__ == module.__name__
        if own and issubclass(value, kinds) and not value.__name__.startswith("_"):
            registered = keras.saving.get_registered_name(value)
            assert registered == f"keras_transformer>{value.__name__}"


# What the examples of these packages need is tested where they are.
DOCTESTED = [n for n in NAMES if ">>>" in (ROOT / n).read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", DOCTESTED)
def test_docstring_examples_run(name):
    module = importlib.import_module(module_name(ROOT / name))
    # torch and TensorFlow print shapes as torch.Size([...]) and TensorShape([...]).
    checker = ShapeChecker()
    runner = doctest.DocTestRunner(
        checker=checker, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False
    )
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__):
        runner.run(test, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)


class ShapeChecker(doctest.OutputChecker):
    def check_output(self, want, got, optionflags):
        if got.startswith(("torch.Size([", "TensorShape([")):
            inside = got.strip().split("([")[1].removesuffix("])")
            got = f"({inside},)\n" if "," not in inside else f"({inside})\n"
        return super().check_output(want, got, optionflags)


@pytest.mark.slow
def test_importing_the_library_loads_no_text_libraries():
    # What Keras itself loads (matplotlib, where it is installed) is not ours to answer for.
    code = (
        "import json, sys; import keras; before = set(sys.modules); import keras_transformer; "
        f"loaded = [n for n in {NOT_LOADED!r} if n in set(sys.modules) - before]; "
        "print('loaded', json.dumps(loaded))"
    )
    assert json.loads(run_python(code).split("loaded")[-1]) == []
