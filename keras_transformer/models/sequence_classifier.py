"""Sequence classifiers with convolutional, recurrent and Transformer encoders."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_choice, check_positive, check_rate
from keras_transformer.layers.convolutional import ConvolutionalEncoder
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.embedding import TokenEmbedding
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.pooling import SequencePooling
from keras_transformer.layers.positional import PositionalEncoding
from keras_transformer.layers.recurrent_encoder import RecurrentEncoder

# The default pooling of each kind.
_POOLINGS = {
    "cnn": "max",
    "rnn": "last",
    "lstm": "last",
    "gru": "last",
    "bi_lstm": "ends",
    "transformer": "mean",
}
_CELLS = {"rnn": "simple", "lstm": "lstm", "gru": "gru", "bi_lstm": "lstm"}
KINDS = tuple(_POOLINGS)


def sequence_classifier(
    vocabulary_size: int,
    num_classes: int,
    kind: str = "transformer",
    hidden_dim: int = 128,
    num_layers: int | None = None,
    dropout: float = 0.1,
    *,
    pooling: str | None = None,
    kernel_size: int = 3,
    num_heads: int = 4,
    intermediate_dim: int | None = None,
    padding_id: int | None = 0,
    name: str = "sequence_classifier",
    dtype: Any = None,
) -> keras.Model:
    """Builds a sequence classifier: a CNN, a recurrent network or a Transformer.

    The input `token_ids` (B, T) goes through the layers `token_embedding`, `encoder`, `pooling` and
    a dense layer `head`, followed by a softmax.

    Args:
        vocabulary_size: Size of the vocabulary.
        num_classes: C.
        kind: "cnn", "rnn" (Elman network), "lstm", "gru", "bi_lstm" or "transformer" (pre-LN).
        hidden_dim: D, the width of the model; in recurrent networks, the units of each direction.
        num_layers: Number of encoder layers; by default 1 for recurrent networks and 2 otherwise.
        dropout: Dropout rate in the encoder and before the dense layer.
        pooling: How to pool the positions, see `SequencePooling`; by default "max" for a CNN,
            "mean" for a Transformer and the final states of a recurrent network.
        kernel_size: Kernel size of the convolutions of a CNN.
        num_heads: Number of attention heads of a Transformer.
        intermediate_dim: Width of the feed-forward networks of a Transformer; by default 4 D.
        padding_id: The id of padding, which is masked; None if all ids are real tokens.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.

    Returns:
        A `keras.Model`: `token_ids` (B, T) to float32 probabilities (B, C).

    Raises:
        ValueError: If the kind or the pooling is unknown, or an argument is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.sequence_classifier(100, num_classes=3, kind="gru", hidden_dim=16)
        >>> model({"token_ids": np.array([[5, 6, 7, 0]])}).shape
        (1, 3)

    Reference:
        Kim 2014, "Convolutional Neural Networks for Sentence Classification"; Hochreiter and
        Schmidhuber 1997, "Long Short-Term Memory"; Vaswani et al. 2017, "Attention Is All You
        Need".
    """
    check_choice(KINDS, kind=kind)
    check_positive(hidden_dim=hidden_dim, num_classes=num_classes)
    check_rate(dropout=dropout)
    embedding = TokenEmbedding(
        vocabulary_size, hidden_dim, padding_id=padding_id, dtype=dtype, name="token_embedding"
    )
    common = {"dropout": dropout, "dtype": dtype, "name": "encoder"}
    if kind == "cnn":
        encoder: Any = ConvolutionalEncoder(num_layers or 2, kernel_size, **common)
    elif kind == "transformer":
        encoder = TransformerEncoder(
            num_layers or 2,
            TransformerEncoderBlock(
                num_heads,
                intermediate_dim or 4 * hidden_dim,
                dropout=dropout,
                normalize_first=True,
                dtype=dtype,
            ),
            positional_encoding=PositionalEncoding(dtype=dtype, name="positional_encoding"),
            input_dropout=dropout,
            dtype=dtype,
            name="encoder",
        )
    else:
        both = kind == "bi_lstm"
        encoder = RecurrentEncoder(
            hidden_dim, _CELLS[kind], num_layers or 1, bidirectional=both, **common
        )
    pool = SequencePooling(
        _POOLINGS[kind] if pooling is None else pooling, dtype=dtype, name="pooling"
    )
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    pooled = pool(encoder(embedding(token_ids)))
    pooled = Dropout(dropout, dtype=dtype, name="head_dropout")(pooled)
    logits = keras.layers.Dense(num_classes, dtype=dtype, name="head")(pooled)
    # Always in float32, since the loss takes their logarithm.
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model({"token_ids": token_ids}, probabilities, name=name)
