"""A contrastive loss for pairs of texts, with the other pairs of the batch as negatives.

Shape letters: B batch.
"""

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check, check_above, check_choice, check_flag
from keras_transformer.training.loss_reductions import REDUCTIONS, reduce_losses

# Finite, so that a gradient cannot become NaN.
_NEVER = -1e9


@keras.saving.register_keras_serializable(package="keras_transformer")
class InBatchNegatives(keras.losses.Loss):
    """Contrastive loss: the cross-entropy of finding each text's partner within the batch.

    Row i of the similarities s belongs to the first text of pair i, column j to the second text of
    pair j:

    ``loss_i = -log(exp(s_ii / temperature) / sum_j exp(s_ij / temperature))``

    The sum runs over the pair itself and its negatives: all pairs with another label. Labels are
    integers, equal for pairs with the same meaning, so that a paraphrase elsewhere in the batch
    does not count as a negative; use `np.arange(number of pairs)` if all are different. The loss is
    also known as InfoNCE, NT-Xent or multiple negatives ranking loss. It works better with larger
    batches, which have more negatives. Under `tf.distribute`, only the replica's own share of the
    batch provides negatives.

    Computed in float32 whatever the dtype of the similarities.

    Args:
        temperature: Divisor of the similarities. Smaller values give the nearest negatives more
            weight; use 1.0 for dot products of vectors that are not normalized.
        symmetric: Whether to average this loss with that of finding the first text of each pair
            given the second.
        reduction: ``"mean_with_sample_weight"``, the weighted mean over the pairs
            (``"sum_over_batch_size"`` and ``"mean"`` are aliases); ``"sum"``; or ``"none"`` or None
            for the loss of each pair. A sample weight scales only a pair's own loss; the pair
            remains a negative for the others.
        name: The loss's name.

    Raises:
        ValueError: If an argument is out of range or not one of the names above.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> loss = kt.training.InBatchNegatives(temperature=0.5)
        >>> similarities = np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
        >>> round(float(loss(np.array([0, 1]), similarities)), 4)  # log(1 + exp(-1 / 0.5))
        0.1269
        >>> float(loss(np.array([7, 7]), similarities))  # both mean the same: no negatives
        0.0

    Reference:
        Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply",
        section 4.4; van den Oord et al. 2018, "Representation Learning with Contrastive Predictive
        Coding", section 2.3; Gao et al. 2021, "SimCSE", section 2, with the temperature 0.05.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        symmetric: bool = False,
        reduction: str | None = "mean_with_sample_weight",
        name: str = "in_batch_negatives",
    ) -> None:
        check_above(0, temperature=temperature)
        check_flag(symmetric=symmetric)
        check_choice(REDUCTIONS, reduction=reduction)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.temperature = temperature
        self.symmetric = symmetric

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the reduced loss.

        Args:
            y_true: (B,) or (B, 1) integer labels, equal for pairs with the same meaning.
            y_pred: (B, B) similarities.
            sample_weight: None, or (B,) with a weight for each pair.

        Returns:
            float32 scalar, or (B,) if the reduction is ``"none"``.

        Raises:
            ValueError: If the similarities are not a square matrix, or the labels do not match.
        """
        # Keras's __call__ would cast the labels to floats, which merges large ones.
        losses = self.call(y_true, y_pred)
        weights = ops.ones_like(losses)
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        return reduce_losses(self.reduction, losses, weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each pair.

        Args:
            y_true: (B,) or (B, 1) integer labels.
            y_pred: (B, B) similarities.

        Returns:
            (B,) float32.

        Raises:
            ValueError: If the shapes do not match.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        _check_shapes(y_true, y_pred)
        labels = ops.reshape(y_true, (-1,))
        logits = ops.cast(y_pred, "float32") / self.temperature
        rows = ops.arange(ops.shape(labels)[0])
        own = ops.equal(rows[:, None], rows[None, :])
        same = ops.equal(labels[:, None], labels[None, :])
        logits = ops.where(ops.logical_and(same, ops.logical_not(own)), _NEVER, logits)
        partner = ops.sum(ops.where(own, logits, 0.0), axis=1)
        losses = ops.logsumexp(logits, axis=1) - partner
        if self.symmetric:
            losses = (losses + ops.logsumexp(logits, axis=0) - partner) / 2
        return losses

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "symmetric": self.symmetric,
        }


def _check_shapes(labels: Any, similarities: Any) -> None:
    """Raises a ValueError unless there is a label for each row of a square matrix."""
    shape = tuple(similarities.shape)
    square = len(shape) == 2 and (shape[0] == shape[1] or None in shape)
    check(square, "be a matrix (B, B) of similarities", "y_pred.shape", shape)
    own = tuple(labels.shape)
    one_each = len(own) == 1 or (len(own) == 2 and own[1] == 1)
    fits = one_each and (own[0] == shape[0] or None in (own[0], shape[0]))
    check(fits, f"be one label for each of {shape[0]} pairs", "y_true.shape", own)
