"""The web application: addresses, and how their answers are computed and sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transformer.explorer.answer_json import to_json
from keras_transformer.explorer.answers import COMPUTED, READ, STREAMED, Answers
from keras_transformer.explorer.fields import Fields, NotThere, Refused
from keras_transformer.explorer.guards import Guards
from keras_transformer.explorer.inference import BusyError, ClientGoneError, Inference
from keras_transformer.visualize import trace

if TYPE_CHECKING:
    from starlette.requests import Request

_LOG = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "page"
WEB = Path(trace.__file__).parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_JSON, _LINES = "application/json", "application/x-ndjson"
_LONGEST_STREAM = 600.0  # seconds
_LONGEST_MESSAGE = 500
# Keras shows a layer's own message in bold, between text that Keras adds.
_OF_A_LAYER = re.compile(r"\x1b\[1m(.+?)\x1b\[0m", re.DOTALL)


def import_server() -> None:
    """Imports the web server; raises an ImportError that says how to install it."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The explorer needs starlette and uvicorn: "
            "`pip install 'keras-transformer-layers[explorer]'`."
        ) from error


def make_app(answers: Answers, host: str, port: int, inference: Inference | None = None) -> Any:
    """Builds the application.

    Args:
        answers: The answers to the page's requests.
        host: The address that the server listens on.
        port: Its port.
        inference: The thread that runs the model.

    Returns:
        An ASGI application.

    Raises:
        ImportError: If the extra `explorer` is not installed.
    """
    import_server()
    from starlette.applications import Starlette

    inference = inference or Inference()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        inference.close()

    handlers: dict[Any, Any] = {404: _not_found, 405: _not_found}
    routes = _routes(answers, inference)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    return Guards(app, host, port)


def _routes(answers: Answers, inference: Inference) -> list[Any]:
    from starlette.routing import Route

    async def model(request):
        return _json(answers.model())

    return [
        Route("/", _files(PAGE, "index.html")),
        Route("/page/{path:path}", _files(PAGE)),
        Route("/web/{path:path}", _files(WEB)),
        Route("/api/model", model),
        *[_post(name, _computed(getattr(answers, name), inference)) for name in COMPUTED],
        *[_post(name, _read(getattr(answers, name))) for name in READ],
        *[_post(name, _streamed(getattr(answers, name), inference)) for name in STREAMED],
    ]


def _post(name, answer):
    from starlette.routing import Route

    return Route(f"/api/{name}", _with_errors(answer), methods=["POST"])


def _computed(answer: Callable, inference: Inference) -> Callable:
    """Answers in turn, on the inference thread."""

    async def respond(request: Request) -> Any:
        fields = await _fields(request)

        def compute():
            return to_json(answer(fields))

        return _response(await inference.run(compute, gone=_until_gone(request)))

    return respond


def _read(answer: Callable) -> Callable:
    """Answers immediately, without waiting for computations in progress."""

    async def respond(request: Request) -> Any:
        fields = await _fields(request)
        return _response(await asyncio.to_thread(lambda: to_json(answer(fields))))

    return respond


def _streamed(answer: Callable, inference: Inference) -> Callable:
    """Answers line by line; the first one decides whether the answer is an error."""

    async def respond(request: Request) -> Any:
        fields = await _fields(request)
        lines = inference.stream(map(_line, answer(fields)), gone=_until_gone(request))
        first = await anext(lines)
        return _stream_response(_all_lines(first, lines))

    return respond


def _line(item: Any) -> bytes:
    return to_json(item) + b"\n"


async def _all_lines(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields lines; if one fails, the last line is the error."""
    try:
        yield first
        async for line in lines:
            yield line
    except ClientGoneError:
        return
    except (ValueError, BusyError) as error:
        yield _line(_described(error))
    except Exception as error:
        _LOG.exception("A stream failed.")
        yield _line({"error": f"The server failed: {type(error).__name__}."})
    finally:
        await lines.aclose()  # type: ignore[attr-defined]


def _with_errors(respond: Callable) -> Callable:
    """Turns exceptions into answers with a message for the user."""

    async def respond_anyway(request: Request) -> Any:
        try:
            return await respond(request)
        except ValueError as error:
            return _json(_described(error), 400)
        except NotThere as error:
            return _error(404, str(error))
        except BusyError as error:
            return _json(_described(error), 503)
        except ClientGoneError:
            return _error(499, "The client left.")
        except Exception as error:
            _LOG.exception("A request failed.")
            return _error(500, f"The server failed: {type(error).__name__}: {error}")

    return respond_anyway


async def _fields(request: Request) -> Fields:
    try:
        return Fields(json.loads(await request.body()))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"The request must be JSON. Received: {error}.") from None


def _until_gone(request: Request) -> Callable:
    """Returns a coroutine function that ends when the client has left."""

    async def until_gone():
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return until_gone


# === Responses ===


def _json(answer, status=200):
    return _response(to_json(answer), status)


def _error(status, message):
    return _json({"error": _message(message)}, status)


def _described(error):
    """An answer that reports an error, with the code and values that the page translates."""
    answer = {"error": _message(str(error))}
    if isinstance(error, Refused):
        answer |= {"code": error.code, "values": error.values}
    elif isinstance(error, BusyError):
        answer["code"] = "busy"
    return answer


def _message(text):
    """A message for the user, truncated if what it quotes is long."""
    found = _OF_A_LAYER.search(text)
    text = text if found is None else found[1]
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}\u2026"


def _response(body, status=200, kind=_JSON):
    from starlette.responses import Response

    return Response(body, status, media_type=kind)


def _stream_response(lines):
    from starlette.responses import StreamingResponse

    class TimedResponse(StreamingResponse):
        """A stream that ends after a while even if nobody reads it."""

        async def __call__(self, scope, receive, send):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_STREAM):
                    await super().__call__(scope, receive, send)

    return TimedResponse(lines, media_type=_LINES)


async def _not_found(request: Request, error: Exception) -> Any:
    status = getattr(error, "status_code", 404)
    return _error(status, f"There is nothing at {request.method} {request.url.path}.")


def _files(folder: Path, only: str | None = None) -> Callable:
    """Serves the files of a folder."""
    root = folder.resolve()

    async def respond(request: Request) -> Any:
        name = only or request.path_params["path"]
        path = (root / name.replace("\0", "")).resolve()
        known = path.is_relative_to(root) and path.suffix in _TYPES
        if not known or not path.is_file():
            return _error(404, f"There is no file {name!r}.")
        return _response(path.read_bytes(), kind=_TYPES[path.suffix])

    return respond
