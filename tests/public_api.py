"""Describes the public API as text, which tests/public_api.txt records.

`python -m tests.public_api` prints the description, with `--write` it rewrites the record.
"""

import difflib
import inspect
import re
import sys
from pathlib import Path

import keras_transformer as kt

PATH = Path(__file__).with_name("public_api.txt")
COMMAND = "python -m tests.public_api --write"
WIDTH = 100
# Their defaults depend on the backend; the record says "...".
BY_BACKEND = {"chunk_size"}


def described():
    """The text: one paragraph for each public name, in alphabetical order."""
    modules = {"kt": kt}
    modules |= {f"kt.{n}": getattr(kt, n) for n in kt.__all__ if inspect.ismodule(getattr(kt, n))}
    paragraphs = [
        _paragraph(f"{path}.{name}", getattr(module, name))
        for path, module in sorted(modules.items())
        for name in sorted(module.__all__)
    ]
    return "\n\n".join(paragraphs) + "\n"


def difference(recorded, found):
    """The changed paragraphs, each as a whole: a changed argument is seen with its function."""
    recorded, found = _paragraphs(recorded), _paragraphs(found)
    lines = []
    for name in sorted({*recorded, *found}):
        before, after = recorded.get(name, []), found.get(name, [])
        size = len(before) + len(after)
        lines += list(difflib.unified_diff(before, after, n=size, lineterm=""))[3:]
    return "\n".join(lines)


def _paragraphs(text):
    found = (paragraph.splitlines() for paragraph in text.strip().split("\n\n"))
    return {re.split(r"[(:]", lines[0])[0]: lines for lines in found}


def _paragraph(path, value):
    if inspect.ismodule(value):
        return f"module {path}"
    if inspect.isclass(value):
        return "\n".join([_constructor(path, value), *_members(value)])
    if callable(value):
        return _signature(f"def {path}", inspect.signature(value))
    # The version changes with every release, its name does not.
    return f"{path}: {type(value).__name__}" + (f" = {value!r}" if "__" not in path else "")


def _constructor(path, cls):
    if not issubclass(cls, tuple) and not _is_ours(cls.__init__):
        return f"class {path}"  # a protocol, which nobody calls
    constructor = cls.__new__ if issubclass(cls, tuple) else cls.__init__
    signature = _without_first(inspect.signature(constructor))
    return _signature(f"class {path}", signature.replace(return_annotation=signature.empty))


def _members(cls):
    """The public methods and properties that the library defines, also in its base classes."""
    members = {}
    for base in reversed(cls.__mro__):
        if _is_ours(base):
            members |= {n: m for n, m in vars(base).items() if not n.startswith("_")}
    for name, member in sorted(members.items()):
        if isinstance(member, property):
            returned = inspect.signature(member.fget).return_annotation
            yield f"    property {name}: {_annotation(returned)}"
        elif isinstance(member, (classmethod, staticmethod)):
            kind = type(member).__name__
            yield _signature(f"    {kind} {name}", inspect.signature(getattr(cls, name)))
        elif inspect.isfunction(member):
            yield _signature(f"    def {name}", _without_first(inspect.signature(member)))


def _is_ours(value):
    return value.__module__.split(".")[0] == kt.__name__


def _without_first(signature):
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _signature(start, signature):
    """On one line where that fits, otherwise each argument on its own."""
    arguments, kind = [], None
    for parameter in signature.parameters.values():
        if kind == parameter.POSITIONAL_ONLY != parameter.kind:
            arguments.append("/")
        if parameter.kind == parameter.KEYWORD_ONLY != kind and kind != parameter.VAR_POSITIONAL:
            arguments.append("*")
        kind = parameter.kind
        arguments.append(_argument(parameter))
    if kind == inspect.Parameter.POSITIONAL_ONLY:
        arguments.append("/")
    end = ")"
    if signature.return_annotation is not signature.empty:
        end += f" -> {_annotation(signature.return_annotation)}"
    line = f"{start}({', '.join(arguments)}{end}"
    if len(line) <= WIDTH:
        return line
    indent = " " * (len(start) - len(start.lstrip()))
    return "\n".join([f"{start}(", *(f"{indent}    {a}," for a in arguments), f"{indent}{end}"])


def _argument(parameter):
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        default = "..." if parameter.name in BY_BACKEND else repr(parameter.default)
        text += f" = {default}"
    return text


def _annotation(annotation):
    """Without the names of modules, so that evaluated and quoted annotations look alike."""
    text = getattr(annotation, "__forward_arg__", annotation)
    text = text if isinstance(text, str) else inspect.formatannotation(text)
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=\w)", "", text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PATH.write_text(described(), encoding="utf-8")
    else:
        print(described(), end="")
