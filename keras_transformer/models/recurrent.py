"""Recurrent encoder-decoder models for translation."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_flag, check_positive
from keras_transformer.layers.recurrent_decoder import RecurrentDecoder
from keras_transformer.layers.recurrent_encoder import RecurrentEncoder
from keras_transformer.models.encoder_decoder import join, make_embeddings


def recurrent_seq2seq(
    vocabulary_size: int,
    target_vocabulary_size: int | None = None,
    cell: str = "lstm",
    bidirectional: bool = True,
    attention: str | None = "luong",
    hidden_dim: int = 256,
    num_layers: int = 1,
    dropout: float = 0.1,
    share_embeddings: bool = True,
    *,
    output_bias: bool = False,
    padding_id: int | None = 0,
    name: str = "recurrent_seq2seq",
    dtype: Any = None,
) -> keras.Model:
    """Builds a recurrent encoder-decoder, with a fixed context vector or with attention.

    Inputs, output and layer names are those of `kt.models.transformer`, so training, `kt.decoding`
    and `kt.Translator` work the same way.

    Args:
        vocabulary_size: Size of the vocabulary, or of the source vocabulary if there are two.
        target_vocabulary_size: Size of the target vocabulary; None to share one vocabulary.
        cell: "simple" (Elman network), "lstm" or "gru".
        bidirectional: Whether the encoder reads in both directions, with `hidden_dim` units each.
        attention: "luong", "bahdanau", or None for a fixed context vector.
        hidden_dim: D, the units of each layer and the width of the embeddings.
        num_layers: Number of layers of the encoder and of the decoder.
        dropout: Dropout rate on the input of each layer and on the decoder's output.
        share_embeddings: Whether target embedding, output projection and, with a single vocabulary,
            source embedding share one matrix.
        output_bias: Whether to add a learned bias to the logits.
        padding_id: The id of padding, masked in source and target; None if all ids are real tokens.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.

    Returns:
        A `keras.Model`: `source_ids` (B, S) and `target_ids` (B, T) to logits (B, T, V).

    Raises:
        ValueError: If the cell or the attention is unknown, or a size is not positive.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.recurrent_seq2seq(vocabulary_size=100, cell="gru", hidden_dim=16)
        >>> ids = {"source_ids": np.array([[5, 6, 3]]), "target_ids": np.array([[2, 7]])}
        >>> model(ids).shape
        (1, 2, 100)

    Reference:
        Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks"; Bahdanau et al.
        2015, "Neural Machine Translation by Jointly Learning to Align and Translate"; Luong et al.
        2015, "Effective Approaches to Attention-based Neural Machine Translation".
    """
    check_positive(vocabulary_size=vocabulary_size, hidden_dim=hidden_dim)
    check_flag(bidirectional=bidirectional)
    embeddings = make_embeddings(
        vocabulary_size,
        target_vocabulary_size,
        share_embeddings,
        output_bias,
        hidden_dim=hidden_dim,
        padding_id=padding_id,
        dtype=dtype,
    )
    common = {
        "hidden_dim": hidden_dim,
        "cell": cell,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "dropout": dropout,
        "dtype": dtype,
    }
    encoder = RecurrentEncoder(name="encoder", **common)
    decoder = RecurrentDecoder(attention=attention, name="decoder", **common)
    return join(embeddings, encoder, decoder, share_embeddings, output_bias, name, dtype)
