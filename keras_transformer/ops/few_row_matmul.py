"""Products of a few rows with a large matrix, limited by the time it takes to read the matrix.

On a CPU, every backend reads the matrix fastest as the first operand, `matrix @ rows.T`.

Shape letters: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

from keras import backend, ops

Tensor = Any

FEW_ROWS = 64


def multiply_few_rows(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes `rows @ matrix.T + bias` with the matrix as the first operand.

    Args:
        rows: (M, I).
        matrix: (O, I).
        bias: (O,).

    Returns:
        (M, O), contiguous by rows on torch, which makes selecting from a row much faster.
    """
    if backend.backend() == "torch":
        return multiply_in_torch(rows, matrix, bias)
    # The leading axis keeps XLA from swapping the operands back.
    columns = ops.matmul(matrix[None], ops.transpose(rows)[None])  # (1, O, M)
    product = ops.reshape(ops.transpose(columns, (2, 0, 1)), (-1, matrix.shape[0]))
    return product if bias is None else product + bias


def multiply_in_torch(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Like `multiply_few_rows`, for torch tensors on any Keras backend."""
    import torch

    columns = rows.t()  # (I, M)
    outputs, inputs = matrix.shape
    if columns.shape[1] == 1 and outputs % 2 == 0:
        # A product with a single column runs on one core; its two halves run on two.
        halves = matrix.view(2, outputs // 2, inputs)
        columns = columns.expand(2, inputs, 1)
        if bias is None:
            return torch.bmm(halves, columns).view(1, outputs)
        return torch.baddbmm(bias.view(2, -1, 1), halves, columns).view(1, outputs)
    if bias is None:
        return torch.mm(matrix, columns).t().contiguous()
    return torch.addmm(bias[:, None], matrix, columns).t().contiguous()
