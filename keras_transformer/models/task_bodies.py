"""Bodies of task heads: language models, text encoders and vision Transformers.

Shape letters: B batch, T length, D hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.checks import check_choice
from keras_transformer.layers.pooling import SequencePooling
from keras_transformer.models.bert import encode_text
from keras_transformer.models.new_tokens import language_model_parts

Tensor = Any

# GPT-1 uses "extract", BERT "pooler".
POOLINGS = ("extract", "pooler", "first", "last", "mean", "max")


class Body(NamedTuple):
    """The inputs and outputs of a model without its heads; all tensors are symbolic.

    Attributes:
        kind: "language_model", "encoder" or "vision".
        inputs: The inputs by name; the single input `images` of a vision Transformer.
        hidden: (B, T, D), the hidden states.
        padding_mask: Boolean (B, T), True for real tokens; None if all are.
        layers: The model's layers by name.
    """

    kind: str
    inputs: Any
    hidden: Tensor
    padding_mask: Tensor | None
    layers: dict[str, keras.layers.Layer]

    @property
    def dtype_policy(self) -> Any:
        """The dtype policy of heads on this body."""
        return self.hidden_layer.dtype_policy

    @property
    def hidden_layer(self) -> keras.layers.Layer:
        """The stack that computes the hidden states."""
        return self.layers["decoder" if self.kind == "language_model" else "encoder"]


def kind_of(body: keras.Model) -> str:
    """Returns the kind of a body.

    Args:
        body: A model.

    Returns:
        "language_model", "encoder" or "vision".

    Raises:
        ValueError: If the model does not support task heads.
    """
    names = {layer.name for layer in body.layers} if isinstance(body, keras.Model) else set()
    if {"token_embedding", "decoder"} <= names and "encoder" not in names:
        return "language_model"
    if {"token_embedding", "embedding_norm", "encoder"} <= names and "decoder" not in names:
        return "encoder"
    if {"patch_embedding", "class_token", "encoder"} <= names:
        return "vision"
    raise ValueError(
        "`body` must be a model as built by kt.models.bert, kt.models.gpt or kt.models.vit. "
        f"Received: body={body!r} with the layers {sorted(names)}."
    )


def read_body(body: keras.Model, segments: bool = False) -> Body:
    """Runs a model up to its hidden states, on new inputs.

    Args:
        body: A model of `kt.models.bert`, `gpt` or `vit`.
        segments: Whether to add the input `segment_ids`; otherwise all segment ids are 0.

    Returns:
        The `Body`.

    Raises:
        ValueError: If `body` is not such a model, or has no segments although `segments` is True.
    """
    kind = kind_of(body)
    layers = {layer.name: layer for layer in body.layers}
    if segments and "segment_embedding" not in layers:
        raise ValueError(
            "`segments` must be False for a body without segment embeddings. "
            f"Received: segments=True, body={body.name!r}."
        )
    if kind == "vision":
        return Body(kind, body.input, layers["encoder"].output, None, layers)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    inputs = {"token_ids": token_ids}
    if kind == "language_model":
        parts = language_model_parts(body)
        hidden = parts.decoder(parts.embedding(token_ids))
        return Body(kind, inputs, hidden, parts.embedding.compute_mask(token_ids), layers)
    segment_ids = ops.zeros_like(token_ids)
    if segments:
        inputs["segment_ids"] = keras.Input((None,), dtype="int32", name="segment_ids")
        segment_ids = inputs["segment_ids"]
    hidden, mask = encode_text(layers, token_ids, segment_ids)
    return Body(kind, inputs, hidden, mask, layers)


def read_text_body(body: keras.Model, segments: bool) -> Body:
    """Runs a text model up to its hidden states, like `read_body`; raises for a vision model."""
    read = read_body(body, segments)
    if read.kind == "vision":
        raise ValueError(
            f"`body` must read text. Received: body={body.name!r}, which reads images."
        )
    return read


def pool(body: Body, pooling: str | None, dtype: Any = None) -> Tensor:
    """Pools the hidden states into one vector per example.

    Args:
        body: The body.
        pooling: "pooler" for the first token's state after the layer `pooler`; "first", "last",
            "mean" or "max" of the real tokens; None for "pooler" if the body has one, otherwise
            "first".
        dtype: Dtype policy of the pooling; None for that of the body.

    Returns:
        (B, D).

    Raises:
        ValueError: If the body cannot be pooled in this way.
    """
    pooler = body.layers.get("pooler")
    if pooling is None:
        pooling = "first" if pooler is None else "pooler"
    check_choice([one for one in POOLINGS if one != "extract"], pooling=pooling)
    if pooling == "pooler":
        if pooler is None:
            raise ValueError(
                "`pooling` must not be 'pooler' for a body without a layer `pooler`. "
                "Received: pooling='pooler'."
            )
        return pooler(ops.take(body.hidden, 0, axis=1))
    if body.kind == "language_model" and body.padding_mask is None:
        raise ValueError(
            "`pooling` must be 'extract' for a language model without a padding id, since nothing "
            f"marks where its rows end. Received: pooling={pooling!r}, padding_id=None."
        )
    layer = SequencePooling(pooling, dtype=dtype or body.dtype_policy, name="pooling")
    return layer(body.hidden, padding_mask=body.padding_mask)
