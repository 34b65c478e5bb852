"""Cross-entropy over a large vocabulary, without the logits of all positions at once.

``loss_n = log sum_v exp(l_nv) - a l_n(label) - b mean_v l_nv``, with logits ``l = h W^T + c``, is
computed one chunk of positions at a time. The gradient with respect to the logits, ``softmax(l_n) -
a onehot(label) - b / V``, is multiplied by the matrix and the hidden states while the chunk is in
memory, so that nothing is computed twice and the gradient of the matrix is stored only once. The
mean logit is ``h`` times the mean row of ``W``, and its share of the gradients needs no logits:
label smoothing costs no extra pass over a chunk.

Shape letters: N positions, C positions per chunk, D hidden size, V vocabulary size.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from keras import backend, ops, tree

from keras_transformer.ops.batch_layouts import batch_parts, map_parts
from keras_transformer.ops.block_loop import differentiate, repeat_blocks
from keras_transformer.ops.likelihood import label_logits, right_predictions, subtract_at_labels

Tensor = Any

# XLA holds more intermediate tensors of a chunk at once.
CHUNK = 256 if backend.backend() == "jax" else 512


class ChunkedSums(NamedTuple):
    """Sums over all positions, float32 scalars.

    Attributes:
        loss: Sum of the weighted losses, with a gradient.
        negative_log_likelihood: Sum of -log P(label) times the metric weight.
        correct: Sum of the metric weights where the label's logit exceeds all others; None unless
            requested.
    """

    loss: Tensor
    negative_log_likelihood: Tensor
    correct: Tensor | None


class _Setting(NamedTuple):
    chunk: int
    transposed: bool
    training: bool
    count_correct: bool
    label_weight: float
    mean_weight: float
    parts: int


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
    """Computes the sum of the weighted losses, and the sums that metrics need.

    Args:
        hidden: (N, D), in the compute dtype.
        matrix: (V, D), the projection of hidden states to logits; (D, V) if `transposed`.
        bias: (V,) or None.
        labels: Int (N,), ids in [0, V).
        weights: float32 (N,), not negative; positions with weight 0 are ignored.
        metric_weights: Weights for the other two sums, of the same form; None for `weights`.
        label_weight: a, the weight of the label's logit.
        mean_weight: b, the weight of the mean logit.
        chunk_size: C, on each of the devices that share a batch.
        transposed: Whether the matrix is (D, V).
        training: Whether gradients are needed.
        matrix_trainable: Whether matrix and bias need gradients; otherwise they are constants.
        count_correct: Whether to count correct predictions.

    Returns:
        A `ChunkedSums`.
    """
    length, parts = ops.shape(hidden)[0], 1
    if isinstance(length, int):
        parts = batch_parts(length)
        chunk_size = max(1, min(chunk_size, length // parts))
    hidden, matrix = ops.convert_to_tensor(hidden), ops.convert_to_tensor(matrix)
    projection = (matrix,) if bias is None else (matrix, ops.convert_to_tensor(bias))
    if backend.backend() == "torch":  # torch tensors carry this themselves
        matrix_trainable = matrix_trainable and any(one.requires_grad for one in projection)
    if not matrix_trainable:
        projection = tuple(ops.stop_gradient(tensor) for tensor in projection)
    matrix, bias = (*projection, None)[:2]
    metric_weights = weights if metric_weights is None else metric_weights
    of_labels = float(label_weight), float(mean_weight)
    setting = _Setting(chunk_size, transposed, training, count_correct, *of_labels, parts)
    differentiable = (hidden, *projection) if matrix_trainable else (hidden,)
    constants = (labels, weights, metric_weights, () if matrix_trainable else projection)
    if training:
        dtypes = [tensor.dtype for tensor in differentiable]
        loss, *for_metrics = differentiate(
            lambda *tensors: _forward(setting, *tensors),
            lambda gradients, upstream: _backward(dtypes, gradients, upstream[0]),
            differentiable,
            constants,
        )
    else:
        (loss, *for_metrics), _ = _forward(setting, differentiable, constants)
    likelihood, correct = (ops.stop_gradient(total) for total in for_metrics)
    return ChunkedSums(loss, likelihood, correct if count_correct else None)


def _weighted_sum(values, weights):
    """Sums weighted values; those with weight 0, which may be infinite, are left out."""
    return ops.sum(ops.where(weights > 0, values * weights, 0.0))


def _in_chunks(tensor, length, chunk):
    """Reshapes (N, ...) to (N / C, C, ...), padded with zeros at the end."""
    missing = -length % chunk
    if not isinstance(missing, int) or missing:
        tensor = ops.pad(tensor, [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1))
    return ops.reshape(tensor, (-1, chunk, *tensor.shape[1:]))


def _forward(setting, differentiable, constants):
    """Returns the sums of losses, negative log-likelihoods and hits, and the loss's gradients."""
    hidden, *trained = differentiable
    *of_rows, frozen = constants

    def forward(*rows):
        return _forward_of_rows(setting, *rows, trained, frozen)

    if setting.parts == 1:
        return forward(hidden, *of_rows)
    sums, gradients = map_parts(forward, (hidden, *of_rows), setting.parts)
    totals = tree.map_structure(lambda one: ops.sum(one, axis=0), (sums, gradients[1:]))
    gradients = [ops.reshape(one, hidden.shape) for one in gradients[:1]]
    return totals[0], [*gradients, *totals[1]]


