"""Additional tokens for language models and translators."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.checks import check, check_choice, check_integer, check_positive, given
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.distribution import whole_if_uneven
from keras_transformer.layers.embedding import TokenEmbedding
from keras_transformer.models.model_parts import ModelParts, find_parts


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


def with_new_tokens(
    model: keras.Model,
    num_tokens: int,
    num_target_tokens: int | None = None,
    initializer: str = "random",
) -> keras.Model:
    """Extends the vocabulary of a model, for example by the delimiters of a task or by new words.

    The new ids are V .. V + `num_tokens` - 1. All other weights, and the logits of the old
    vocabulary, stay the same. Encoder and decoder are shared with `model`, so training one model
    also trains the other; embeddings and an untied output projection are copied. A tokenizer gets
    the same ids from `kt.data.with_new_tokens`.

    Args:
        model: A language model or a translator from `kt.models` or `kt.pretrained.load`.
        num_tokens: Number of tokens to add, to the source embedding if there is one per language.
        num_target_tokens: Number of tokens to add to the target embedding; None for `num_tokens`.
            One of the two numbers may be 0. Only for a translator with an embedding for each
            language.
        initializer: "random" draws the new embeddings from the initializer of the old ones. "mean"
            sets them, and their columns and biases in the output projection, to the mean of the old
            ones: a trained model then gives a new token about the probability of an average one.

    Returns:
        A `keras.Model` like `model`, with additional logits for the new tokens.

    Raises:
        ValueError: If `model` is neither a language model nor a translator, a number is out of
            range, `num_target_tokens` is given for a shared embedding, or `initializer` is unknown.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.models.with_new_tokens(lm, 3)({"token_ids": np.array([[100, 5, 102]])}).shape
        (1, 3, 103)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3; Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"
        (the mean).
    """
    parts = _parts_of(model)
    check_choice(("random", "mean"), initializer=initializer)
    is_shared = parts.source_embedding is parts.target_embedding
    num_target_tokens = _check_counts(is_shared, num_tokens, num_target_tokens)
    target = _longer_embedding(parts.target_embedding, num_target_tokens)
    source = target if is_shared else _longer_embedding(parts.source_embedding, num_tokens)
    new = parts._replace(source_embedding=source, target_embedding=target)
    if parts.projection is not None and num_target_tokens:
        config = {**parts.projection.get_config(), "units": target.vocabulary_size}
        new = new._replace(projection=keras.layers.Dense.from_config(config))
    result = _connect(new, model.name)
    copied = {"target_embedding", "projection"} | (set() if is_shared else {"source_embedding"})
    for name in copied:
        old_one, new_one = getattr(parts, name), getattr(new, name)
        if new_one is not old_one:
            _copy(old_one, new_one, parts.target_embedding.padding_id, initializer == "mean")
    return result


def _parts_of(model):
    layers = {layer.name: layer for layer in model.layers} if isinstance(model, keras.Model) else {}
    parts = find_parts(layers)
    if parts.decoder is None or parts.target_embedding is None:
        raise ValueError(
            "`model` must be a language model or a translator, with layers `decoder` and "
            f"`token_embedding` or `target_embedding`. Received: model={model!r} with the layers "
            f"{sorted(layers)}."
        )
    return parts


def _check_counts(is_shared, num_tokens, num_target_tokens):
    """Returns the number of new target tokens."""
    if is_shared:
        check_positive(num_tokens=num_tokens)
        check(
            num_target_tokens is None,
            "be None for a model with one embedding",
            "num_target_tokens",
            num_target_tokens,
        )
        return num_tokens
    check_integer(0, num_tokens=num_tokens, **given(num_target_tokens=num_target_tokens))
    if not num_tokens and not num_target_tokens:
        check_positive(num_tokens=num_tokens)
    return num_tokens if num_target_tokens is None else num_target_tokens


def _longer_embedding(embedding, num_tokens):
    if not num_tokens:
        return embedding
    size = embedding.vocabulary_size + num_tokens
    return type(embedding).from_config({**embedding.get_config(), "vocabulary_size": size})


def _connect(parts: ModelParts, name: str) -> keras.Model:
    if parts.encoder is None:
        token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
        inputs = {"token_ids": token_ids}
        hidden = parts.decoder(parts.target_embedding(token_ids))
    else:
        names = ("source_ids", "target_ids")
        inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in names}
        encoded = parts.encoder(parts.source_embedding(inputs["source_ids"]))
        hidden = parts.decoder(parts.target_embedding(inputs["target_ids"]), encoded)
    if parts.projection is None:
        logits = parts.target_embedding(hidden, reverse=True)
    else:
        shape = (hidden.shape[-1], parts.projection.units)
        with whole_if_uneven("logits/kernel", shape):
            logits = parts.projection(hidden)
    return keras.Model(inputs, logits, name=name)


def _copy(old, new, padding_id, is_mean):
    """Copies the weights of an embedding or a projection into those of a longer one."""
    if isinstance(old, keras.layers.Dense):
        pairs = ((new.kernel, old.kernel, 1), (new.bias if old.use_bias else None, old.bias, 0))
    else:
        padding_id = old.padding_id
        pairs = ((new.embeddings, old.embeddings, 0), (new.bias, old.bias, 0))
    for longer, shorter, axis in pairs:
        if shorter is not None:
            _keep_start(longer, shorter, axis, padding_id, is_mean)


def _keep_start(new, old, axis, padding_id, is_mean):
    """Copies an old weight to the start of a longer one, and may set the rest to the mean."""
    size, new_size = old.shape[axis], new.shape[axis]
    if is_mean:
        # The embedding of padding is never trained, so the mean leaves it out.
        real = [index for index in range(size) if index != padding_id]
        chosen = ops.take(ops.convert_to_tensor(old), ops.convert_to_tensor(real), axis=axis)
        mean = ops.mean(ops.cast(chosen, "float32"), axis=axis, keepdims=True)
        rest = ops.cast(ops.repeat(mean, new_size - size, axis=axis), old.dtype)
    else:
        rest = ops.take(new, ops.arange(size, new_size), axis=axis)
    new.assign(ops.concatenate([ops.convert_to_tensor(old), rest], axis=axis))
