"""Self-contained pages: modules, styles and data in a single file."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_transformer.checks import check
from keras_transformer.visualize.wire import embeddable_json

WEB = Path(__file__).parent / "web"

_IMPORT = re.compile(
    r"^import\s+(?:\{(?P<names>[^}]*)\}|\*\s+as\s+(?P<all>\w+))\s+from\s+"
    r"[\"'](?P<path>[^\"']+)[\"'];?[ \t]*$",
    re.MULTILINE,
)
_EXPORT = re.compile(
    r"^export\s+(?P<kept>(?:async\s+)?(?:function\*?|class|const)\s+(?P<name>\w+))", re.MULTILINE
)
_LIST = re.compile(r"^export\s+\{(?P<names>[^}]*)\};?[ \t]*$", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*|\bimport\s*\(.*", re.MULTILINE)

_PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src '{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{styles}
</style>
</head>
<body>
{body}
<script id="data" type="application/json">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def standalone_page(
    title: str,
    modules: Sequence[Path],
    styles: Sequence[Path],
    entry: str,
    data: Any,
    *,
    body: str = "",
    language: str = "en",
) -> str:
    """Joins modules, styles and data into a page that runs from a file, without any requests.

    A page opened from disk may not import other modules. Therefore each module becomes a function,
    and the function `start` that the module `entry` exports is called with the data. The page's
    content security policy allows only this script and no requests.

    Args:
        title: The title, plain text.
        modules: ES modules that import one another by file name, `import {...} from "./x.js"`, and
            export functions, classes and constants by name; in any order.
        styles: CSS files.
        entry: File name of the module to start.
        data: The argument of `start`, which must be JSON-serializable.
        body: The markup of the page's body, which is inserted unchanged.
        language: The language of the page.

    Returns:
        The page as text.

    Raises:
        ValueError: If a module is missing, modules import each other in a circle, or one uses
            another form of import or export.
    """
    script = joined_modules(modules, entry)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return _PAGE.format(
        title=html.escape(title),
        language=html.escape(language),
        digest=f"sha256-{digest}",
        styles="\n".join(Path(path).read_text(encoding="utf-8") for path in styles),
        body=body,
        data=embeddable_json(data),
        script=script,
    )


def joined_modules(modules: Sequence[Path], entry: str) -> str:
    """Returns one script that runs modules in the order of their imports, then starts the last."""
    texts = {Path(path).name: Path(path).read_text(encoding="utf-8") for path in modules}
    check(entry in texts, f"be one of the modules {sorted(texts)}", "entry", entry)
    order: list[str] = []
    _visit(entry, texts, order, ())
    parts = ['"use strict";', "const modules = {};"]
    parts += [_as_function(name, texts[name]) for name in order]
    parts.append(
        f"modules[{entry!r}].start(JSON.parse(document.getElementById('data').textContent));"
    )
    script = "\n".join(parts)
    check("</script" not in script.lower(), "not contain a script's end tag", "modules", "</script")
    return f"\n{script}\n"


def _visit(name, texts, order, above):
    """Appends a module after those that it imports."""
    check(name in texts, "contain every imported module", "modules", name)
    check(name not in above, "not import each other in a circle", "modules", [*above, name])
    if name in order:
        return
    for found in _IMPORT.finditer(texts[name]):
        _visit(Path(found["path"]).name, texts, order, (*above, name))
    order.append(name)


def _as_function(name, text):
    """Wraps a module in a function: imports become constants, and exports its return value."""
    exports = [f"{found['name']}" for found in _EXPORT.finditer(text)]
    for found in _LIST.finditer(text):
        for one in filter(None, (part.strip() for part in found["names"].split(","))):
            inner, _, outer = one.partition(" as ")
            exports.append(f"{outer.strip() or inner}: {inner.strip()}")
    text = _IMPORT.sub(_constant, text)
    text = _LIST.sub("", _EXPORT.sub(r"\g<kept>", text))
    other = _OTHER.search(text)
    check(other is None, "use named imports and exports", f"modules[{name!r}]", other and other[0])
    return f"modules[{name!r}] = (() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _constant(found):
    names = found["all"] or "{" + re.sub(r"\s+as\s+", ": ", found["names"]) + "}"
    return f"const {names} = modules[{Path(found['path']).name!r}];"