def _forward_of_rows(setting, hidden, labels, weights, metric_weights, trained, frozen):
    matrix, *bias = trained or frozen
    length = ops.shape(hidden)[0]
    chunks, labels, weights, metric_weights = (
        _in_chunks(tensor, length, setting.chunk)
        for tensor in (hidden, labels, weights, metric_weights)
    )
    kernel = ops.cast(matrix, hidden.dtype)
    bias = [ops.cast(tensor, "float32") for tensor in bias]
    mean_row: Any = None
    if setting.mean_weight:
        mean_row = ops.mean(ops.cast(matrix, "float32"), axis=1 if setting.transposed else 0)
        mean_bias = ops.mean(bias[0]) if bias else 0.0

    def body(index, loss, likelihood, correct, gradients):
        rows, row_labels, row_weights = chunks[index], labels[index], weights[index]
        logits = _multiply(rows, kernel, turn_second=not setting.transposed)
        logits = ops.cast(logits, "float32")  # (C, V)
        logits = logits + bias[0] if bias else logits
        if setting.count_correct:
            right = right_predictions(row_labels, logits)
            correct = correct + ops.sum(ops.where(right, metric_weights[index], 0.0))
        slopes = ops.softmax(logits) if gradients else None
        logarithms = _log_sum_exp(logits, slopes)
        of_labels = label_logits(row_labels, logits)
        likelihood = likelihood + _weighted_sum(logarithms - of_labels, metric_weights[index])
        losses = logarithms - setting.label_weight * of_labels
        if setting.mean_weight:
            of_rows = ops.matmul(ops.cast(rows, "float32"), mean_row[:, None])[:, 0]
            losses = losses - setting.mean_weight * (of_rows + mean_bias)
        loss = loss + _weighted_sum(losses, row_weights)
        if gradients:
            slopes = subtract_at_labels(slopes, row_labels, setting.label_weight)
            gradients = _with_chunk(
                setting, gradients, index, rows, kernel, mean_row, slopes, row_weights
            )
        return loss, likelihood, correct, gradients

    gradients: Any = ()
    if setting.training:
        gradients = (ops.zeros_like(chunks, dtype="float32"),)
        if trained:
            gradients += _start(setting, chunks, weights, *trained)
    state = (ops.zeros(()), ops.zeros(()), ops.zeros(()), gradients)
    *sums, gradients = repeat_blocks(0, ops.shape(chunks)[0], body, state)
    gradients = list(gradients)
    if gradients:
        flat = ops.reshape(gradients[0], (-1, hidden.shape[-1]))
        gradients[0] = flat[:length]
    if trained and gradients:
        gradients[1] = ops.concatenate(gradients[1], axis=1 if setting.transposed else 0)
    return tuple(sums), gradients


