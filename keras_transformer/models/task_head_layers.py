"""Layers of task heads on language models: rows, the extract token, the auxiliary loss.

Shape letters: B batch, K rows per example, R all rows (B or B * K), T length, D hidden,
V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.layers.layer import Layer
from keras_transformer.ops.chunked_crossentropy import chunked_crossentropy

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class MergeRows(Layer):
    """Merges the rows of all examples into one batch: (B, K, ...) to (B * K, ...)."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        """Merges the first two axes.

        Args:
            inputs: (B, K, ...).

        Returns:
            (B * K, ...).
        """
        return ops.reshape(inputs, (-1, *ops.shape(inputs)[2:]))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor((None, *inputs.shape[2:]), inputs.dtype)


@keras.saving.register_keras_serializable(package="keras_transformer")
class SplitRows(Layer):
    """Splits a batch of rows by example: (B * K, ...) to (B, K, ...)."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor, token_ids: Tensor) -> Tensor:
        """Splits the first axis.

        Args:
            inputs: (B * K, ...).
            token_ids: Int (B, K, T), used only for K.

        Returns:
            (B, K, ...).
        """
        shape = (-1, ops.shape(token_ids)[1], *ops.shape(inputs)[1:])
        return ops.reshape(inputs, shape)

    def compute_output_spec(self, inputs: Any, token_ids: Any) -> Any:
        shape = (token_ids.shape[0], token_ids.shape[1], *inputs.shape[1:])
        return keras.KerasTensor(shape, inputs.dtype)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        return None


@keras.saving.register_keras_serializable(package="keras_transformer")
class TokenPosition(Layer):
    """Finds the first position of a token in each row; the last position in rows without it.

    Args:
        token_id: The id of the token.
    """

    def __init__(self, token_id: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.token_id = token_id
        # Ids must not be rounded to half precision.
        self.autocast = False

    def call(self, token_ids: Tensor) -> Tensor:
        """Finds the token.

        Args:
            token_ids: Int (R, T).

        Returns:
            int32 (R,).
        """
        found = ops.cast(ops.equal(token_ids, self.token_id), "int32")
        first = ops.cast(ops.argmax(found, axis=-1), "int32")
        last = ops.shape(token_ids)[1] - 1
        return ops.where(ops.max(found, axis=-1) > 0, first, ops.full_like(first, last))


@keras.saving.register_keras_serializable(package="keras_transformer")
class StateAt(Layer):
    """Selects one position of each row: (R, T, D) to (R, D)."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor, positions: Tensor) -> Tensor:
        """Selects the positions.

        Args:
            inputs: (R, T, D).
            positions: Int (R,), from 0 to T - 1.

        Returns:
            (R, D).
        """
        rows, length = ops.shape(inputs)[:2]
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))  # (R * T, D)
        firsts = ops.arange(rows, dtype="int32") * length
        return ops.take(flat, firsts + ops.cast(positions, "int32"), axis=0)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        return None


@keras.saving.register_keras_serializable(package="keras_transformer")
class LanguageModelLoss(Layer):
    r"""Returns its input unchanged and adds the language-model loss during training.

    $\frac{\lambda}{R} \sum_r \frac{1}{n_r} \sum_{t \le n_r} -\log P(u_{r,t} | u_{r,<t})$: the mean
    over each row's tokens, from the second to the last real one, then over the rows. The logits
    (R, T, V) are computed a chunk of positions at a time, and only during training.

    Args:
        weight: $\lambda$, the weight of the loss.

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.2, equation 5.
    """

    def __init__(self, weight: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        self.weight = weight
        self.supports_masking = True
        # Ids must not be rounded to half precision.
        self.autocast = False

    def call(
        self,
        inputs: Tensor,
        hidden: Tensor,
        token_ids: Tensor,
        last: Tensor,
        embeddings: Tensor,
        training: bool | None = None,
    ) -> Tensor:
        """Adds the loss.

        Args:
            inputs: A tensor of any shape.
            hidden: (R, T, D), the decoder's output.
            token_ids: Int (R, T), the decoder's input.
            last: Int (R,), the position of each row's last real token.
            embeddings: (V, D), the matrix that projects hidden states to logits.
            training: Whether to add the loss.

        Returns:
            `inputs`.
        """
        if training:
            self.add_loss(self.weight * _mean_loss(hidden, token_ids, last, embeddings))
        return inputs

    def compute_output_spec(self, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        return None


def _mean_loss(hidden, token_ids, last, embeddings):
    """The mean over the rows of each row's mean negative log-likelihood."""
    rows, length = ops.shape(token_ids)[:2]
    labels = ops.cast(token_ids[:, 1:], "int32")
    flat = ops.reshape(hidden[:, :-1], (-1, hidden.shape[-1]))  # (R * (T - 1), D)
    real = ops.arange(1, length, dtype="int32") <= ops.cast(last, "int32")[:, None]
    real = ops.cast(real, "float32")
    counts = ops.maximum(ops.sum(real, axis=-1, keepdims=True), 1.0)
    weights = real / (counts * ops.cast(rows, "float32"))
    return chunked_crossentropy(
        flat, embeddings, None, ops.reshape(labels, (-1,)), ops.reshape(weights, (-1,))
    ).loss
