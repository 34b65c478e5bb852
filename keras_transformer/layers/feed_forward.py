"""The position-wise feed-forward network.

Shape letters: B batch, T length, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_flag, check_positive, check_rate
from keras_transformer.layers.activations import get_activation
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.recording import is_recording, report

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class FeedForward(Layer):
    r"""Position-wise feed-forward network: $\text{activation}(x W_1 + b_1) W_2 + b_2$.

    Gated: $(\text{activation}(x W_1 + b_1) \odot (x V + c)) W_2 + b_2$, known as SwiGLU with the
    activation "silu" and as GEGLU with "gelu". With two thirds of the intermediate width, it has as
    many weights as the plain network.

    Args:
        intermediate_dim: Width of the intermediate layer.
        activation: A Keras activation, or "gelu_approximate" (the tanh form, GPT-1 and GPT-2).
        dropout: Dropout rate after the activation (tensor2tensor's "relu dropout", not in the
            paper).
        use_bias: Whether the dense layers have biases.
        kernel_initializer: Initializer of the kernels; None for Glorot uniform.
        bias_initializer: Initializer of the biases.
        gated: Whether to multiply the activations by the output of another dense layer.

    Example:
        >>> import keras, keras_transformer as kt
        >>> kt.layers.FeedForward(intermediate_dim=32)(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)

    See Also:
        `kt.layers.TransformerEncoderBlock` and `kt.layers.DecoderBlock`, which contain it.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.3, equation 2; gated: Shazeer
        2020, "GLU Variants Improve Transformer", section 2, equations 5 and 6.
    """

    def __init__(
        self,
        intermediate_dim: int,
        activation: Any = "relu",
        dropout: float = 0.0,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        gated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(intermediate_dim=intermediate_dim)
        check_rate(dropout=dropout)
        check_flag(use_bias=use_bias, gated=gated)
        self.intermediate_dim = intermediate_dim
        self.activation = get_activation(activation)
        self.dropout = dropout
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer or "glorot_uniform")
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.gated = gated
        self.supports_masking = True
        self.dropout_layer = Dropout(dropout, dtype=self.dtype_policy, name="activation_dropout")

    def build(self, input_shape: tuple) -> None:
        hidden_dim = input_shape[-1]
        self.intermediate_dense = self._dense(self.intermediate_dim, "intermediate")
        self.intermediate_dense.build((None, hidden_dim))
        if self.gated:
            self.linear_dense = self._dense(self.intermediate_dim, "linear")
            self.linear_dense.build((None, hidden_dim))
        self.output_dense = self._dense(hidden_dim, "output")
        self.output_dense.build((None, self.intermediate_dim))

    def _dense(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=clone_initializer(self.kernel_initializer),
            bias_initializer=clone_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Applies the network to each position.

        Args:
            inputs: (B, T, D).
            training: Whether dropout is active.

        Returns:
            (B, T, D).
        """
        # Flattened to (B * T, D): gradients of products over two contracted axes are slow.
        x = ops.reshape(inputs, (-1, inputs.shape[-1]))
        hidden = self.activation(self.intermediate_dense(x))
        if self.gated:
            hidden = hidden * self.linear_dense(x)
        if is_recording(hidden):
            hidden = self._report(hidden, inputs)
        x = self.output_dense(self.dropout_layer(hidden, training=training))
        # On torch, Keras computes float64 products in float32.
        return ops.reshape(ops.cast(x, self.compute_dtype), ops.shape(inputs))

    def _report(self, hidden, inputs):
        shape = (*ops.shape(inputs)[:-1], self.intermediate_dim)
        return ops.reshape(report("hidden", ops.reshape(hidden, shape)), ops.shape(hidden))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
