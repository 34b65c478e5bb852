"""The parts of a model, which are found by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ModelParts(NamedTuple):
    """The layers that read, attend and predict; None where there is none of the name.

    Attributes:
        encoder: `encoder`, of a translator.
        decoder: `decoder`.
        source_embedding: `source_embedding`, or the `token_embedding` that both sides share.
        target_embedding: `target_embedding`, or `token_embedding`.
        projection: `logits`, where the embedding does not make them.
    """

    encoder: Any
    decoder: Any
    source_embedding: Any
    target_embedding: Any
    projection: Any


def find_parts(layers: Mapping[str, Any]) -> ModelParts:
    """Finds the parts of a language model or a translator.

    Args:
        layers: the model's layers by name.

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
