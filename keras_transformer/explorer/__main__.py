"""The command `python -m keras_transformer.explorer`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from keras_transformer.decoding.compilation import set_jit_compile
from keras_transformer.explorer.answers import Answers
from keras_transformer.explorer.app import import_server, make_app
from keras_transformer.explorer.inference import Inference
from keras_transformer.explorer.named_models import NAMED_MODELS, open_named
from keras_transformer.explorer.opened_model import OpenedModel, open_model
from keras_transformer.explorer.page_export import exported_page

_DEFAULT_MODEL = "firefox-en-pt"
_DEMO = Path("runs/translator")  # where `make demo` saves its translator
_PORT = 8000


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_transformer.explorer",
        description="Look inside a model, in a local web page.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        help="a folder written by Translator.save or TextGenerator.save, a checkpoint, or a .keras "
        "file with its tokenizer next to it",
    )
    parser.add_argument(
        "--model", choices=sorted(NAMED_MODELS), help="a model to download instead of a folder"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, help=f"port; 0 for any free one (default: {_PORT}, or a free one)"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument("--export", metavar="PAGE.html", help="write a page about --text and exit")
    parser.add_argument("--text", help="text for --export")
    parser.add_argument("--target", help="translation of --text; by default the model's own")
    found = parser.parse_args(arguments)
    if found.folder is not None and found.model is not None:
        parser.error("give a folder or --model, not both")
    if found.port is not None and not 0 <= found.port < 65536:
        parser.error(f"--port must be from 0 to 65535, not {found.port}")
    return found


def choose_model(folder: str | None, name: str | None) -> OpenedModel:
    """Opens the requested model.

    Args:
        folder: A folder or file; None for a model by name.
        name: The name of a model; None for Firefox's English-Portuguese translator or, if it is
            unavailable, the translator trained by `make demo`.

    Returns:
        The model.

    Raises:
        ValueError: As for `open_model`.
        RuntimeError: If a model cannot be downloaded.
    """
    if folder is not None:
        return open_model(folder)
    chosen = name or _DEFAULT_MODEL
    named = NAMED_MODELS[chosen]
    say(f"Opening {named.title}. The first time, this downloads {named.size}.")
    try:
        return open_named(chosen)
    except RuntimeError:
        if name is not None or not _DEMO.is_dir():
            raise
        say(f"It cannot be downloaded; opening {_DEMO} instead.")
        return open_model(_DEMO)


def bind(host: str, port: int | None) -> socket.socket:
    """Returns a listening socket; without a port, on the default one or, if taken, a free one."""
    family = socket.AF_INET6 if _is_version_6(host) else socket.AF_INET
    try:
        return socket.create_server((host, _PORT if port is None else port), family=family)
    except OSError as error:
        if port is not None or error.errno != errno.EADDRINUSE:
            raise
        return socket.create_server((host, 0), family=family)


def _is_version_6(host):
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).version == 6
    return False


def serve(opened: OpenedModel, host: str, port: int | None, browser: bool) -> None:
    """Serves the page until interrupted."""
    import_server()
    import uvicorn

    listening, inference = bind(host, port), Inference()
    bound = listening.getsockname()[1]
    app = make_app(inference.compute(Answers, opened), host, bound, inference)
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}/"
    if opened.attribution is not None:
        say(opened.attribution)
    say(f"{opened.title}: {address} (stop with Ctrl+C)")
    if browser:
        webbrowser.open(address)  # the browser waits until the server answers
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=1,  # seconds; do not wait for slow clients
    )
    uvicorn.Server(config).run(sockets=[listening])


def export(opened: OpenedModel, path: Path, text: str | None, target: str | None) -> None:
    """Writes a page about one text."""
    page = exported_page(Answers(opened), text, target)
    path.write_text(page, encoding="utf-8")
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def say(text: str) -> None:
    """Prints a line to the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    given = parse(arguments)
    try:
        set_jit_compile(False)  # compiling would take seconds for each new text length
        opened = choose_model(given.folder, given.model)
        if given.export is not None:
            export(opened, Path(given.export), given.text, given.target)
            return 0
        serve(opened, given.host, given.port, not given.no_browser)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
