"""The thread that runs the model, and a bounded queue of requests for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_END = object()


class BusyError(RuntimeError):
    """The queue is full."""


class ClientGoneError(RuntimeError):
    """The client left before its answer was ready."""


class Inference:
    """One thread that computes answers in the order of their requests.

    Streams take turns line by line, and each computes a line only after its client has received the
    previous one: slow clients do not delay others, and no line is computed before it is needed.

    Args:
        max_waiting: Maximum number of requests that are waiting or being computed.
        max_streams: Maximum number of open streams.
    """

    def __init__(self, max_waiting: int = 100, max_streams: int = 100):
        self.max_waiting, self.max_streams = max_waiting, max_streams
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._lock, self._waiting, self._streams = threading.Lock(), 0, 0

    def compute(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function on the thread and waits for its result.

        Programs compiled by a first call are reused only by later calls on the same thread.
        """
        return self._executor.submit(function, *arguments).result()

    def close(self) -> None:
        """Drops waiting requests; the one being computed finishes."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, function: Callable[..., Any], *arguments: Any, gone: Any = None) -> Any:
        """Runs a function on the thread, in turn.

        Args:
            function: The function.
            *arguments: Its arguments.
            gone: A coroutine function that returns when the client leaves; None to wait anyway.

        Returns:
            What the function returns.

        Raises:
            BusyError: If the queue is full.
            ClientGoneError: If the client left; a function that has not begun is not called.
        """
        with self._lock:
            if self._waiting >= self.max_waiting:
                raise BusyError("Too many requests are waiting. Try again in a moment.")
            self._waiting += 1
        future = self._executor.submit(function, *arguments)
        future.add_done_callback(self._one_less)
        return await _result(future, gone)

    def _one_less(self, future: Future) -> None:
        with self._lock:
            self._waiting -= 1

    async def stream(self, lines: Iterator[Any], gone: Any = None) -> AsyncIterator[Any]:
        """Yields the items of an iterator, each computed in turn.

        Args:
            lines: The iterator.
            gone: As in `run`.

        Yields:
            The items.

        Raises:
            BusyError: If too many streams are open.
            ClientGoneError: As in `run`.
        """
        if self._streams >= self.max_streams:
            raise BusyError("Too many texts are being written. Try again in a moment.")
        self._streams += 1
        try:
            while True:
                # Not counted as a request: a stream that has begun must not fail because of others.
                future = self._executor.submit(next, lines, _END)
                item = await _result(future, gone)
                if item is _END:
                    return
                yield item
        finally:
            self._streams -= 1


async def _result(future: Future, gone: Any) -> Any:
    """Waits for a result, or until the client leaves."""
    waiting = asyncio.wrap_future(future)
    if gone is None:
        return await waiting
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            # Cancel the thread's own future: canceling the wrapper would reach it only in the event
            # loop's next iteration, when the function may have begun.
            future.cancel()
            raise ClientGoneError
        return waiting.result()
    finally:
        leaving.cancel()
