"""The parts of a model, found by layer name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ModelParts(NamedTuple):
    """The main layers of a model; None for those it does not have.

    Attributes:
        encoder: The layer `encoder` of a translator.
        decoder: The layer `decoder`.
        source_embedding: The layer `source_embedding`, or the shared `token_embedding`.
        target_embedding: The layer `target_embedding`, or the shared `token_embedding`.
        projection: The layer `logits`, if the output projection is not tied to an embedding.
    """

    encoder: Any
    decoder: Any
    source_embedding: Any
    target_embedding: Any
    projection: Any


def find_parts(layers: Mapping[str, Any]) -> ModelParts:
    """Finds the parts of a language model or a translator.

    Args:
        layers: The model's layers by name.

    Returns:
        The parts.
    """
    shared = layers.get("token_embedding")
    return ModelParts(
        encoder=layers.get("encoder"),
        decoder=layers.get("decoder"),
        source_embedding=layers.get("source_embedding", shared),
        target_embedding=layers.get("target_embedding", shared),
        projection=layers.get("logits"),
    )
