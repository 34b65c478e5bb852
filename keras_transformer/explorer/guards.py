"""Checks that every request must pass, and security headers of every answer."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from keras_transformer.explorer.answer_json import to_json

MAX_BYTES = 64 * 1024
_MOST_READ = 32 * 1024 * 1024  # bytes of a body that is refused anyway
_PATIENCE = 20.0  # seconds for the body of a request
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WILDCARDS = ("0.0.0.0", "::", "")
# Only the page's own files; nothing inline, nothing from elsewhere, no frame around it.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Guards:
    """ASGI middleware that rejects requests that must not reach the application.

    * A `Host` other than the server's own is refused, since another site can make its name point to
      this machine (DNS rebinding); numeric addresses cannot be such names.
    * A POST needs the content type application/json, which other sites cannot send without a
      preflight request, and its `Origin`, if any, must be the server itself.
    * A body of more than 64 kB, or one that takes too long, is refused.

    Args:
        app: The application.
        host: The address that the server listens on.
        port: Its port.
    """

    def __init__(self, app: Any, host: str, port: int):
        self.app, self.port = app, port
        self.takes_addresses = host in _WILDCARDS
        self.hosts = {*_LOOPBACK, host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        headers = {name: value.decode("latin-1") for name, value in headers.items()}
        problem = self._problem(scope["method"], headers)
        if scope["method"] == "POST":
            # Refused requests are read too: a browser that is cut off in the middle of its request
            # does not show the answer.
            body = await _read(receive)
            problem = problem or (body if isinstance(body, tuple) else None)
            receive = _replayed(body, receive)
        if problem is not None:
            await _refuse(send, *problem)
            return
        await self.app(scope, receive, send)

    def _problem(self, method, headers):
        """The status and message that refuse a request; None if it is acceptable."""
        if not self._is_own(headers.get("host", "")):
            return 400, f"`Host` must be this server. Received: {headers.get('host')!r}."
        if method not in ("GET", "HEAD", "POST"):
            return 405, f"`method` must be GET or POST. Received: {method}."
        if method != "POST":
            return None
        origin = headers.get("origin")
        if origin is not None and not self._is_own_origin(origin):
            return 403, f"`Origin` must be this server. Received: {origin!r}."
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            return 415, f"`Content-Type` must be application/json. Received: {kind!r}."
        return None

    def _is_own(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.netloc != host or "@" in host or (port or 80) != self.port:
            return False
        return name in self.hosts or (self.takes_addresses and _is_address(name))

    def _is_own_origin(self, origin: str) -> bool:
        scheme, _, host = origin.partition("://")
        return scheme == "http" and self._is_own(host)


def _is_address(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _read(receive):
    """Returns the body of a request, or the status and message that refuse it."""
    body, length = b"", 0
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return 400, "The request must have a complete body."
                part = message.get("body", b"")
                length += len(part)
                body = body + part if length <= MAX_BYTES else b""
                if not message.get("more_body") or length > _MOST_READ:
                    break
    except TimeoutError:
        return 408, f"The request must arrive within {_PATIENCE:g} seconds."
    if length > MAX_BYTES:
        return 413, f"The request must have at most {MAX_BYTES // 1024} kB: give a shorter text."
    return body


def _replayed(body, receive):
    """A `receive` that replays a body that was already read, then calls the original one."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay():
        return messages.pop() if messages else await receive()

    return replay


def _with_headers(send):
    added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]

    async def send_with_headers(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers


async def _refuse(send, status, error):
    # The page has its own message for this error.
    code = {"code": "too_large"} if status == 413 else {}
    body = to_json({"error": error, **code})
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
