"""Metrics over the non-padding tokens of all batches: exact means, not means of batch means."""

from typing import Any

import keras
from keras import ops

from keras_transformer.ops.likelihood import (
    check_labels_and_logits,
    log_likelihood_terms,
    real_tokens,
    right_predictions,
    token_weights,
)


def _flatten(y_true: Any, y_pred: Any, padding_id: int | None) -> tuple[Any, Any, Any]:
    """Returns labels (B*T,) with 0 at padding, logits (B*T, V) and a non-padding mask (B*T,)."""
    check_labels_and_logits(y_true, y_pred)
    real = real_tokens(y_true, padding_id)
    # Same operations as in the loss, so that a compiled training step shares them.
    labels = ops.where(real, y_true, ops.zeros_like(y_true))
    logits = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
    return ops.reshape(labels, (-1,)), logits, ops.reshape(real, (-1,))


class _TokenMean(keras.metrics.Metric):
    """A weighted mean over tokens, accumulated as two sums."""

    def __init__(self, padding_id: int | None, name: str, dtype: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self.padding_id = padding_id
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.count = self.add_variable(shape=(), initializer="zeros", name="count")

    def add_sums(self, total: Any, weight: Any) -> None:
        """Adds the sums over a batch.

        Args:
            total: The weighted sum of the token values.
            weight: The sum of the token weights.
        """
        self.total.assign_add(ops.cast(total, self.dtype))
        self.count.assign_add(ops.cast(weight, self.dtype))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "padding_id": self.padding_id}


@keras.saving.register_keras_serializable(package="keras_transformer")
class MaskedAccuracy(_TokenMean):
    """The fraction of non-padding tokens whose label has the largest logit.

    ``accuracy = sum_t w_t [logit_t(label) > every other logit] / sum_t w_t``

    over all tokens of all batches, with w_t = 0 where the label is ``padding_id``, and the sample
    weight (1 by default) elsewhere. A tie for the largest logit counts as wrong, so a model that
    gives every class the same logit scores 0. Without any non-padding token the result is 0.

    Args:
        padding_id: The label to ignore; None to count every label.
        name: The name shown by `fit`.
        dtype: Dtype of the sums; None for Keras's default, float32.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> metric = kt.training.MaskedAccuracy()
        >>> logits = np.eye(4, dtype="float32")[[[3, 1, 2]]]
        >>> metric.update_state(np.array([[3, 2, 0]]), logits)
        >>> float(metric.result())
        0.5

    Reference:
        Bengio et al. 2003, "A Neural Probabilistic Language Model", section 2 (the prediction
        task).
    """

    def __init__(
        self, padding_id: int | None = 0, name: str = "masked_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(padding_id, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: (B, T) integer labels.
            y_pred: (B, T, V) logits.
            sample_weight: None, (B,) or (B, T).

        Raises:
            ValueError: if the shapes of labels and logits do not match.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        labels, logits, _ = _flatten(y_true, y_pred, self.padding_id)
        correct = ops.cast(right_predictions(labels, logits), "float32")
        weights = token_weights(y_true, self.padding_id, sample_weight)
        self.add_sums(ops.sum(ops.reshape(weights, (-1,)) * correct), ops.sum(weights))

    def result(self) -> Any:
        """Returns the accuracy over everything added since the last reset, a scalar in [0, 1]."""
        return ops.divide_no_nan(self.total.value, self.count.value)


@keras.saving.register_keras_serializable(package="keras_transformer")
class Perplexity(_TokenMean):
    """The exponential of the mean negative log-likelihood of the non-padding tokens.

    ``perplexity = exp(-sum_t w_t log softmax(logits_t)[label_t] / sum_t w_t)``

    over all tokens of all batches, with w_t = 0 where the label is ``padding_id``, and the sample
    weight (1 by default) elsewhere. Labels are never smoothed here, so models trained with and
    without smoothing can be compared. Without any non-padding token the result is 1.

    Args:
        padding_id: The label to ignore; None to count every label.
        name: The name shown by `fit`.
        dtype: Dtype of the sums; None for Keras's default, float32.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> metric = kt.training.Perplexity()
        >>> metric.update_state(np.array([[3, 1, 0]]), np.zeros((1, 3, 4), "float32"))
        >>> round(float(metric.result()), 4)  # four equally likely classes
        4.0

    Reference:
        Bengio et al. 2003, "A Neural Probabilistic Language Model", section 4; Vaswani et al. 2017,
        "Attention Is All You Need", table 3.
    """

    def __init__(
        self, padding_id: int | None = 0, name: str = "perplexity", dtype: Any = None
    ) -> None:
        super().__init__(padding_id, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: (B, T) integer labels.
            y_pred: (B, T, V) logits.
            sample_weight: None, (B,) or (B, T).

        Raises:
            ValueError: if the shapes of labels and logits do not match.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        labels, logits, real = _flatten(y_true, y_pred, self.padding_id)
        log_sum, label_logit, _ = log_likelihood_terms(labels, logits)
        # Keep the loss at padding, which may be infinite, out of the sum.
        losses = ops.where(real, log_sum - label_logit, ops.zeros_like(log_sum))
        weights = token_weights(y_true, self.padding_id, sample_weight)
        self.add_sums(ops.sum(ops.reshape(weights, (-1,)) * losses), ops.sum(weights))

    def result(self) -> Any:
        """Returns the perplexity over everything added since the last reset, a scalar."""
        return ops.exp(ops.divide_no_nan(self.total.value, self.count.value))
