"""Encoder-decoder models for translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_transformer.layers.checks import check_positive
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.positional import PositionalEncoding
from keras_transformer.models.encoder_decoder import join, make_embeddings


def transformer(
    vocabulary_size: int,
    target_vocabulary_size: int | None = None,
    num_layers: int = 6,
    num_heads: int = 8,
    hidden_dim: int = 512,
    intermediate_dim: int = 2048,
    dropout: float = 0.1,
    share_embeddings: bool = True,
    *,
    num_decoder_layers: int | None = None,
    activation: Any = "relu",
    normalize_first: bool = False,
    layer_norm_epsilon: float = 1e-6,
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    num_key_value_heads: int | None = None,
    use_attention_bias: bool = True,
    position_layout: str | None = "interleaved",
    scale_embeddings: bool = True,
    output_bias: bool = False,
    padding_id: int | None = 0,
    start_is_padding: bool = False,
    decoder_recurrence: str | None = None,
    rotary: bool = False,
    relative_positions: Any = None,
    window: int | Sequence[int | None] | None = None,
    gated: bool = False,
    rematerialize: bool = False,
    name: str = "transformer",
    dtype: Any = None,
) -> keras.Model:
    """Builds the encoder-decoder Transformer of "Attention Is All You Need".

    A functional model with the inputs `source_ids` (B, S) and `target_ids` (B, T), both int32, and
    logits (B, T, V) as output: `target_ids` starts with the start token, and position `t` predicts
    the token after `target_ids[:, t]`. Its layers are found by name: `token_embedding` (or
    `source_embedding` and `target_embedding`), `encoder`, `decoder`, and `logits` where the output
    projection has a matrix of its own.

    Args:
        vocabulary_size: size of the vocabulary; of the source's where there are two.
        target_vocabulary_size: size of the target's own vocabulary; None if both share one.
        num_layers: encoder blocks, and decoder blocks unless `num_decoder_layers` is given.
        num_heads: attention heads.
        hidden_dim: D, the width of the model.
        intermediate_dim: width of the feed-forward networks.
        dropout: rate on each sub-layer's output and on embeddings plus positions.
        share_embeddings: one matrix for the target embedding and the output projection, and for
            the source embedding too where the vocabulary is shared.
        num_decoder_layers: decoder blocks, where they are not as many as the encoder's.
        activation: of the feed-forward networks.
        normalize_first: pre-LN instead of the paper's post-LN.
        layer_norm_epsilon: epsilon of the layer norms.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate inside the feed-forward networks.
        num_key_value_heads: fewer key/value heads than query heads.
        use_attention_bias: whether the attention projections have biases.
        position_layout: layout of `PositionalEncoding`; None for no positions in front of the
            stacks, where rotary or relative ones take their place.
        scale_embeddings: multiply the embeddings by sqrt(D).
        output_bias: add a learned bias to the logits.
        padding_id: the id of padding, masked in source and target; None if there is none.
        start_is_padding: targets start with the padding id, as Marian's do: there it is a token.
        decoder_recurrence: "ssru" for recurrent units in place of the decoder's self-attentions;
            a step of decoding then costs the same at every length.
        rotary: rotary positions in the self-attentions.
        relative_positions: "shaw", "t5" or "alibi", see `MultiHeadSelfAttention`.
        window: how far the self-attentions see, see `TransformerEncoder`.
        gated: gated feed-forward networks, see `FeedForward`.
        rematerialize: compute each block once more in the backward pass instead of keeping its
            activations: less memory, more time.
        name: name of the model.
        dtype: dtype policy of its layers, by default Keras's global policy.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: sizes that are not positive, heads that do not divide the width.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> ids = {"source_ids": np.array([[5, 6, 3]]), "target_ids": np.array([[2, 7]])}
        >>> model(ids).shape
        (1, 2, 100)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3 and table 3.
    """
    check_positive(vocabulary_size=vocabulary_size, num_layers=num_layers, hidden_dim=hidden_dim)
    embedding = {
        "hidden_dim": hidden_dim,
        "scale": scale_embeddings,
        "padding_id": padding_id,
        "dtype": dtype,
    }
    blocks = {
        "num_heads": num_heads,
        "intermediate_dim": intermediate_dim,
        "dropout": dropout,
        "activation": activation,
        "normalize_first": normalize_first,
        "layer_norm_epsilon": layer_norm_epsilon,
        "attention_dropout": attention_dropout,
        "activation_dropout": activation_dropout,
        "num_key_value_heads": num_key_value_heads,
        "use_attention_bias": use_attention_bias,
        "rotary": rotary,
        "relative_positions": relative_positions,
        "window": window,
        "gated": gated,
        "input_dropout": dropout,
        "rematerialize": rematerialize,
        "dtype": dtype,
    }
    # === Layers ===
    embeddings = make_embeddings(
        vocabulary_size, target_vocabulary_size, share_embeddings, output_bias, **embedding
    )

    def positions():
        return PositionalEncoding(position_layout, dtype=dtype) if position_layout else None

    encoder = TransformerEncoder(
        num_layers,
        positional_encoding=positions(),
        name="encoder",
        **blocks,
    )
    decoder = TransformerDecoder(
        num_decoder_layers or num_layers,
        positional_encoding=positions(),
        recurrence=decoder_recurrence,
        start_is_padding=start_is_padding,
        name="decoder",
        **blocks,
    )
    return join(embeddings, encoder, decoder, share_embeddings, output_bias, name, dtype)


def transformer_base(vocabulary_size: int, **arguments: Any) -> keras.Model:
    """Builds the paper's base model: 6 + 6 layers, width 512, 8 heads, dropout 0.1.

    Args:
        vocabulary_size: size of the shared vocabulary (the paper's English-German one has about
            37,000 entries; the model then has 63,082,496 parameters).
        **arguments: any other argument of `transformer`.

    Returns:
        A `keras.Model`, as `transformer`.

    Example:
        >>> import keras_transformer as kt
        >>> kt.models.transformer_base(vocabulary_size=37000).count_params()
        63082496

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", table 3, row "base".
    """
    return transformer(vocabulary_size, **{"name": "transformer_base", **arguments})


def transformer_big(vocabulary_size: int, **arguments: Any) -> keras.Model:
    """Builds the paper's big model: 6 + 6 layers, width 1024, 16 heads, dropout 0.3.

    Args:
        vocabulary_size: size of the shared vocabulary (214,245,376 parameters with 37,000).
        **arguments: any other argument of `transformer`; the paper's English-French model has
            `dropout=0.1`.

    Returns:
        A `keras.Model`, as `transformer`.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer_big(vocabulary_size=1000, num_layers=1)
        >>> model.get_layer("encoder").num_heads
        16

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", table 3, row "big".
    """
    big = {
        "num_heads": 16,
        "hidden_dim": 1024,
        "intermediate_dim": 4096,
        "dropout": 0.3,
        "name": "transformer_big",
    }
    return transformer(vocabulary_size, **{**big, **arguments})
