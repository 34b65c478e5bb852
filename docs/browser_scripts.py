"""Serves MathJax and Mermaid from the site itself, so that pages need no other machine.

Both come from pinned wheels, downloaded once by pip and hashed like the corpora. Only pages with
equations or diagrams load them: each script is about as large as the rest of the site's scripts
together. MkDocs calls the functions named `on_...`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parent.parent
DOWNLOAD = ROOT / "keras_transformer" / "datasets" / "download.py"


class Script(NamedTuple):
    """A script of a pinned wheel, and the pages that need it.

    Attributes:
        wheel: Arguments of `Wheel`, with one member.
        uri: Its address on the site.
        sign: Text in the HTML of the pages that need it.
        settings: Address of the script that must run before it, if there is one.
    """

    wheel: dict
    uri: str
    sign: str
    settings: str | None = None


# Both files are, byte for byte, those of the projects' own releases on npm: mathjax 3.2.2,
# es5/tex-svg.js, and mermaid 11.16.0, dist/mermaid.min.js.
SCRIPTS = (
    Script(
        wheel={
            "name": "sphinx_mathjax_offline",
            "version": "0.0.2",
            "sha256": "206418155b2ff2f57496fb8501fdccae3da978e53031ff296c73729ba16062c4",
            "members": {
                "sphinx-mathjax-offline/static/mathjax/tex-svg.js": (
                    "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
                )
            },
        },
        uri="javascripts/mathjax.js",
        sign='class="arithmatex"',
        settings="javascripts/mathjax_settings.js",
    ),
    Script(
        wheel={
            "name": "mermaidx",
            "version": "0.10.1",
            "sha256": "aa2e44648a96629df21acab3cac0ee2d6caca044be72898819d09736ea2f160e",
            "members": {
                "mermaidx/assets/mermaid.js": (
                    "74d7c46dabca328c2294733910a8aa1ed0c37451776e8d5295da38a2b758fb9b"
                )
            },
        },
        uri="javascripts/mermaid.js",
        sign='class="mermaid"',
    ),
)


def _download_module():
    """Returns the module that downloads pinned wheels.

    It is read from its file: importing the package would need a backend of Keras.
    """
    specification = importlib.util.spec_from_file_location("download", DOWNLOAD)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def path_of(script: Script) -> Path:
    """Returns the script's path in the cache, after downloading it if needed."""
    download = _download_module()
    wheel = download.Wheel(**script.wheel)
    return download.fetch(wheel, next(iter(wheel.members)))


def on_files(files, config):
    """Adds the scripts to the site."""
    for script in SCRIPTS:
        files.append(File.generated(config, script.uri, abs_src_path=str(path_of(script))))
    return files


def on_post_page(output, page, config):
    """Loads each script on the pages that need it."""
    tags = []
    for script in SCRIPTS:
        if script.sign in output:
            # Deferred scripts run in this order, and before the theme draws the diagrams.
            uris = filter(None, (script.settings, script.uri))
            tags += [f'<script defer src="{get_relative_url(u, page.url)}"></script>' for u in uris]
    return output.replace("</head>", "".join(tags) + "</head>", 1)
