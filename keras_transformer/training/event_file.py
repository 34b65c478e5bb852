"""Event files for TensorBoard, written without TensorFlow."""

from __future__ import annotations

import os
import time
from typing import Any


class EventFile:
    """An event file: scalars and texts that TensorBoard shows.

    It needs the package `tensorboard`, which imports TensorFlow only if that is installed. The file
    is created with the first entry; the first entry after `close` starts a new file.

    Args:
        log_dir: The folder for the file; created if missing.

    Raises:
        ImportError: If `tensorboard` is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.plugins.scalar.summary_v2 import scalar_pb
            from tensorboard.plugins.text.summary_v2 import text_pb
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError(
                "`log_dir` needs the package `tensorboard`, which could not be imported. "
                "Install it with `pip install tensorboard`."
            ) from error
        self._event, self._scalar, self._text = Event, scalar_pb, text_pb
        self._open = EventFileWriter
        self._log_dir = os.fspath(log_dir)
        self._writer: Any = None

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Adds a number."""
        self._add(self._scalar(tag, value), step)

    def add_text(self, tag: str, markdown: str, step: int) -> None:
        """Adds a text in Markdown."""
        self._add(self._text(tag, markdown), step)

    def _add(self, summary: Any, step: int) -> None:
        if self._writer is None:
            self._writer = self._open(self._log_dir)
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Writes everything added so far."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes everything added so far and closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
