"""Label likelihoods and token weights, shared by losses and metrics over token ids.

Shape letters: B batch, T length, V vocabulary.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.recording import is_concrete


def label_logits(labels: Any, logits: Any) -> Any:
    """Returns the logit of each position's label: ``logits[..., labels]``.

    Args:
        labels: (...) integer ids in [0, V).
        logits: (..., V).

    Returns:
        (...) tensor of the logits' dtype; NaN where a label is not in [0, V).
    """
    labels = ops.cast(labels, "int32")
    vocabulary_size = logits.shape[-1]
    known = ops.clip(labels, 0, vocabulary_size - 1)
    if keras.backend.backend() == "tensorflow":
        # The gradient of TensorFlow's take_along_axis takes 1.5 times as long as that of this flat
        # lookup. Indices are int64: B * T * V exceeds 2^31 for large batches.
        flat = ops.cast(ops.reshape(known, (-1,)), "int64")
        rows = ops.arange(ops.shape(flat)[0], dtype="int64")
        picked = ops.take(ops.reshape(logits, (-1,)), rows * vocabulary_size + flat)
        picked = ops.reshape(picked, ops.shape(labels))
    else:
        picked = ops.take_along_axis(logits, ops.expand_dims(known, axis=-1), axis=-1)
        picked = ops.squeeze(picked, axis=-1)
    # Without this, some backends would silently read another row's logit.
    return ops.where(ops.equal(known, labels), picked, float("nan"))


def subtract_at_labels(slopes: Any, labels: Any, amount: Any) -> Any:
    """Subtracts an amount from the entry of each position's label; in place on torch.

    Args:
        slopes: (N, V) floats, a gradient with respect to logits.
        labels: (N,) integer ids in [0, V).
        amount: A number, or (N,).

    Returns:
        (N, V) tensor.
    """
    labels = ops.clip(ops.cast(labels, "int32"), 0, slopes.shape[-1] - 1)
    amount = ops.broadcast_to(ops.cast(amount, slopes.dtype), ops.shape(labels))
    if keras.backend.backend() == "jax":
        # A comparison, which XLA fuses with the computation of the slopes.
        at_label = ops.arange(slopes.shape[-1], dtype="int32") == labels[:, None]
        return ops.where(at_label, slopes - amount[:, None], slopes)
    places = ops.arange(ops.shape(labels)[0], dtype="int32"), labels
    if keras.backend.backend() == "torch":
        return slopes.index_put_(places, -amount, accumulate=True)
    import tensorflow as tf

    return tf.tensor_scatter_nd_sub(slopes, ops.stack(places, axis=-1), amount)


def right_predictions(labels: Any, logits: Any) -> Any:
    """Returns whether the label's logit is larger than all others; ties count as wrong.

    Args:
        labels: (...) integer ids in [0, V).
        logits: (..., V).

    Returns:
        (...) booleans.
    """
    # On TensorFlow, counting the logits that reach the label's takes a third of argmax's time.
    reached = logits >= ops.expand_dims(label_logits(labels, logits), axis=-1)
    return ops.equal(ops.sum(ops.cast(reached, "float32"), axis=-1), 1.0)


def log_likelihood_terms(labels: Any, logits: Any) -> tuple[Any, Any, Any]:
    """Returns the terms of the cross-entropy, relative to each position's largest logit.

    Args:
        labels: (...) integer ids in [0, V).
        logits: (..., V) of any float dtype; computed in float32.

    Returns:
        Three float32 tensors (...): the log-sum-exp of the logits and the label's logit, both minus
        the largest logit, and the largest logit. The first minus the second is the negative
        log-likelihood.
    """
    logits = ops.cast(logits, "float32")
    # Subtracting the largest logit avoids cancellation for confident predictions. Its gradient
    # cancels out and is not computed.
    largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    log_sum = ops.log(ops.sum(ops.exp(logits - largest), axis=-1))
    largest = ops.squeeze(largest, axis=-1)
    return log_sum, label_logits(labels, logits) - largest, largest


def real_tokens(labels: Any, padding_id: int | None) -> Any:
    """Returns a boolean tensor of the shape of ``labels``: True where the label is not padding."""
    if padding_id is None:
        return ops.ones_like(labels, dtype="bool")
    return ops.not_equal(labels, padding_id)


def token_weights(labels: Any, padding_id: int | None, sample_weight: Any = None) -> Any:
    """Returns each token's weight: 0 for padding, otherwise 1 or its sample weight.

    Args:
        labels: (B, ...) integer ids.
        padding_id: The id to ignore, or None.
        sample_weight: None, (B,) or any shape that broadcasts to that of the labels.

    Returns:
        float32 tensor of the shape of ``labels``.
    """
    weights = ops.cast(real_tokens(labels, padding_id), "float32")
    if sample_weight is None:
        return weights
    sample_weight = ops.convert_to_tensor(sample_weight)
    # Weights per example belong to the batch axis; broadcasting would align the last axis.
    while len(sample_weight.shape) < len(labels.shape):
        sample_weight = ops.expand_dims(sample_weight, axis=-1)
    return weights * ops.cast(sample_weight, "float32")


def check_labels_and_logits(labels: Any, logits: Any) -> None:
    """Raises unless the labels have the shape of the logits without the last axis.

    Args:
        labels: Tensor of ids.
        logits: Tensor with one additional axis.

    Raises:
        ValueError: if the shapes do not match.
    """
    label_shape, logit_shape = tuple(labels.shape), tuple(logits.shape)
    matching = len(label_shape) + 1 == len(logit_shape) and all(
        label is None or logit is None or label == logit
        for label, logit in zip(label_shape, logit_shape, strict=False)
    )
    if not matching:
        raise ValueError(
            "`y_true` must have the shape of `y_pred` without its last axis. "
            f"Received: y_true.shape={label_shape}, y_pred.shape={logit_shape}."
        )


def check_labels_in_vocabulary(labels: Any, vocabulary_size: int, padding_id: int | None) -> None:
    """Raises if a label is outside the vocabulary, where labels can be seen at no cost.

    That is in calls that run eagerly: compiled programs give NaN for such a label. On a GPU, torch
    would have to wait for the labels in every step.

    Args:
        labels: (...) integer ids.
        vocabulary_size: V.
        padding_id: The id to ignore, which may be outside the vocabulary; or None.

    Raises:
        ValueError: if a label is not in [0, V).
    """
    if not is_concrete(labels):
        return
    if keras.backend.backend() == "torch":
        import torch

        if labels.device.type != "cpu" or torch.compiler.is_compiling():
            return
        ids = labels.numpy()  # Keras's conversion makes NumPy warn
    else:
        ids = np.asarray(ops.convert_to_numpy(labels))
    wrong = (ids < 0) | (ids >= vocabulary_size)
    if padding_id is not None:
        wrong &= ids != padding_id
    if wrong.any():
        raise ValueError(
            f"`y_true` must contain ids in the range [0, {vocabulary_size}), the vocabulary of "
            f"`y_pred`. Received: id {ids[wrong][0]} at {np.argwhere(wrong)[0].tolist()}."
        )
