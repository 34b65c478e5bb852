"""Encoder-decoder models for translation."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_positive, given
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.decoder_block import DecoderBlock
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.positional import LearnedPositionalEmbedding, PositionalEncoding
from keras_transformer.models.encoder_decoder import join, make_embeddings
from keras_transformer.models.stack_blocks import make_blocks


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
    num_decoder_heads: int | None = None,
    decoder_intermediate_dim: int | None = None,
    position_layout: str | None = "interleaved",
    first_position: int = 0,
    max_length: int | None = None,
    scale_embeddings: bool = True,
    tie_logits: bool = True,
    scale_logits: bool = False,
    output_bias: bool = False,
    padding_id: int | None = 0,
    start_is_padding: bool = False,
    decoder_recurrence: str | None = None,
    share_relative_positions: bool = False,
    rematerialize: bool = False,
    name: str = "transformer",
    dtype: Any = None,
    **block: Any,
) -> keras.Model:
    """Builds the encoder-decoder Transformer of "Attention Is All You Need".

    A functional model from `source_ids` (B, S) and `target_ids` (B, T), both int32, to logits
    (B, T, V): `target_ids` starts with the start token, and position `t` predicts the token after
    `target_ids[:, t]`. The layers are named `token_embedding` (or `source_embedding` and
    `target_embedding`), `encoder`, `decoder` and, if the output projection is not tied, `logits`.

    Args:
        vocabulary_size: Size of the vocabulary, or of the source vocabulary if there are two.
        target_vocabulary_size: Size of the target vocabulary; None to share one vocabulary.
        num_layers: Number of encoder blocks, and of decoder blocks unless `num_decoder_layers` is
            given.
        num_heads: Number of attention heads; only of the encoder if `num_decoder_heads` is given.
        hidden_dim: D, the width of the model.
        intermediate_dim: Width of the feed-forward networks; only of the encoder's if
            `decoder_intermediate_dim` is given.
        dropout: Dropout rate on the output of each sublayer and on embeddings plus positions.
        share_embeddings: Whether target embedding, output projection and, with a single vocabulary,
            source embedding share one matrix.
        num_decoder_layers: Number of decoder blocks; None for `num_layers`.
        num_decoder_heads: Number of attention heads of the decoder, in self- and cross-attention;
            None for `num_heads`.
        decoder_intermediate_dim: Width of the decoder's feed-forward networks; None for
            `intermediate_dim`.
        position_layout: Layout of the sinusoidal `PositionalEncoding`; "learned" for a
            `LearnedPositionalEmbedding` in each stack; None for no positions on the input, for
            example with rotary or relative positions.
        first_position: Position of the first token, with a sinusoidal encoding.
        max_length: Number of learned positions, the maximum sequence length; only with
            `position_layout="learned"`.
        scale_embeddings: Whether to multiply the embeddings by sqrt(D).
        tie_logits: Whether `share_embeddings` includes the output projection; if not, it is a
            separate layer, `logits`, as in T5 1.1.
        scale_logits: Whether to divide tied logits by sqrt(D), as in T5.
        output_bias: Whether to add a learned bias to the logits.
        padding_id: The id of padding, masked in source and target; None if all ids are real tokens.
        start_is_padding: Whether targets start with the padding id as a real token, as in Marian.
        decoder_recurrence: "ssru" replaces the decoder's self-attention with recurrent units, so a
            decoding step costs the same at every length; None for self-attention.
        share_relative_positions: Whether all blocks of a stack share its relative positions, as in
            T5; otherwise each block has its own.
        rematerialize: Whether to recompute each block in the backward pass (gradient
            checkpointing): less memory, more time.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.
        **block: Other arguments of the blocks, see `TransformerEncoderBlock`: `activation`,
            `normalize_first`, `attention_dropout`, `num_key_value_heads`, `rotary`,
            `relative_positions`, `gated`, `norm` and so on. `window` may also be a sequence of
            windows for the layers to alternate.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, a number of heads does not divide `hidden_dim`,
            only one of learned positions and `max_length` is given, untied logits are to be scaled,
            or there are no relative positions to share.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> ids = {"source_ids": np.array([[5, 6, 3]]), "target_ids": np.array([[2, 7]])}
        >>> model(ids).shape
        (1, 2, 100)

    See Also:
        `kt.models.transformer_base` and `kt.models.transformer_big` have the paper's sizes;
        `kt.training.transformer_recipe` is its training; `kt.data.TranslationBatches` makes its
        batches; `kt.decoding.beam_search` and `kt.Translator` translate with it.

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
        "dtype": dtype,
        **block,
    }
    decoder_blocks = {
        **blocks,
        **given(num_heads=num_decoder_heads, intermediate_dim=decoder_intermediate_dim),
        "recurrence": decoder_recurrence,
    }
    stacks = {
        "input_dropout": dropout,
        "rematerialize": rematerialize,
        "share_relative_positions": share_relative_positions,
        "dtype": dtype,
    }
    # === Layers ===
    embeddings = make_embeddings(
        vocabulary_size,
        target_vocabulary_size,
        share_embeddings,
        output_bias,
        tie_logits,
        scale_logits,
        **embedding,
    )

    def positions():
        return _positions(position_layout, first_position, max_length, hidden_dim, dtype)

    encoder = TransformerEncoder(
        num_layers,
        make_blocks(TransformerEncoderBlock, **blocks),
        positional_encoding=positions(),
        name="encoder",
        **stacks,
    )
    decoder = TransformerDecoder(
        num_decoder_layers or num_layers,
        make_blocks(DecoderBlock, **decoder_blocks),
        positional_encoding=positions(),
        start_is_padding=start_is_padding,
        name="decoder",
        **stacks,
    )
    is_tied = share_embeddings and tie_logits
    return join(embeddings, encoder, decoder, is_tied, output_bias, name, dtype)


def _positions(layout, first_position, max_length, hidden_dim, dtype):
    if (layout == "learned") != (max_length is not None):
        raise ValueError(
            '`max_length` must be given if and only if `position_layout="learned"`. '
            f"Received: max_length={max_length}, position_layout={layout!r}."
        )
    if first_position and layout in ("learned", None):
        raise ValueError(
            "`first_position` must be 0 without a sinusoidal `position_layout`. "
            f"Received: first_position={first_position}, position_layout={layout!r}."
        )
    if layout is None:
        return None
    common = {"dtype": dtype, "name": "positional_encoding"}
    if layout == "learned":
        initializer = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
        return LearnedPositionalEmbedding(max_length, initializer, **common)
    return PositionalEncoding(layout, first_position=first_position, **common)


def transformer_base(vocabulary_size: int, **arguments: Any) -> keras.Model:
    """Builds the paper's base model: 6 + 6 layers, width 512, 8 heads, dropout 0.1.

    Args:
        vocabulary_size: Size of the shared vocabulary. With 37,000 tokens, about as many as in the
            paper's English-German model, the model has 63,082,496 parameters.
        **arguments: Other arguments of `transformer`.

    Returns:
        A `keras.Model`, see `transformer`.

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
        vocabulary_size: Size of the shared vocabulary. With 37,000 tokens, the model has
            214,245,376 parameters.
        **arguments: Other arguments of `transformer`, such as `dropout=0.1` for the paper's
            English-French model.

    Returns:
        A `keras.Model`, see `transformer`.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer_big(vocabulary_size=1000, num_layers=1)
        >>> model.get_layer("encoder").block.num_heads
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
