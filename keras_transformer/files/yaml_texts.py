"""YAML from files: a mapping of plain values."""

from __future__ import annotations

import os
from typing import Any

from keras_transformer.checks import shortened
from keras_transformer.files.file_errors import naming_file

# Marian's settings have a few thousand bytes; PyYAML takes a second for a few hundred thousand.
_BYTES = 2**17
# PyYAML needs time for each open bracket at every character that follows.
_BRACKETS = 500


def parse_yaml(content: bytes, path: str | os.PathLike) -> dict[str, Any]:
    """Parses YAML from an untrusted file.

    Tags, anchors, aliases and repeated keys are refused, and dates remain texts.

    Args:
        content: The text in UTF-8, at most 128 KiB.
        path: The file that it was read from, for messages.

    Returns:
        Values by key.

    Raises:
        ValueError: If it is anything but a mapping of plain values; the message names the file.
        ImportError: If the package pyyaml is not installed.

    Example:
        >>> from keras_transformer.files import parse_yaml
        >>> parse_yaml(b"dim-vocabs: [7, 11]", "model.bin")
        {'dim-vocabs': [7, 11]}
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"The settings in {path} can only be read with the package pyyaml: "
            "`pip install pyyaml`."
        ) from error
    if len(content) > _BYTES:
        raise ValueError(
            f"`{path}` must contain YAML of at most {_BYTES} bytes. Received: {len(content)} bytes."
        )
    brackets = content.count(b"[") + content.count(b"{")
    if brackets > _BRACKETS:
        raise ValueError(
            f"`{path}` must contain YAML with at most {_BRACKETS} lists. Received: {brackets}."
        )
    with naming_file(path, "contain YAML of plain values"):
        values = yaml.load(content.decode("utf-8"), _loader(yaml))
    if not isinstance(values, dict):
        raise ValueError(
            f"`{path}` must contain a YAML mapping. Received: {type(values).__name__}."
        )
    return values


def _loader(yaml: Any) -> type:
    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {
            first: [one for one in resolvers if not one[0].endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent, index):
            event = self.peek_event()
            if getattr(event, "anchor", None) is not None or getattr(event, "tag", None):
                raise yaml.YAMLError("anchors, aliases and tags are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            seen: set[str] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str) or key in seen:
                    raise yaml.YAMLError(f"{shortened(key)} must be a text and occur only once")
                seen.add(key)
            return super().construct_mapping(node, deep)

    return Loader