def _with_chunk(setting, gradients, index, rows, kernel, mean_row, slopes, weights):
    """Adds a chunk's contribution to the gradients, from rows (C, D) and logit slopes (C, V)."""
    # Apply weights to the rows (C, D) on either side rather than to (C, V).
    column = weights[:, None]
    slopes, by_row = ops.cast(slopes, rows.dtype), ops.cast(column, rows.dtype)
    hidden_gradient, *others = gradients
    change = _multiply(slopes, kernel, turn_second=setting.transposed)
    change = ops.cast(change, "float32")
    change = change - setting.mean_weight * mean_row if setting.mean_weight else change
    change = change * column
    # All of one dtype: with x64 enabled, JAX treats a literal 0 as a 64-bit integer.
    place = (index, index * 0, index * 0)
    updated = [ops.slice_update(hidden_gradient, place, change[None])]
    if others:
        updated.append(_add_products(others[0], slopes, rows * by_row, setting.transposed))
    if others[1:]:
        change = _multiply(by_row, slopes, turn_first=True)[0]
        updated.append(others[1] + ops.cast(change, "float32"))
    return tuple(updated)


def _start(setting, chunks, weights, matrix, bias=None):
    """Initializes the gradients of matrix and bias with the mean logit's share.

    This share is the same for each word. The matrix's gradient is split along the vocabulary, since
    TensorFlow adds a product to a total in a third buffer, which is smaller for a piece.
    """
    words, width = matrix.shape[:: -1 if setting.transposed else 1]
    of_word, of_bias = ops.zeros((width,)), ops.zeros(())
    if setting.mean_weight:
        share, column = -setting.mean_weight / words, ops.expand_dims(weights, axis=-1)
        rows = ops.where(column > 0, ops.cast(chunks, "float32") * column, 0.0)
        of_word, of_bias = share * ops.sum(rows, axis=(0, 1)), share * ops.sum(weights)
    of_word = of_word[:, None] if setting.transposed else of_word[None]
    count = 4 if backend.backend() == "tensorflow" else 1
    sizes = [(index + 1) * words // count - index * words // count for index in range(count)]
    pieces = tuple(
        ops.tile(of_word, (1, size) if setting.transposed else (size, 1)) for size in sizes
    )
    return (pieces,) if bias is None else (pieces, ops.tile(of_bias[None], (words,)))


def _log_sum_exp(logits, softmax):
    if softmax is None:
        return ops.logsumexp(logits, axis=-1)
    # The largest softmax entry is 1 / sum_v exp(l_v - max(l)).
    return ops.max(logits, axis=-1) - ops.log(ops.max(softmax, axis=-1))


def _multiply(first, second, turn_first=False, turn_second=False):
    """Multiplies matrices or their transposes, which TensorFlow would otherwise copy."""
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(first, second, transpose_a=turn_first, transpose_b=turn_second)
    first = ops.transpose(first) if turn_first else first
    return ops.matmul(first, ops.transpose(second) if turn_second else second)


def _add_products(totals, slopes, rows, transposed):
    """Adds slopes (C, V)^T times rows (C, D), or its transpose, to float32 pieces of a total."""
    axis = 1 if transposed else 0
    ends = list(itertools.accumulate(total.shape[axis] for total in totals))
    sums = []
    for total, end in zip(totals, ends, strict=True):
        piece = slopes[:, end - total.shape[axis] : end] if totals[1:] else slopes
        first, second = (rows, piece) if transposed else (piece, rows)
        if backend.backend() == "torch" and first.dtype == total.dtype:
            # In place: no second total and no pass over it.
            sums.append(total.addmm_(first.t(), second))
        else:
            product = _multiply(first, second, turn_first=True)
            sums.append(total + ops.cast(product, "float32"))
    return tuple(sums)


def _backward(dtypes, gradients, upstream):
    # Multiply before rounding: under loss scaling, gradients would underflow otherwise.
    return [
        ops.cast(gradient * upstream, dtype)
        for gradient, dtype in zip(gradients, dtypes, strict=True)
    ]
