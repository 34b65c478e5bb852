"""The recurrent decoder, with a fixed context vector or with attention.

Shape letters: B batch, R rows (B, or a multiple of it), T target length, S source length, D width
of the input, H units, E width of the encoded source, L positions of cached decoding.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_flag, check_positive, check_rate
from keras_transformer.layers.attentive_cell import AttentiveCell, advance
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.pooling import SequencePooling
from keras_transformer.layers.recurrent_attention import ATTENTIONS
from keras_transformer.layers.recurrent_cells import check_cell, num_states, recurrent_layer
from keras_transformer.layers.shape_checks import check_hidden, known_length
from keras_transformer.ops.cache import DecoderCache
from keras_transformer.ops.masks import first_mask, new_tokens_mask
from keras_transformer.recording import is_recording, muted, report_recurrence, scope

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class RecurrentDecoder(Layer):
    r"""Recurrent decoder, $s_t = \text{cell}(y_{t-1}, s_{t-1})$, started from an encoded source.

    Every state of every layer starts as $s_0 = \tanh(W \bar h)$, a projection of the encoder's
    final state.

    * Without attention, this fixed context vector is all that the decoder sees of the source.
    * With Luong's attention, $c_t$ attends from $s_t$, and the output is $\tanh(W_c [s_t; c_t])$.
      The recurrence does not depend on $c_t$ (no input feeding), so all positions of a training
      batch attend at once.
    * With Bahdanau's attention, $c_t$ attends from $s_{t-1}$ of the first layer and is part of its
      input, $s_t = \text{cell}([y_{t-1}; c_t], s_{t-1})$; the output is computed in the same way.

    Args:
        hidden_dim: H, the units of each layer and the width of the output.
        cell: "simple" (Elman network), "lstm" or "gru".
        num_layers: Number of stacked layers.
        attention: None, "luong" or "bahdanau".
        bidirectional: Whether the encoder is bidirectional, see `RecurrentEncoder`.
        dropout: Dropout rate on the input of each layer and on the output.

    Raises:
        ValueError: If the cell or the attention is unknown, an argument is out of range, or the
            source is missing.

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
        """Creates the cache for the first cached call.

        Args:
            batch_size: B.
            length: L, the number of positions; has no effect on the states.
            encoded: (B, S, E), the encoded source.
            encoded_padding_mask: Boolean (B, S), True for real source tokens.

        Returns:
            A `DecoderCache` with a tuple of states (B, H) per layer and, with attention, the keys
            and values of the source.
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
        """Runs the decoder over a target, or continues a cached one.

        Args:
            inputs: (R, T, D).
            encoded: (R, S, E), the encoded source; not needed with a cache.
            padding_mask: Boolean (R, T), True for real target tokens; with a cache (R, L),
                over all positions.
            encoded_padding_mask: Boolean (B, S), True for real source tokens.
            positions: Not used by recurrent layers.
            cache: A `DecoderCache` to continue; several rows may share one source.
            cache_index: Position of the first token of `inputs`, with a cache; by default 0.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.
            encoded_mask: Implicit Keras mask of `encoded`, passed by Keras.

        Returns:
            (R, T, H), or a dict of `output` and, as requested, the updated `cache` and
            `cross_attention_scores`, a tuple with a single (R, 1, T, S).
        """
        check_hidden("inputs", inputs)
        self._check_source(encoded, cache)
        if return_attention_scores and self.attention is None:
            raise ValueError(
                "`return_attention_scores` requires a decoder with attention. "
                "Received: return_attention_scores=True, attention=None."
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
            before = given.self_attention[index]
            with muted():
                outputs, states = self._run(run, x, before, real)
            if run is not recurrence:
                outputs, context = run.split(outputs)
            if is_recording(x):
                self._report_steps(index, x, before, real, outputs, context, source)
            x = outputs
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

    def _report_steps(self, index, x, states, real, outputs, context, source):
        """Reports gates, states and attention of a layer, which its loop hides."""
        if index == 0 and self.attention == "bahdanau":
            # The context of a step is attended to from the state before it.
            queries = ops.concatenate([states[0][:, None], outputs[:, :-1]], axis=1)
            self.attention_layer(queries, **source)
            x = ops.concatenate([x, take_output(context, {})], axis=-1)
        with scope(self.recurrences[index].name):
            report_recurrence(self.recurrences[index], x, states, real)

    def _run(self, recurrence, x, states, real):
        """Runs a layer: a single step directly, longer inputs in Keras's loop."""
        is_attentive = isinstance(recurrence, AttentiveCell)
        if is_attentive and real is not None:
            # Keras's loop only supports masks if outputs are as wide as states.
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
