"""Parts shared by all translation models: the embeddings, the projection, the functional model."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_flag
from keras_transformer.layers.distribution import whole_if_uneven
from keras_transformer.layers.embedding import TokenEmbedding


def make_embeddings(
    vocabulary_size: int,
    target_vocabulary_size: int | None,
    share_embeddings: bool,
    output_bias: bool,
    tie_logits: bool = True,
    scale_logits: bool = False,
    **arguments: Any,
) -> tuple[TokenEmbedding, TokenEmbedding]:
    """Creates the embeddings of source and target, as a single layer if they share everything.

    Args:
        vocabulary_size: Size of the vocabulary, or of the source vocabulary if there are two.
        target_vocabulary_size: Size of the target vocabulary; None to share one vocabulary.
        share_embeddings: Whether the target embedding is tied to the output projection and, if
            there is a single vocabulary, to the source embedding.
        output_bias: Whether the logits have a bias.
        tie_logits: Whether the output projection takes part in the sharing.
        scale_logits: Whether to divide tied logits by sqrt(D).
        **arguments: Other arguments of `TokenEmbedding`.

    Returns:
        `token_embedding` twice, or `source_embedding` and `target_embedding`.

    Raises:
        ValueError: If untied logits are to be scaled.
    """
    check_flag(tie_logits=tie_logits, scale_logits=scale_logits)
    is_tied = share_embeddings and tie_logits
    if scale_logits and not is_tied:
        raise ValueError(
            "`scale_logits` must be False unless the output projection is tied. Received: "
            f"scale_logits=True, share_embeddings={share_embeddings}, tie_logits={tie_logits}."
        )
    target = {"output_bias": output_bias and is_tied, "scale_logits": scale_logits, **arguments}
    if share_embeddings and target_vocabulary_size is None:
        shared = TokenEmbedding(vocabulary_size, name="token_embedding", **target)
        return shared, shared
    return (
        TokenEmbedding(vocabulary_size, name="source_embedding", **arguments),
        TokenEmbedding(
            target_vocabulary_size or vocabulary_size, name="target_embedding", **target
        ),
    )


def join(
    embeddings: tuple[TokenEmbedding, TokenEmbedding],
    encoder: keras.layers.Layer,
    decoder: keras.layers.Layer,
    tie_logits: bool,
    output_bias: bool,
    name: str,
    dtype: Any,
) -> keras.Model:
    """Connects the parts to a model from `source_ids` and `target_ids` to logits.

    Args:
        embeddings: The embeddings of source and target.
        encoder: Encodes embedded sources (B, S, D).
        decoder: Maps embedded targets (B, T, D) and the encoded source to (B, T, D).
        tie_logits: Whether to project with the target embedding; otherwise a layer `logits` is
            added.
        output_bias: Whether the layer `logits` has a bias.
        name: Name of the model.
        dtype: Dtype policy of the layer `logits`.

    Returns:
        A functional model.
    """
    source_embedding, target_embedding = embeddings
    source_ids = keras.Input(shape=(None,), dtype="int32", name="source_ids")
    target_ids = keras.Input(shape=(None,), dtype="int32", name="target_ids")
    encoded = encoder(source_embedding(source_ids))
    decoded = decoder(target_embedding(target_ids), encoded)
    if tie_logits:
        logits = target_embedding(decoded, reverse=True)
    else:
        logits = make_projection(
            decoded, target_embedding.vocabulary_size, output_bias, None, dtype
        )
    return keras.Model({"source_ids": source_ids, "target_ids": target_ids}, logits, name=name)


def make_projection(
    hidden: Any, vocabulary_size: int, use_bias: bool, initializer: Any, dtype: Any
) -> Any:
    """Adds the layer `logits`, an output projection that is not tied to an embedding.

    Args:
        hidden: Symbolic (B, T, D).
        vocabulary_size: V.
        use_bias: Whether the logits have a bias.
        initializer: Initializer of the kernel (D, V); None for Glorot uniform.
        dtype: Dtype policy of the layer.

    Returns:
        The logits, symbolic (B, T, V).
    """
    dense = keras.layers.Dense(
        vocabulary_size,
        use_bias=use_bias,
        kernel_initializer=initializer or "glorot_uniform",
        dtype=dtype,
        name="logits",
    )
    with whole_if_uneven("logits/kernel", (hidden.shape[-1], vocabulary_size)):
        return dense(hidden)
