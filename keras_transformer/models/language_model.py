"""Decoder-only language models."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_positive
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.decoder_block import DecoderBlock
from keras_transformer.layers.embedding import TokenEmbedding
from keras_transformer.layers.positional import LearnedPositionalEmbedding
from keras_transformer.models.encoder_decoder import make_projection
from keras_transformer.models.initializers import initial_stddev
from keras_transformer.models.stack_blocks import make_blocks


def gpt(
    vocabulary_size: int = 40478,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden_dim: int = 768,
    intermediate_dim: int = 3072,
    max_length: int | None = 512,
    dropout: float = 0.1,
    *,
    activation: Any = "gelu_approximate",
    normalize_first: bool = False,
    layer_norm_epsilon: float = 1e-5,
    attention_dropout: float | None = None,
    embedding_dropout: float | None = None,
    initializer_stddev: float | None = None,
    padding_id: int | None = 0,
    share_embeddings: bool = True,
    rematerialize: bool = False,
    name: str = "gpt",
    dtype: Any = None,
    **block: Any,
) -> keras.Model:
    """Builds a GPT-style language model.

    A functional model from `token_ids`, int32 (B, T), to logits (B, T, V): position `t` predicts
    the token after `token_ids[:, t]`. By default, the blocks are post-LN, the positions are
    learned, and the output projection is tied to the embedding and has no bias. The layers are
    named `token_embedding`, `decoder` and, if the output projection is not tied, `logits`.

    Args:
        vocabulary_size: V.
        num_layers: Number of decoder blocks.
        num_heads: Number of attention heads.
        hidden_dim: D, the width of the model.
        intermediate_dim: Width of the feed-forward networks.
        max_length: Number of learned positions, the maximum sequence length; None for no learned
            positions and no maximum, with rotary or relative positions.
        dropout: Dropout rate on the output of each sublayer; also on attention weights and
            embeddings unless given separately.
        activation: Activation of the feed-forward networks.
        normalize_first: Whether to use pre-LN with a final layer norm, as in GPT-2.
        layer_norm_epsilon: Epsilon of the layer norms.
        attention_dropout: Dropout rate on the attention weights; None for `dropout`.
        embedding_dropout: Dropout rate on embeddings plus positions; None for `dropout`.
        initializer_stddev: Initial standard deviation of all kernels and embeddings; None for 0.02
            at `hidden_dim=768`, scaled in proportion to `hidden_dim ** -0.5`.
        padding_id: The id of padding, which is masked; None if all ids are real tokens.
        share_embeddings: Whether to tie the output projection to the token embedding; if not, it is
            a separate layer, `logits`.
        rematerialize: Whether to recompute each block in the backward pass (gradient
            checkpointing): less memory, more time.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.
        **block: Other arguments of the blocks, see `DecoderBlock`: `num_key_value_heads`,
            `rotary`, `relative_positions`, `gated`, `norm` and so on. `window` may also be a
            sequence of windows for the layers to alternate: `(None, 128)` gives the alternating
            dense and local attention of GPT-3.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If a size is not positive, `num_heads` does not divide `hidden_dim`, or
            `initializer_stddev` is not positive; when called, if a sequence is longer than
            `max_length`.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> model({"token_ids": np.array([[5, 6, 7]])}).shape
        (1, 3, 100)

    See Also:
        `kt.models.gpt1` has GPT-1's sizes; `kt.training.gpt1_pretraining_recipe` is its training;
        `kt.data.LanguageModelBatches` and `kt.models.packed` feed it; `kt.decoding.generate` and
        `kt.TextGenerator` write with it.

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 4.1; windows: Brown et al. 2020, "Language Models are Few-Shot Learners", section
        2.1.
    """
    check_positive(vocabulary_size=vocabulary_size, num_layers=num_layers, hidden_dim=hidden_dim)

    stddev = initial_stddev(initializer_stddev, hidden_dim)

    def initializer():
        return keras.initializers.RandomNormal(stddev=stddev)

    # === Layers ===
    embedding = TokenEmbedding(
        vocabulary_size,
        hidden_dim,
        scale=False,
        padding_id=padding_id,
        embeddings_initializer=initializer(),
        dtype=dtype,
        name="token_embedding",
    )
    positions = None
    if max_length is not None:
        positions = LearnedPositionalEmbedding(
            max_length, initializer(), dtype=dtype, name="positional_encoding"
        )
    blocks = make_blocks(
        DecoderBlock,
        num_heads=num_heads,
        intermediate_dim=intermediate_dim,
        cross_attention=False,
        dropout=dropout,
        activation=activation,
        normalize_first=normalize_first,
        layer_norm_epsilon=layer_norm_epsilon,
        attention_dropout=dropout if attention_dropout is None else attention_dropout,
        **{"kernel_initializer": initializer(), "dtype": dtype, **block},
    )
    decoder = TransformerDecoder(
        num_layers,
        blocks,
        positional_encoding=positions,
        input_dropout=dropout if embedding_dropout is None else embedding_dropout,
        rematerialize=rematerialize,
        dtype=dtype,
        name="decoder",
    )
    # === Functional model ===
    token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    hidden = decoder(embedding(token_ids))
    if share_embeddings:
        logits = embedding(hidden, reverse=True)
    else:
        logits = make_projection(hidden, vocabulary_size, False, initializer(), dtype)
    return keras.Model({"token_ids": token_ids}, logits, name=name)


def gpt1(**arguments: Any) -> keras.Model:
    """Builds GPT-1: 12 layers, width 768, 12 heads, 512 positions, 116,534,784 parameters.

    Args:
        **arguments: Any argument of `gpt`.

    Returns:
        A `keras.Model`, see `gpt`.

    Example:
        >>> import keras_transformer as kt
        >>> kt.models.gpt1().count_params()
        116534784

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 4.1.
    """
    return gpt(**{"name": "gpt1", **arguments})
