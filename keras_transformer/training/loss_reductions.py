"""Reduction of the losses of a batch to one number."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_transformer.ops.replicas import sum_over_replicas

MEANS = ("mean_with_sample_weight", "sum_over_batch_size", "mean")
"""Names of the weighted mean. In Keras, only the first divides by the weights; here all do."""
REDUCTIONS = (*MEANS, "sum", "none", None)
"""All reductions; "none" and None keep each loss."""


def reduce_losses(reduction: str | None, losses: Any, weights: Any) -> Any:
    """Weights the losses of a batch and reduces them.

    Args:
        reduction: One of `REDUCTIONS`.
        losses: float32 of any shape.
        weights: float32 of the same shape.

    Returns:
        float32 scalar, or the weighted losses if they are not to be reduced.
    """
    losses = losses * weights
    if reduction in ("none", None):
        return losses
    return reduce_sums(reduction, ops.sum(losses), ops.sum(weights))


def reduce_sums(reduction: str | None, loss: Any, weight: Any) -> Any:
    """Applies a reduction to the sums over a batch.

    Args:
        reduction: "sum" or one of `MEANS`.
        loss: The weighted sum of the losses.
        weight: The sum of the weights.

    Returns:
        float32 scalar; 0 if all weights are 0.
    """
    if reduction == "sum":
        return loss
    # Keras sums the gradients of all replicas. Dividing each replica's own mean by the number of
    # replicas would give examples more weight on replicas with fewer examples.
    return ops.divide_no_nan(loss, sum_over_replicas(weight))
