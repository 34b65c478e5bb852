"""PyTorch: a decoding step recorded as a flat list of tensor operations.

A step runs hundreds of small operations, and on a CPU the Python code of the layers takes longer
than the operations themselves. The step therefore runs once under a tracer, which records its
tensor operations. This requires no compiler, and a new shape costs one slow step. (`torch.compile`
does not make a step faster, since nearly all of its time goes into the same matrix products, and it
takes half a minute and a C++ compiler.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import tree

from keras_transformer.decoding.torch_kernels import TransposedKernels, use_transposed_kernels


def record(
    step: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    tensors: Any,
    kernels: TransposedKernels,
) -> Callable:
    """Records `step(state, tensors) -> (state, flag)` for the shapes of its arguments.

    Args:
        step: A function of tensors, whose control flow must not depend on their values. Other
            tensors that it reads are read again in every run.
        state: A nest of example tensors.
        tensors: A nest of example tensors.
        kernels: The transposed kernels of the model, to be refreshed before each run.

    Returns:
        A function like `step`. It updates the given state in place where the step would make an
        updated copy.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves = tree.flatten((state, tensors))

    def flat_step(*leaves):
        new_state, flag = step(*tree.pack_sequence_as((state, tensors), leaves))
        return (*tree.flatten(new_state), flag)

    module = make_fx(flat_step)(*leaves)
    _simplify(module.graph)
    use_transposed_kernels(module, kernels)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    run = module.forward
    structure = tree.map_structure(lambda leaf: None, state)  # without the example tensors

    def recorded(state, tensors):
        *new_state, flag = run(*tree.flatten((state, tensors)))
        return tree.pack_sequence_as(structure, new_state), flag

    return recorded


def _simplify(graph):
    import torch

    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node.target in (aten.detach.default, aten.lift_fresh_copy.default):
            node.replace_all_uses_with(node.args[0])
    _merge_equal_nodes(graph)
    for node in list(graph.nodes):
        if node.target is aten.add.Tensor and not node.kwargs:
            _fuse_bias(graph, node, aten)
    for node in graph.nodes:
        # Write new keys and values into the cache in place instead of copying the cache.
        if node.target is aten.index_copy.default and _is_free(node.args[0]):
            node.target = aten.index_copy_.default
    graph.eliminate_dead_code()


def _fuse_bias(graph, node, aten):
    """Fuses the addition of a bias into the matrix product before it."""
    product, bias = node.args
    if getattr(product, "target", None) is not aten.mm.default or len(product.users) > 1:
        return
    whole, added = node.meta.get("val"), getattr(bias, "meta", {}).get("val")
    multiplied = product.meta["val"]
    # Keras multiplies float64 tensors in float32, so dtypes may differ.
    if added is None or not added.dtype == whole.dtype == multiplied.dtype:
        return
    if multiplied.shape != whole.shape:
        return
    if added.ndim != 1:  # not a bias but another product, as in a recurrent cell
        return
    with graph.inserting_before(node):
        fused = graph.call_function(aten.addmm.default, (bias, *product.args))
    fused.meta = node.meta
    node.replace_all_uses_with(fused)


def _is_free(node):
    return node.op == "placeholder" and len(node.users) == 1


def _merge_equal_nodes(graph):
    """Merges computations that every block of a stack repeats: masks, positions, views."""
    seen: dict[tuple, Any] = {}
    written = _written_nodes(graph)  # these differ although their nodes are equal
    for node in list(graph.nodes):
        if node.op not in ("call_function", "get_attr") or node in written:
            continue
        key = (node.op, node.target, repr(node.args), repr(node.kwargs))
        if key in seen:
            node.replace_all_uses_with(seen[key])
            graph.erase_node(node)
        else:
            seen[key] = node


def _written_nodes(graph):
    """Returns the nodes that write in place and those whose memory they write to."""
    written = set()
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable:
            continue
        while hasattr(node, "args") and node not in written:  # up through views
            written.add(node)
            node = node.args[0] if node.args else None
    return written
