"""PyTorch on a CPU: transposed kernels, for fast matrix products with few rows.

A step multiplies a few rows by every kernel, so reading the kernels takes most of its time. The
library that torch calls reads a kernel (I, O) at a fraction of the memory bandwidth if it is the
second operand, `x @ kernel`, and at the full bandwidth if a transposed copy is the first one,
`copy @ x.T`.

Shape letters: I inputs, O outputs.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from keras_transformer.ops.few_row_matmul import FEW_ROWS, multiply_in_torch

Tensor = Any

_NUM_SAMPLES = 1024


class TransposedKernels:
    """Transposed copies of a model's kernels, kept in sync with them, for any number of threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._copies: dict[int, _Copy] = {}  # keyed by the id() of the kernel
        self._weights: list = []
        self._present: set[int] = set()

    def follows(self, kernel: Tensor) -> bool:
        """Whether a kernel is a weight of the model, whose copy `refresh` keeps in sync."""
        return id(kernel) in self._present

    def copy_of(self, kernel: Tensor) -> Tensor:
        """Returns a contiguous transposed copy (O, I) of a kernel (I, O)."""
        with self._lock:
            if id(kernel) not in self._copies:
                transposed = kernel.detach().t().contiguous()
                copy = _Copy(kernel, transposed, _version(kernel), _sample(kernel))
                self._copies[id(kernel)] = copy
            return self._copies[id(kernel)].transposed

    def refresh(self, weights: list) -> None:
        """Updates the copies of changed kernels, and drops those of removed ones.

        Args:
            weights: The tensors of all the model's weights. Passing the same list object again
                means the same run, in which only version counters are compared, to save time.
        """
        with self._lock:
            self._refresh(weights)

    def _refresh(self, weights):
        import torch

        is_new_run = weights is not self._weights
        if is_new_run:
            self._weights, self._present = weights, {id(weight) for weight in weights}
        for key, copy in list(self._copies.items()):
            kernel = copy.kernel
            if key not in self._present:
                del self._copies[key]
            # Writes through `.data` do not bump the version, but a sample reveals them.
            elif copy.version != _version(kernel) or (
                is_new_run and not torch.equal(copy.sample, _sample(kernel))
            ):
                copy.transposed.copy_(kernel.detach().t())
                self._copies[key] = copy._replace(version=_version(kernel), sample=_sample(kernel))


class _Copy(NamedTuple):
    kernel: Tensor  # kept alive, so that its id() is not reused
    transposed: Tensor
    version: Any
    sample: Tensor


def _version(kernel):
    # Inference tensors have no version counter.
    return kernel.data_ptr(), None if kernel.is_inference() else kernel._version


def _sample(kernel):
    flat = kernel.detach().reshape(-1)
    return flat[:: max(1, len(flat) // _NUM_SAMPLES)].clone()


def use_transposed_kernels(module: Any, kernels: TransposedKernels) -> None:
    """Makes the matrix products of a recorded step use transposed kernels if they have few rows.

    Args:
        module: A `torch.fx.GraphModule`, modified in place.
        kernels: The transposed kernels of the model.
    """
    import torch

    aten = torch.ops.aten
    names: dict[int, str] = {}
    for node in list(module.graph.nodes):
        if node.target is aten.mm.default:
            bias, (rows, kernel) = None, node.args
        elif node.target is aten.addmm.default and not node.kwargs:
            bias, rows, kernel = node.args
        else:
            continue
        if getattr(kernel, "op", None) != "get_attr" or not _is_fit(module, node, kernel, bias):
            continue
        weight = getattr(module, kernel.target)
        if not kernels.follows(weight):
            continue
        if id(weight) not in names:
            names[id(weight)] = f"_transposed{len(names)}"
            module.register_buffer(names[id(weight)], kernels.copy_of(weight))
        with module.graph.inserting_before(node):
            transposed = module.graph.get_attr(names[id(weight)])
            product = module.graph.call_function(multiply_in_torch, (rows, transposed, bias))
        product.meta = node.meta
        node.replace_all_uses_with(product)
        module.graph.erase_node(node)


def _is_fit(module, node, kernel, bias):
    import torch

    weight, product = getattr(module, kernel.target), node.meta["val"]
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32 == product.dtype
        and weight.is_contiguous()
        and product.shape[0] <= FEW_ROWS
        and (bias is None or bias.meta["val"].ndim == 1)
    )
