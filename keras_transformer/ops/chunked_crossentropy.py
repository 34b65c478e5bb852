"""Cross-entropy over a large vocabulary, without the logits of all positions at once.

``loss_n = log sum_v exp(l_nv) - a l_n(label) - b mean_v l_nv``, with logits ``l = h W^T + c``. The
label's logit and the mean one need no (N, V): they are products with one row of the matrix and with
the mean of its rows. Only the logarithm goes over all logits, a chunk of positions at a time. Its
gradient, the softmax, is multiplied with the matrix and the hidden states while a chunk is there,
so that nothing is computed twice.

Shape letters: N positions, C positions of a chunk, D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import backend, ops

from keras_transformer.ops.blocks import differentiate, repeat_blocks
from keras_transformer.ops.likelihood import right_predictions

Tensor = Any

CHUNK = 256


class ChunkedSums(NamedTuple):
    """Sums over all positions, float32 scalars.

    Attributes:
        loss: of the losses times their weights, with a gradient.
        negative_log_likelihood: of -log P(label), each times its metric weight.
        correct: of the metric weights where no other logit reaches the label's; None unless asked
            for.
    """

    loss: Tensor
    negative_log_likelihood: Tensor
    correct: Tensor | None


class _Setting(NamedTuple):
    chunk: int
    transposed: bool
    training: bool
    count_correct: bool


def chunked_crossentropy(
    hidden: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    metric_weights: Tensor | None = None,
    label_weight: float = 1.0,
    mean_weight: float = 0.0,
    chunk_size: int = CHUNK,
    transposed: bool = False,
    training: bool = True,
    matrix_trainable: bool = True,
    count_correct: bool = False,
) -> ChunkedSums:
    """Sums weighted losses, and what metrics need.

    Args:
        hidden: (N, D), in the dtype to compute in.
        matrix: (V, D), which makes logits of hidden states; (D, V) if `transposed`.
        bias: (V,) or None.
        labels: int (N,), ids in [0, V).
        weights: float32 (N,), not negative; where it is 0 the position counts for nothing.
        metric_weights: such weights for the other two sums; None for `weights`.
        label_weight: a, the weight of the label's logit.
        mean_weight: b, that of the mean logit.
        chunk_size: C.
        transposed: whether the matrix is (D, V).
        training: whether gradients are wanted.
        matrix_trainable: whether those of matrix and bias are; else they count as constants.
        count_correct: whether to count the right predictions.

    Returns:
        Three sums.
    """
    length = ops.shape(hidden)[0]
    if isinstance(length, int):
        chunk_size = max(1, min(chunk_size, length))
    hidden, matrix = ops.convert_to_tensor(hidden), ops.convert_to_tensor(matrix)
    projection = (matrix,) if bias is None else (matrix, ops.convert_to_tensor(bias))
    if not matrix_trainable:
        projection = tuple(ops.stop_gradient(tensor) for tensor in projection)
    matrix, bias = (*projection, None)[:2]
    metric_weights = weights if metric_weights is None else metric_weights
    label_logit, mean_logit = _label_and_mean(
        hidden, matrix, bias, labels, bool(mean_weight), transposed
    )
    setting = _Setting(chunk_size, transposed, training, count_correct)
    in_chunks = tuple(
        _in_chunks(tensor, length, chunk_size) for tensor in (labels, weights, metric_weights)
    )
    differentiable = (hidden, *projection) if matrix_trainable else (hidden,)
    constants = (*in_chunks, () if matrix_trainable else projection)
    if training:
        dtypes = [tensor.dtype for tensor in differentiable]
        log_sum, *for_metrics = differentiate(
            lambda *tensors: _forward(setting, *tensors),
            lambda gradients, upstream: _backward(dtypes, gradients, upstream[0]),
            differentiable,
            constants,
        )
    else:
        (log_sum, *for_metrics), _ = _forward(setting, differentiable, constants)
    subtracted = label_weight * label_logit + mean_weight * mean_logit
    loss = log_sum - _weighted_sum(subtracted, weights)
    likelihood = for_metrics[0] - _weighted_sum(label_logit, metric_weights)
    correct = ops.stop_gradient(for_metrics[1]) if count_correct else None
    return ChunkedSums(loss, ops.stop_gradient(likelihood), correct)


def _label_and_mean(hidden, matrix, bias, labels, with_mean, transposed):
    """The logits of the labels, and the mean ones if wanted, else 0; float32 (N,)."""
    axis = 1 if transposed else 0  # of the vocabulary
    labels = ops.cast(labels, "int32")
    known = ops.clip(labels, 0, matrix.shape[axis] - 1)
    rows = ops.take(matrix, known, axis=axis)
    rows = ops.cast(ops.transpose(rows) if transposed else rows, hidden.dtype)  # (N, D)
    label_logit = ops.sum(ops.cast(hidden * rows, "float32"), axis=-1)
    mean_logit = ops.zeros_like(label_logit)
    if with_mean:
        mean_row = ops.mean(ops.cast(matrix, "float32"), axis=axis)
        mean_logit = ops.matmul(ops.cast(hidden, "float32"), mean_row[:, None])[:, 0]
    if bias is not None:
        label_logit = label_logit + ops.cast(ops.take(bias, known), "float32")
        if with_mean:
            mean_logit = mean_logit + ops.mean(ops.cast(bias, "float32"))
    # As everywhere here, a label that is not in the vocabulary gives NaN.
    return ops.where(ops.equal(known, labels), label_logit, float("nan")), mean_logit


def _weighted_sum(values, weights):
    """Whatever stands where nothing counts, infinities included, must not reach the sum."""
    return ops.sum(ops.where(weights > 0, values * weights, 0.0))


def _in_chunks(tensor, length, chunk):
    """Cuts the first axis (N, ...) into (N / C, C, ...), with zeros at the end."""
    missing = -length % chunk
    if not isinstance(missing, int) or missing:
        tensor = ops.pad(tensor, [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1))
    return ops.reshape(tensor, (-1, chunk, *tensor.shape[1:]))


def _forward(setting, differentiable, constants):
    """Sums of the logarithms, the same for metrics, of what is right; gradients of the first."""
    hidden, *trained = differentiable
    labels, weights, metric_weights, frozen = constants
    matrix, *bias = trained or frozen
    length = ops.shape(hidden)[0]
    chunks = _in_chunks(hidden, length, setting.chunk)
    kernel = ops.cast(matrix, hidden.dtype)
    bias = [ops.cast(tensor, "float32") for tensor in bias]

    def body(index, log_sum, metric_sum, correct, *gradients):
        rows, row_weights = chunks[index], weights[index]
        logits = _multiply(rows, kernel, turned=not setting.transposed)
        logits = ops.cast(logits, "float32")  # (C, V)
        logits = logits + bias[0] if bias else logits
        if setting.count_correct:
            right = right_predictions(labels[index], logits)
            correct = correct + ops.sum(ops.where(right, metric_weights[index], 0.0))
        softmax = ops.softmax(logits) if gradients else None
        logarithms = _log_sum_exp(logits, softmax)
        log_sum = log_sum + _weighted_sum(logarithms, row_weights)
        metric_sum = metric_sum + _weighted_sum(logarithms, metric_weights[index])
        if gradients:
            # Weights go to the rows (C, D) on either side, not to (C, V).
            column = row_weights[:, None]
            softmax, by_row = ops.cast(softmax, rows.dtype), ops.cast(column, rows.dtype)
            hidden_gradient, *others = gradients
            change = _multiply(softmax, kernel, turned=setting.transposed)
            change = ops.cast(change, "float32") * column
            gradients = [ops.slice_update(hidden_gradient, (index, 0, 0), change[None])]
            if others:
                pair = (rows * by_row, softmax) if setting.transposed else (softmax, rows * by_row)
                gradients.append(_add_product(others[0], *pair))
            if others[1:]:
                change = ops.matmul(ops.transpose(by_row), softmax)[0]
                gradients.append(others[1] + ops.cast(change, "float32"))
        return (log_sum, metric_sum, correct, *gradients)

    state = (ops.zeros(()), ops.zeros(()), ops.zeros(()))
    if setting.training:
        state += tuple(ops.zeros_like(tensor, dtype="float32") for tensor in (chunks, *trained))
    result = repeat_blocks(0, ops.shape(chunks)[0], body, state)
    sums, gradients = tuple(result[:3]), list(result[3:])
    if gradients:
        flat = ops.reshape(gradients[0], (-1, hidden.shape[-1]))
        gradients[0] = flat[:length]
    return sums, gradients


def _log_sum_exp(logits, softmax):
    if softmax is None:
        return ops.logsumexp(logits, axis=-1)
    # The largest logit has the largest share, which is one over the sum less that logit.
    return ops.max(logits, axis=-1) - ops.log(ops.max(softmax, axis=-1))


def _multiply(rows, matrix, turned):
    """Multiplies with a matrix, or with its transpose, of which TensorFlow would make a copy."""
    if turned and backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(rows, matrix, transpose_b=True)
    return ops.matmul(rows, ops.transpose(matrix) if turned else matrix)


def _add_product(total, first, second):
    """Adds the product of a transpose (C, A)^T and (C, B) to a float32 total (A, B)."""
    if backend.backend() == "torch" and first.dtype == total.dtype:
        return total.addmm_(first.t(), second)  # neither a second total nor a pass over it
    return total + ops.cast(ops.matmul(ops.transpose(first), second), "float32")


def _backward(dtypes, gradients, upstream):
    # Multiplied before they are rounded: under loss scaling they would vanish.
    return [
        ops.cast(gradient * upstream, dtype)
        for gradient, dtype in zip(gradients, dtypes, strict=True)
    ]
