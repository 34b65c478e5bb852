"""Additional tokens for a language model."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.checks import check_positive
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.embedding import TokenEmbedding


class LanguageModelParts(NamedTuple):
    """The layers of a language model.

    Attributes:
        embedding: The layer `token_embedding`.
        decoder: The layer `decoder`.
        projection: The layer `logits`; None if the output projection is tied to the embedding.
    """

    embedding: TokenEmbedding
    decoder: TransformerDecoder
    projection: keras.layers.Dense | None

    def logits(self, hidden: Any) -> Any:
        """Projects hidden states (B, T, D) to logits (B, T, V)."""
        if self.projection is None:
            return self.embedding(hidden, reverse=True)
        return self.projection(hidden)


def language_model_parts(lm: keras.Model) -> LanguageModelParts:
    """Finds the layers of a language model.

    Args:
        lm: A language model, such as one from `gpt`.

    Returns:
        The layers.

    Raises:
        ValueError: If `lm` is not a language model.
    """
    layers = {layer.name: layer for layer in lm.layers} if isinstance(lm, keras.Model) else {}
    # A model with an encoder is a translator.
    if not {"token_embedding", "decoder"} <= set(layers) or "encoder" in layers:
        raise ValueError(
            "`lm` must be a language model with the layers `token_embedding` and `decoder`. "
            f"Received: lm={lm!r} with the layers {sorted(layers)}."
        )
    return LanguageModelParts(layers["token_embedding"], layers["decoder"], layers.get("logits"))


def with_new_tokens(lm: keras.Model, num_tokens: int) -> keras.Model:
    """Extends the vocabulary of a language model, for example by the delimiters of a task.

    The new ids are V .. V + `num_tokens` - 1. Their embeddings are drawn from the initializer of
    `lm`; all other weights, and the logits of the old vocabulary, stay the same. The decoder is
    shared with `lm`, so training one model also trains the other; the embedding is copied.

    Args:
        lm: A language model from `kt.models.gpt` or `kt.pretrained.load`.
        num_tokens: Number of tokens to add.

    Returns:
        A `keras.Model` like `lm`, with V + `num_tokens` logits.

    Raises:
        ValueError: If `lm` is not a language model, or `num_tokens` is not positive.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.models.with_new_tokens(lm, 3)({"token_ids": np.array([[100, 5, 102]])}).shape
        (1, 3, 103)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3.
    """
    check_positive(num_tokens=num_tokens)
    old = language_model_parts(lm)
    size = old.embedding.vocabulary_size + num_tokens
    config = {**old.embedding.get_config(), "vocabulary_size": size}
    new = old._replace(embedding=TokenEmbedding.from_config(config))
    if old.projection is not None:
        config = {**old.projection.get_config(), "units": size}
        new = new._replace(projection=keras.layers.Dense.from_config(config))
    token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    logits = new.logits(new.decoder(new.embedding(token_ids)))
    _keep_start(new.embedding.embeddings, old.embedding.embeddings, axis=0)
    _keep_start(new.embedding.bias, old.embedding.bias, axis=0)
    if old.projection is not None and new.projection is not None:
        _keep_start(new.projection.kernel, old.projection.kernel, axis=1)
        _keep_start(new.projection.bias, old.projection.bias, axis=0)
    return keras.Model({"token_ids": token_ids}, logits, name=lm.name)


def _keep_start(new, old, axis):
    """Copies an old weight to the start of a longer one, whose other values are kept."""
    if old is None:
        return
    rest = ops.take(new, ops.arange(old.shape[axis], new.shape[axis]), axis=axis)
    new.assign(ops.concatenate([ops.convert_to_tensor(old), rest], axis=axis))
