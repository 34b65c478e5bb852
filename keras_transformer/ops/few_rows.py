"""Products of a few rows with a large matrix, whose time is that of reading the matrix.

On a CPU every backend reads it fastest where it stands first, `matrix @ rows.T`.

Shape letters: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

from keras import backend, ops

Tensor = Any

FEW_ROWS = 64


def multiply_few_rows(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes `rows @ matrix.T + bias` with the matrix standing first.

    Args:
        rows: (M, I).
        matrix: (O, I).
        bias: (O,).

    Returns:
        (M, O), on torch in contiguous rows: what is chosen from a row reads it far faster so.
    """
    if backend.backend() == "torch":
        return multiply_in_torch(rows, matrix, bias)
    # XLA would turn the product around again, were it not for an axis in front.
    columns = ops.matmul(matrix[None], ops.transpose(rows)[None])  # (1, O, M)
    product = ops.reshape(ops.transpose(columns, (2, 0, 1)), (-1, matrix.shape[0]))
    return product if bias is None else product + bias


def multiply_in_torch(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `multiply_few_rows`, of tensors of torch whatever Keras's backend is."""
    import torch

    columns = rows.t()  # (I, M)
    outputs, inputs = matrix.shape
    if columns.shape[1] == 1 and outputs % 2 == 0:
        # A product with a single column runs on one core; two halves of it run on two.
        halves = matrix.view(2, outputs // 2, inputs)
        columns = columns.expand(2, inputs, 1)
        if bias is None:
            return torch.bmm(halves, columns).view(1, outputs)
        return torch.baddbmm(bias.view(2, -1, 1), halves, columns).view(1, outputs)
    if bias is None:
        return torch.mm(matrix, columns).t().contiguous()
    return torch.addmm(bias[:, None], matrix, columns).t().contiguous()
