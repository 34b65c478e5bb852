"""Lazy imports of the packages in the `text` extra."""

import importlib
from types import ModuleType
from typing import Any

# How SentencePiece writes a space.
SPACE = "\u2581"


def import_text_package(name: str) -> ModuleType:
    """Imports a package of the `text` extra, or raises an error that says how to install it.

    Args:
        name: Name of the module.

    Returns:
        The module.

    Raises:
        ImportError: If it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"This needs the package `{name}`, which could not be imported. "
            'Install it with `pip install "keras-transformer-layers[text]"`.'
        ) from error


def sentencepiece_proto(content: bytes = b"") -> Any:
    """Parses a SentencePiece file's content to a `ModelProto`; without content, to an empty one."""
    proto = import_text_package("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(content)
    return proto
