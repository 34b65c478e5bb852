"""The recurrent decoder, with a fixed context vector or with attention.

Shape letters: B batch, R rows (B, or a multiple of it), T target length, S source length, D width
of the input, H units, E width of the encoded source, L positions that a cached decoding has.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.layers.attentive_cell import AttentiveCell, advance
from keras_transformer.layers.checks import (
    check_flag,
    check_hidden,
    check_positive,
    check_rate,
    known_length,
)
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.pooling import SequencePooling
from keras_transformer.layers.recurrent_attention import ATTENTIONS
from keras_transformer.layers.recurrent_cells import check_cell, num_states, recurrent_layer
from keras_transformer.ops.cache import DecoderCache
from keras_transformer.ops.masks import first_mask, new_tokens_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class RecurrentDecoder(Layer):
    r"""Writes a sequence step by step: $s_t = \text{cell}(y_{t-1}, s_{t-1})$, started by a source.

    The states start as $s_0 = \tanh(W \bar h)$ of what the encoder knows at its end, for each layer
    and each state of its cell. Then

    * without attention that is all that is known of the source: the fixed context vector;
    * with Luong's, $c_t$ attends from $s_t$, and the output is $\tanh(W_c [s_t; c_t])$. The
      recurrence does not wait for it (no input feeding), so that all positions of a training batch
      attend at once;
    * with Bahdanau's, $c_t$ attends from $s_{t-1}$ of the first layer and is part of its input,
      $s_t = \text{cell}([y_{t-1}; c_t], s_{t-1})$; the output is $\tanh(W_c [s_t; c_t])$ too.

    Args:
        hidden_dim: H, the units of each layer, and the width of the output.
        cell: "simple" (Elman's network), "lstm" or "gru", Keras's own.
        num_layers: layers upon each other.
        attention: None, "luong" or "bahdanau".
        bidirectional: whether the source was read in both directions, see `RecurrentEncoder`.
        dropout: rate on the input of each layer and on the output.

    Raises:
        ValueError: an unknown cell or attention, an argument out of its range, or a missing source.

    Example:
        >>> import keras, keras_transformer as kt
        >>> decoder = kt.layers.RecurrentDecoder(hidden_dim=16, attention="luong")
        >>> decoder(keras.ops.ones((2, 3, 8)), keras.ops.ones((2, 5, 16))).shape
        (2, 3, 16)

    Reference:
        Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks"; Bahdanau et al.
        2015, "Neural Machine Translation by Jointly Learning to Align and Translate"; Luong et al.
        2015, "Effective Approaches to Attention-based Neural Machine Translation", section 3.
    """

    def __init__(
        self,
        hidden_dim: int,
        cell: str = "lstm",
        num_layers: int = 1,
        attention: str | None = None,
        bidirectional: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(hidden_dim=hidden_dim, num_layers=num_layers)
        check_cell(cell)
        check_flag(bidirectional=bidirectional)
        check_rate(dropout=dropout)
        if attention is not None and attention not in ATTENTIONS:
            raise ValueError(
                f"`attention` must be None or one of {tuple(ATTENTIONS)}. "
                f"Received: attention={attention!r}."
            )
        self.hidden_dim = hidden_dim
        self.cell = cell
        self.num_layers = num_layers
        self.attention = attention
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.supports_masking = True
        self._make_sublayers()

    def _make_sublayers(self):
        common = {"dtype": self.dtype_policy}
        self.recurrences = [
            recurrent_layer(
                self.cell, self.hidden_dim, return_state=True, name=f"layer_{index}", **common
            )
            for index in range(self.num_layers)
        ]
        pooling = "ends" if self.bidirectional else "last"
        self.summary = SequencePooling(pooling, name="summary", **common)
        self.bridges = [
            keras.layers.Dense(
                self.hidden_dim, activation="tanh", name=f"bridge_{index}_{state}", **common
            )
            for index in range(self.num_layers)
            for state in range(num_states(self.cell))
        ]
        self.attention_layer: Any = None
        self.output_dense: Any = None
        if self.attention is not None:
            self.attention_layer = ATTENTIONS[self.attention](name="attention", **common)
            self.output_dense = keras.layers.Dense(
                self.hidden_dim, activation="tanh", name="output", **common
            )
        self.dropout_layer = Dropout(self.dropout, name="dropout", **common)

    def build(self, inputs_shape: tuple, encoded_shape: tuple | None = None) -> None:
        self._check_source(encoded_shape, None)
        width, source_dim = inputs_shape[-1], encoded_shape[-1]  # type: ignore[index]
        for bridge in self.bridges:
            bridge.build((None, source_dim))
        if self.attention_layer is not None:
            self.attention_layer.build((None, None, self.hidden_dim), (None, None, source_dim))
            self.output_dense.build((None, None, self.hidden_dim + source_dim))
        if self.attention == "bahdanau":
            width += source_dim
        for recurrence in self.recurrences:
            recurrence.build((None, None, width))
            width = self.hidden_dim

    def initial_cache(
        self,
        batch_size: int,
        length: int,
        encoded: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
    ) -> DecoderCache:
        """Makes the states, and what attention needs of the source, that a first call starts from.

        Args:
            batch_size: B.
            length: how many positions will come; the states are the same for any number.
            encoded: (B, S, E), the encoded source.
            encoded_padding_mask: boolean (B, S), True where a source token is real.

        Returns:
            A `DecoderCache`: for each layer a tuple of its states (B, H), and beside them the keys
            and values of the source where there is attention.
        """
        self._check_source(encoded, None)
        encoded = ops.cast(encoded, self.compute_dtype)
        summary = self.summary(encoded, padding_mask=encoded_padding_mask)
        states = [bridge(summary) for bridge in self.bridges]
        each = num_states(self.cell)
        by_layer = (tuple(states[start : start + each]) for start in range(0, len(states), each))
        source = () if self.attention is None else (self.attention_layer.make_cache(encoded),)
        return DecoderCache(tuple(by_layer), source)

    def call(
        self,
        inputs: Tensor,
        encoded: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: DecoderCache | None = None,
        cache_index: Tensor | int | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
        encoded_mask: Tensor | None = None,
    ) -> Any:
        """Runs through a target, or goes on in one.

        Args:
            inputs: (R, T, D).
            encoded: (R, S, E), the encoded source; not needed with a cache.
            padding_mask: boolean (R, T), True where a target token is real; with a cache (R, L),
                over all positions.
            encoded_padding_mask: boolean (B, S), True where a source token is real.
            positions: not used: a recurrence knows where it is.
            cache: a `DecoderCache` to continue; that of a source may serve several rows.
            cache_index: the position of the first of `inputs`, with a cache; by default 0.
            return_attention_scores: also return the attention weights.
            training: whether dropout is active.
            mask: the implicit Keras mask of `inputs`; Keras passes it.
            inputs_mask: as `mask`.
            encoded_mask: the implicit Keras mask of `encoded`; Keras passes it.

        Returns:
            (R, T, H); or a dict of `output` and what was asked for: `cache` the new one where one
            was given, `cross_attention_scores`, a tuple of one (R, 1, T, S).
        """
        check_hidden("inputs", inputs)
        self._check_source(encoded, cache)
        if return_attention_scores and self.attention is None:
            raise ValueError(
                "`return_attention_scores` needs a decoder with attention. "
                "Received: attention=None."
            )
        length = ops.shape(inputs)[1]
        real = new_tokens_mask(padding_mask, cache, cache_index, length, mask, inputs_mask)
        source_real = first_mask(encoded_padding_mask, encoded_mask)
        given = cache
        if given is None:
            given = self.initial_cache(ops.shape(inputs)[0], length, encoded, source_real)
        source = {
            "cache": given.cross_attention[0] if given.cross_attention else None,
            "padding_mask": source_real,
            "return_attention_scores": return_attention_scores,
        }
        x, new_states, context = inputs, [], None
        for index, recurrence in enumerate(self.recurrences):
            x = self.dropout_layer(x, training=training)
            run: Any = recurrence
            if index == 0 and self.attention == "bahdanau":
                run = AttentiveCell(recurrence.cell, self.attention_layer, source)
            x, states = self._run(run, x, given.self_attention[index], real)
            if run is not recurrence:
                x, context = run.split(x)
            new_states.append(states)
        if self.attention == "luong":
            context = self.attention_layer(x, **source)
        extras: dict[str, Any] = {}
        if self.attention is not None:
            context, scores = take_output(context, extras), extras.pop("attention_scores", None)
            x = self.output_dense(ops.concatenate([x, context], axis=-1))
            extras = {} if scores is None else {"cross_attention_scores": (scores,)}
        if cache is not None:
            extras["cache"] = DecoderCache(tuple(new_states), cache.cross_attention)
        return make_output(self.dropout_layer(x, training=training), extras)

    def _run(self, recurrence, x, states, real):
        """One step without a loop where there is one, else Keras's loop."""
        is_attentive = isinstance(recurrence, AttentiveCell)
        if is_attentive and real is not None:
            # Keras's loop takes a mask only for outputs that are as wide as the states.
            x = ops.concatenate([x, ops.cast(real[:, :, None], x.dtype)], axis=-1)
            recurrence.is_masked, real = True, None
        if known_length(x) == 1:
            cell = recurrence if is_attentive else recurrence.cell
            output, new = cell(x[:, 0], list(states))
            if real is not None:
                output, new = advance(real, output, new, states)
            return output[:, None], tuple(new)
        if is_attentive:
            recurrence = keras.layers.RNN(
                recurrence,
                return_sequences=True,
                return_state=True,
                dtype=self.dtype_policy,
                name="attentive",
            )
        output, *new = recurrence(x, initial_state=list(states), mask=real)
        return output, tuple(new)

    def _check_source(self, encoded, cache):
        if encoded is None and cache is None:
            raise ValueError("`encoded` or `cache` must be given. Received: neither.")

    def compute_output_shape(
        self, inputs_shape: tuple, encoded_shape: tuple | None = None
    ) -> tuple:
        return (*inputs_shape[:-1], self.hidden_dim)

    def compute_output_spec(
        self,
        inputs: Any,
        encoded: Any = None,
        cache: Any = None,
        return_attention_scores: bool = False,
        **_: Any,
    ) -> Any:
        rows, length = inputs.shape[:2]
        output = keras.KerasTensor((rows, length, self.hidden_dim), self.compute_dtype)
        extras: dict[str, Any] = {}
        if return_attention_scores:
            keys = encoded.shape[1] if cache is None else cache.cross_attention[0].key.shape[2]
            extras["cross_attention_scores"] = (
                keras.KerasTensor((rows, 1, length, keys), "float32"),
            )
        if cache is not None:
            extras["cache"] = cache
        return make_output(output, extras)
