"""Transposed kernels of torch against the kernels themselves."""

import pytest
import torch

from keras_transformer.decoding.torch_graph import record
from keras_transformer.decoding.torch_kernels import TransposedKernels
from keras_transformer.ops.few_row_matmul import FEW_ROWS, multiply_in_torch


@pytest.mark.parametrize("num_rows", [1, 2, 5, 64])
@pytest.mark.parametrize("num_outputs", [7, 12])
@pytest.mark.parametrize("has_bias", [False, True])
def test_products(num_rows, num_outputs, has_bias):
    rows, kernel = torch.randn(num_rows, 5), torch.randn(5, num_outputs)
    bias = torch.randn(num_outputs) if has_bias else None
    product = multiply_in_torch(rows, kernel.t().contiguous(), bias)
    torch.testing.assert_close(product, rows @ kernel + (bias if has_bias else 0.0))
    assert product.is_contiguous()


def recorded_product(kernel, bias, num_rows, dtype=torch.float32):
    def step(state, tensors):
        return (tensors[0] @ kernel + bias,), state[0].sum() > 0

    kernels = TransposedKernels()
    kernels.refresh([kernel, bias])
    rows = torch.randn(num_rows, kernel.shape[0], dtype=dtype)
    state = (torch.ones(num_rows, kernel.shape[1], dtype=dtype),)
    with torch.no_grad():
        run = record(step, state, (rows,), kernels)
    return kernels, lambda: run(state, (rows,))[0][0], lambda: rows @ kernel + bias


@pytest.mark.parametrize(
    "change",
    [
        lambda kernel: kernel.mul_(2.0),
        lambda kernel: kernel.data.mul_(2.0),  # counts no version
        lambda kernel: setattr(kernel, "data", torch.ones_like(kernel)),
    ],
    ids=["in place", "through data", "new data"],
)
def test_changed_kernels_are_seen(change):
    kernel, bias = torch.nn.Parameter(torch.randn(7, 5)), torch.nn.Parameter(torch.randn(5))
    kernels, recorded, plain = recorded_product(kernel, bias, num_rows=3)
    with torch.no_grad():
        before = plain()
        torch.testing.assert_close(recorded(), before)
        change(kernel)
        assert not torch.allclose(plain(), before)
        kernels.refresh([kernel, bias])
        torch.testing.assert_close(recorded(), plain())


def test_a_copy_is_made_once_and_goes_with_its_kernel():
    kernel = torch.randn(7, 5)
    kernels = TransposedKernels()
    copy = kernels.copy_of(kernel)
    assert kernels.copy_of(kernel) is copy
    kernels.refresh([kernel])
    assert kernels.copy_of(kernel) is copy
    kernels.refresh([])
    assert kernels.copy_of(kernel) is not copy


@pytest.mark.parametrize(
    ("num_rows", "dtype", "is_transposed"),
    [
        (FEW_ROWS, torch.float32, True),
        (FEW_ROWS + 1, torch.float32, False),
        (3, torch.float64, False),
    ],
)
def test_only_products_with_few_rows_of_float32_change(num_rows, dtype, is_transposed):
    kernel, bias = torch.randn(7, 5, dtype=dtype), torch.randn(5, dtype=dtype)
    kernels, recorded, plain = recorded_product(kernel, bias, num_rows, dtype)
    torch.testing.assert_close(recorded(), plain())
    assert bool(kernels._copies) == is_transposed


def test_kernels_of_the_inference_mode():
    with torch.inference_mode():
        kernel, bias = torch.randn(7, 5), torch.randn(5)
    kernels, recorded, plain = recorded_product(kernel, bias, num_rows=2)
    kernels.refresh([kernel, bias])
    torch.testing.assert_close(recorded(), plain())
