"""A recurrent unit that replaces self-attention.

Shape letters: B batch, T length, L cache slots, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.layers.shape_checks import check_hidden, known_length
from keras_transformer.ops.masks import new_tokens_mask
from keras_transformer.recording import report

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class SSRU(Layer):
    r"""Simpler simple recurrent unit (SSRU).

    $f_t = \sigma(x_t W_f + b_f)$, $c_t = f_t \odot c_{t-1} + (1 - f_t) \odot x_t W$,
    $y_t = \text{ReLU}(c_t)$, with $c_{-1} = 0$.

    All matrix products are position-wise and computed for all positions at once; only elementwise
    operations are sequential. The state is a single vector, so a decoding step costs the same at
    every position. Padding leaves the state unchanged.

    Args:
        kernel_initializer: Initializer of both kernels; None for Glorot uniform.
        bias_initializer: Initializer of the forget gate's bias.

    Example:
        >>> import keras, keras_transformer as kt
        >>> layer = kt.layers.SSRU()
        >>> layer(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)

    Reference:
        Kim et al. 2019, "From Research to Production and Back: Ludicrously Fast Neural Machine
        Translation", section 3.1.
    """

    def __init__(
        self, kernel_initializer: Any = None, bias_initializer: Any = "zeros", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer or "glorot_uniform")
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.supports_masking = True

    def build(self, inputs_shape: tuple) -> None:
        self.forget_dense = self._dense(inputs_shape[-1], True, "forget")
        self.candidate_dense = self._dense(inputs_shape[-1], False, "candidate")
        for dense in (self.forget_dense, self.candidate_dense):
            dense.build((None, inputs_shape[-1]))
        self.recurrence = keras.layers.RNN(
            _LinearCell(inputs_shape[-1], dtype=self.dtype_policy),
            return_sequences=True,
            return_state=True,
            dtype=self.dtype_policy,
            name="recurrence",
        )
        self.recurrence.build((None, None, 2 * inputs_shape[-1]))

    def _dense(self, units, use_bias, name):
        return keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=clone_initializer(self.kernel_initializer),
            bias_initializer=clone_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def initial_cache(self, batch_size: int, length: int) -> Tensor:
        """Creates the state for the first cached call.

        Args:
            batch_size: B.
            length: L, the number of positions; has no effect on the state.

        Returns:
            Zeros (B, D).
        """
        units = self.candidate_dense.units
        return ops.zeros((batch_size, units), dtype=self.compute_dtype)

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        cache: Tensor | None = None,
        cache_index: Tensor | int | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Any:
        """Runs the unit over a sequence, or continues a cached one.

        Args:
            inputs: (B, T, D).
            padding_mask: Boolean (B, T), True for real tokens; with a cache (B, L), over all
                positions.
            cache: (B, D), the state to continue from; by default zeros.
            cache_index: Position of the first token of `inputs`, with a cache; by default 0.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

        Returns:
            (B, T, D), or, with a cache, a dict of `output` and the new state as `cache`.
        """
        check_hidden("inputs", inputs)
        length = ops.shape(inputs)[1]
        real = new_tokens_mask(padding_mask, cache, cache_index, length, mask, inputs_mask)
        kept, added = self._project(inputs, real)
        if cache is not None and known_length(inputs) == 1:
            state = kept[:, 0] * cache + added[:, 0]
            states = state[:, None]
        else:
            states, state = self.recurrence(
                ops.concatenate([kept, added], axis=-1),
                initial_state=None if cache is None else [cache],
            )
        report("state", states)
        return make_output(ops.relu(states), {} if cache is None else {"cache": state})

    def _project(self, inputs, real):
        """The factor of the old state and the term added to it, each (B, T, D)."""
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))
        kept = ops.reshape(ops.sigmoid(self.forget_dense(flat)), ops.shape(inputs))
        candidate = ops.reshape(self.candidate_dense(flat), ops.shape(inputs))
        added = (1.0 - report("forget_gate", kept)) * report("candidate", candidate)
        if real is not None:
            kept = ops.where(real[:, :, None], kept, 1.0)
            added = ops.where(real[:, :, None], added, 0.0)
        return kept, added

    def compute_output_spec(self, inputs: Tensor, cache: Tensor | None = None, **_: Any) -> Any:
        output = keras.KerasTensor(inputs.shape, self.compute_dtype)
        if cache is None:
            return output
        return {"output": output, "cache": keras.KerasTensor(cache.shape, self.compute_dtype)}


class _LinearCell(keras.layers.Layer):
    """Computes $c_t = a_t c_{t-1} + b_t$ from inputs (B, 2 D), $a_t$ and $b_t$ concatenated."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.output_size = units

    def call(self, inputs, states, training=None):
        factor, summand = ops.split(inputs, 2, axis=-1)
        state = factor * states[0] + summand
        return state, [state]

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, self.state_size), dtype=self.compute_dtype)]
