"""Recurrent encoder-decoders: what translated before the Transformer."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.checks import check_flag, check_positive
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

    Inputs, output and the names of its layers are those of `kt.models.transformer`: the same
    training, `kt.decoding` and `kt.Translator` serve both.

    Args:
        vocabulary_size: size of the vocabulary; of the source's where there are two.
        target_vocabulary_size: size of the target's own vocabulary; None if both share one.
        cell: "simple" (Elman's network), "lstm" or "gru".
        bidirectional: read the source from both ends, `hidden_dim` units from each.
        attention: "luong", "bahdanau", or None: then the source is one fixed vector.
        hidden_dim: D, the units of each layer, and the width of the embeddings.
        num_layers: layers of the encoder, and of the decoder.
        dropout: rate on the input of each layer and on the decoder's output.
        share_embeddings: one matrix for the target embedding and the output projection, and for
            the source embedding too where the vocabulary is shared.
        output_bias: add a learned bias to the logits.
        padding_id: the id of padding, masked in source and target; None if there is none.
        name: name of the model.
        dtype: dtype policy of its layers, by default Keras's global policy.

    Returns:
        A `keras.Model`: `source_ids` (B, S) and `target_ids` (B, T) to logits (B, T, V).

    Raises:
        ValueError: an unknown cell or attention, or sizes that are not positive.

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
