"""Cross-entropy over token ids, with padding excluded and labels smoothed.

Shape letters: B batch, T length, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_choice, check_rate
from keras_transformer.ops.block_loop import differentiate
from keras_transformer.ops.likelihood import (
    check_labels_and_logits,
    check_labels_in_vocabulary,
    label_logits,
    log_likelihood_terms,
    real_tokens,
    subtract_at_labels,
    token_weights,
)
from keras_transformer.training.loss_reductions import REDUCTIONS, reduce_losses

_SPREADS = ("all_classes", "wrong_classes")


def _losses_by_hand(labels: Any, logits: Any, label_weight: float, mean_weight: float) -> Any:
    """Returns the smoothed losses (N,) with a hand-written gradient, for use without a compiler.

    With autodiff, TensorFlow without XLA and torch make about ten more passes over (N, V), and add
    the gradient of the label's logit to zeros of that size. XLA fuses those passes.
    """
    vocabulary_size = logits.shape[-1]

    def forward(differentiable, labels):
        (logits,) = differentiable
        largest = ops.max(logits, axis=-1, keepdims=True)
        exponentials = ops.exp(logits - largest)
        sums = ops.sum(exponentials, axis=-1)
        largest = ops.squeeze(largest, axis=-1)
        value = ops.log(sums) - label_weight * (label_logits(labels, logits) - largest)
        if mean_weight > 0.0:
            value = value - mean_weight * (ops.mean(logits, axis=-1) - largest)
        return (value,), (exponentials, sums, labels)

    def backward(residuals, upstream):
        exponentials, sums, labels = residuals
        (upstream,) = upstream
        slopes = exponentials * (upstream / sums)[:, None]
        if mean_weight > 0.0:
            slopes = slopes - (upstream * (mean_weight / vocabulary_size))[:, None]
        return (subtract_at_labels(slopes, labels, upstream * label_weight),)

    return differentiate(forward, backward, (ops.cast(logits, "float32"),), labels)[0]


@keras.saving.register_keras_serializable(package="keras_transformer")
class MaskedCrossentropy(keras.losses.Loss):
    """Cross-entropy between token ids and logits, with padding excluded and labels smoothed.

    ``loss_t = -sum_v q(v) log softmax(logits_t)_v``

    where the target q puts most of its mass on the label and spreads ``label_smoothing`` = eps:

    * ``"all_classes"``: q(label) = 1 - eps + eps / V, each other class eps / V (fairseq, Keras,
      torch);
    * ``"wrong_classes"``: q(label) = 1 - eps, each other class eps / (V - 1) (tensor2tensor,
      OpenNMT-tf; without the constant that tensor2tensor subtracts to make the minimum loss 0).

    Averaged over the non-padding tokens of the batch: ``sum_t w_t loss_t / sum_t w_t``, with w_t =
    0 where the label is ``padding_id``, and the sample weight (1 by default) elsewhere. The batch
    is the global one: under `tf.distribute`, each replica's loss is its share of that sum. A batch
    that is all padding has a loss of 0. Padding is determined by the labels only: a Keras mask
    attached to ``y_pred`` refers to the inputs and is ignored, so that nothing is masked twice.

    Computed in float32 whatever the logits' dtype, without building the smoothed target of shape
    (B, T, V).

    The loss that `fit` reports for an epoch is the mean over its batches, as always in Keras; for
    the exact mean over its tokens, use the metric `Perplexity`.

    Args:
        label_smoothing: eps, in [0, 1).
        smoothing_spread: ``"all_classes"`` or ``"wrong_classes"``, the classes that share eps.
        padding_id: The label to ignore, which may lie outside the vocabulary (-1); None to count
            every label.
        reduction: ``"mean_with_sample_weight"``, the mean above (``"sum_over_batch_size"`` and
            ``"mean"`` are aliases); ``"sum"`` for ``sum_t w_t loss_t``; ``"none"`` or None for
            ``w_t loss_t`` per token.
        name: The loss's name.

    Raises:
        ValueError: if an argument is out of range or not one of the names above.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> loss = kt.training.MaskedCrossentropy(label_smoothing=0.1)
        >>> labels = np.array([[3, 1, 0], [2, 0, 0]])
        >>> logits = np.zeros((2, 3, 4), "float32")
        >>> round(float(loss(labels, logits)), 4)  # log(4), whatever the padding
        1.3863

    See Also:
        `kt.training.ChunkedLossModel` computes it without the full logits; `kt.training.Perplexity`
        and `kt.training.MaskedAccuracy` ignore padding in the same way.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 5.4; Szegedy et al. 2016,
        "Rethinking the Inception Architecture for Computer Vision", section 7.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        smoothing_spread: str = "all_classes",
        padding_id: int | None = 0,
        reduction: str | None = "mean_with_sample_weight",
        name: str = "masked_crossentropy",
    ) -> None:
        check_rate(label_smoothing=label_smoothing)
        check_choice(_SPREADS, smoothing_spread=smoothing_spread)
        check_choice(REDUCTIONS, reduction=reduction)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.label_smoothing = label_smoothing
        self.smoothing_spread = smoothing_spread
        self.padding_id = padding_id

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the reduced loss.

        Args:
            y_true: (B, T) integer labels.
            y_pred: (B, T, V) logits.
            sample_weight: None, (B,) with a weight per example, or (B, T) with a weight per token.

        Returns:
            float32 scalar, or (B, T) if the reduction is ``"none"``.

        Raises:
            ValueError: if the shapes of labels and logits do not match, or a label is outside the
                vocabulary and the call is not compiled. In a compiled call, its loss is NaN.
        """
        # Keras's __call__ would cast the ids to floats and apply the mask of y_pred.
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        losses = self.call(y_true, y_pred)
        weights = token_weights(y_true, self.padding_id, sample_weight)
        return reduce_losses(self.reduction, losses, weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each token's loss, 0 at padding.

        Args:
            y_true: (B, T) integer labels.
            y_pred: (B, T, V) logits.

        Returns:
            (B, T) float32.

        Raises:
            ValueError: if the shapes of labels and logits do not match, or V is 1 with smoothing
                over the wrong classes.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        check_labels_and_logits(y_true, y_pred)
        check_labels_in_vocabulary(y_true, y_pred.shape[-1], self.padding_id)
        real = real_tokens(y_true, self.padding_id)
        # A padding id outside the vocabulary must not be looked up.
        labels = ops.where(real, y_true, ops.zeros_like(y_true))
        vocabulary_size = y_pred.shape[-1]
        # Flatten to (B*T, V): reductions that keep two axes are slower.
        logits = ops.reshape(y_pred, (-1, vocabulary_size))
        losses = self._smoothed_losses(ops.reshape(labels, (-1,)), logits)
        losses = ops.reshape(losses, ops.shape(y_true))
        return ops.where(real, losses, ops.zeros_like(losses))

    def _smoothed_losses(self, labels: Any, logits: Any) -> Any:
        """Returns -sum_v q(v) log p(v), computed from the label's logit and the mean logit."""
        label_weight, mean_weight = self.target_weights(logits.shape[-1])
        if keras.backend.backend() != "jax":
            return _losses_by_hand(labels, logits, label_weight, mean_weight)
        log_sum, label_logit, largest = log_likelihood_terms(labels, logits)
        if mean_weight == 0.0:
            return log_sum - label_logit
        # Reads (B*T, V) once more; mean(x - largest) = mean(x) - largest.
        mean_logit = ops.mean(ops.cast(logits, "float32"), axis=-1) - largest
        return log_sum - label_weight * label_logit - mean_weight * mean_logit

    def target_weights(self, vocabulary_size: int) -> tuple[float, float]:
        """Returns the target's weights on the label's logit and the mean logit; they sum to 1."""
        if self.smoothing_spread == "all_classes" or self.label_smoothing == 0.0:
            return 1.0 - self.label_smoothing, self.label_smoothing
        if vocabulary_size < 2:
            raise ValueError(
                "`y_pred` must have at least 2 classes to smooth over the wrong ones. "
                f"Received: y_pred.shape[-1]={vocabulary_size}."
            )
        mean_weight = self.label_smoothing * vocabulary_size / (vocabulary_size - 1)
        return 1.0 - mean_weight, mean_weight

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "smoothing_spread": self.smoothing_spread,
            "padding_id": self.padding_id,
        }
