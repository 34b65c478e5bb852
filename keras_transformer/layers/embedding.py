"""Token embeddings, optionally scaled and tied to the output projection.

Shape letters: B batch, T length, D hidden, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import backend, ops

from keras_transformer.checks import check_flag, check_integer, check_positive, given
from keras_transformer.layers.distribution import whole_if_uneven
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.layers.shape_checks import check_rows
from keras_transformer.ops.few_row_matmul import FEW_ROWS, multiply_few_rows
from keras_transformer.ops.lookup import take_rows
from keras_transformer.ops.masks import padding_mask
from keras_transformer.recording import report

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TokenEmbedding(Layer):
    r"""Token embedding that can also project hidden states to logits with the same matrix.

    Forward: $x_t = s E_{id_t}$ with $s = \sqrt{D}$ if scaled. Reverse: $\text{logits} = x E^\top$,
    divided by $\sqrt{D}$ with `scale_logits`.

    Args:
        vocabulary_size: V.
        hidden_dim: D.
        scale: Whether to multiply the embeddings (not the logits) by sqrt(D), as in the original
            Transformer.
        padding_id: The id that the implicit Keras mask hides; None for no mask.
        output_bias: Whether to add a learned bias to the logits.
        embeddings_initializer: Initializer of the (V, D) weight; by default N(0, 1 / D), which
            gives scaled embeddings and their logits an initial variance of about 1.
        scale_logits: Whether to divide the logits by sqrt(D), as in T5, whose embeddings are not
            scaled and start from N(0, 1).

    Raises:
        ValueError: If hidden states are passed instead of ids or, on JAX outside compiled
            functions, an id is out of range (TensorFlow and torch raise their own errors).

    Example:
        >>> import keras, keras_transformer as kt
        >>> embedding = kt.layers.TokenEmbedding(vocabulary_size=100, hidden_dim=8)
        >>> hidden = embedding(keras.ops.convert_to_tensor([[5, 7, 0]]))
        >>> embedding(hidden, reverse=True).shape
        (1, 3, 100)

    See Also:
        `kt.layers.PositionalEncoding` adds positions; `kt.models.with_new_tokens` extends the
        vocabulary of a model.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.4; Press and Wolf 2017, "Using
        the Output Embedding to Improve Language Models"; scaled logits: Raffel et al. 2020,
        "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer".
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_dim: int,
        scale: bool = True,
        padding_id: int | None = 0,
        output_bias: bool = False,
        embeddings_initializer: Any = None,
        scale_logits: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(vocabulary_size=vocabulary_size, hidden_dim=hidden_dim)
        check_flag(scale=scale, output_bias=output_bias, scale_logits=scale_logits)
        check_integer(0, **given(padding_id=padding_id))
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.scale = scale
        self.padding_id = padding_id
        self.output_bias = output_bias
        self.scale_logits = scale_logits
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.supports_masking = True
        # Keras builds Sequential models with float ids: they must not be rounded to half precision.
        self.autocast = False

    def build(self, input_shape: tuple | None = None) -> None:
        shape = (self.vocabulary_size, self.hidden_dim)
        with whole_if_uneven(f"{self.path}/embeddings", shape):
            self.embeddings = self.add_weight(
                name="embeddings",
                shape=shape,
                initializer=clone_initializer(self.embeddings_initializer),
            )
        self.bias = None
        if self.output_bias:
            with whole_if_uneven(f"{self.path}/bias", shape[:1]):
                self.bias = self.add_weight(name="bias", shape=shape[:1], initializer="zeros")

    def call(self, inputs: Tensor, reverse: bool = False, return_matrix: bool = False) -> Tensor:
        """Embeds ids, or projects hidden states to logits.

        Args:
            inputs: Int (B, T); with `reverse`, float (B, T, D).
            reverse: Whether to project hidden states to logits.
            return_matrix: Whether to ignore `inputs` and return the matrix, for other layers of the
                functional model that compute logits themselves, such as a loss.

        Returns:
            (B, T, D), or logits (B, T, V) with `reverse`, or (V, D) with `return_matrix`.
        """
        if return_matrix:
            return ops.convert_to_tensor(self.embeddings)
        if reverse:
            return report("logits", self._project(inputs))
        if self._is_hidden(inputs):
            raise ValueError(
                "`inputs` must be integer token ids (B, T); hidden states require `reverse=True`. "
                f"Received: dtype={backend.standardize_dtype(inputs.dtype)}."
            )
        check_rows("inputs", inputs, self.vocabulary_size)
        embedded = take_rows(self.embeddings, ops.cast(inputs, "int32"))
        embedded = ops.cast(embedded, self.compute_dtype)
        if self.scale:
            embedded = embedded * math.sqrt(self.hidden_dim)
        return report("embedding", embedded)

    def _is_hidden(self, inputs):
        return len(inputs.shape) > 2 and not backend.is_int_dtype(inputs.dtype)

    def before_projection(self, hidden: Tensor) -> Tensor:
        """Prepares hidden states (..., D) for their multiplication by the matrix.

        Args:
            hidden: (..., D).

        Returns:
            (..., D) in the compute dtype, divided by sqrt(D) with `scale_logits`.
        """
        hidden = ops.cast(hidden, self.compute_dtype)
        return hidden * self.hidden_dim**-0.5 if self.scale_logits else hidden

    def _project(self, hidden):
        # Flattened to (B * T, D): gradients of products over two contracted axes are slow.
        flat = ops.reshape(self.before_projection(hidden), (-1, self.hidden_dim))
        embeddings = ops.cast(self.embeddings, self.compute_dtype)
        if _are_few(flat.shape[0], hidden.shape[1:-1]):
            logits = multiply_few_rows(flat, embeddings)
        else:
            logits = ops.matmul(flat, ops.transpose(embeddings))
        if self.bias is not None:
            logits = logits + ops.cast(self.bias, self.compute_dtype)
        return ops.reshape(logits, (*ops.shape(hidden)[:-1], self.vocabulary_size))

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return (*inputs_shape, self.hidden_dim)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Tensor | None:
        if self._is_hidden(inputs):
            return previous_mask  # in reverse: the mask of the hidden states
        return None if self.padding_id is None else padding_mask(inputs, self.padding_id)


def _are_few(num_rows, lengths):
    """Whether there are so few rows that reading the matrix dominates the time."""
    if num_rows is None:  # on TensorFlow: one row per sequence in a decoding step
        return lengths == (1,)
    fewest = 1 if backend.backend() == "torch" else 2
    return isinstance(num_rows, int) and fewest <= num_rows <= FEW_ROWS
