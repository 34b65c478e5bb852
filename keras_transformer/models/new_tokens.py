"""Tokens that a language model learns later."""

from __future__ import annotations

import keras
from keras import ops

from keras_transformer.layers.checks import check_positive
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.embedding import TokenEmbedding


def language_model_parts(lm: keras.Model) -> tuple[TokenEmbedding, TransformerDecoder]:
    """Returns the embedding and the decoder of a language model.

    Args:
        lm: a model as `gpt` makes it.

    Returns:
        The layers `token_embedding` and `decoder`.

    Raises:
        ValueError: `lm` is not such a model.
    """
    names = {layer.name for layer in lm.layers} if isinstance(lm, keras.Model) else set()
    # A translator has an encoder, and a matrix of its own for logits could not be tied.
    if not {"token_embedding", "decoder"} <= names or names & {"encoder", "logits"}:
        raise ValueError(
            "`lm` must be a language model with the layers `token_embedding`, which makes its "
            f"logits too, and `decoder`. Received: lm={lm!r} with the layers {sorted(names)}."
        )
    return lm.get_layer("token_embedding"), lm.get_layer("decoder")


def with_new_tokens(lm: keras.Model, num_tokens: int) -> keras.Model:
    """Gives a language model some more tokens, such as those that mark the parts of a task's input.

    The new ids are V .. V + `num_tokens` - 1. Their embeddings start as those of `lm` once did; all
    other weights are as in `lm`, and so are the logits of the old vocabulary. The decoder is that
    of `lm` itself, so that training one model trains the other; the embedding is a new one.

    Args:
        lm: a language model as `kt.models.gpt` or `kt.pretrained.load` make it.
        num_tokens: how many tokens.

    Returns:
        A `keras.Model` as `gpt`, with V + `num_tokens` logits.

    Raises:
        ValueError: `lm` is no language model, or `num_tokens` is not positive.

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
    old, decoder = language_model_parts(lm)
    size = old.vocabulary_size + num_tokens
    embedding = TokenEmbedding.from_config({**old.get_config(), "vocabulary_size": size})
    token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    logits = embedding(decoder(embedding(token_ids)), reverse=True)
    # A matrix of the new size has the new rows at random already; the old ones are copied.
    rows = ops.concatenate([old.embeddings, embedding.embeddings[old.vocabulary_size :]], axis=0)
    embedding.embeddings.assign(rows)
    if embedding.bias is not None:
        zeros = embedding.bias[old.vocabulary_size :]
        embedding.bias.assign(ops.concatenate([old.bias, zeros], axis=0))
    return keras.Model({"token_ids": token_ids}, logits, name=lm.name)
