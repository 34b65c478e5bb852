"""Tensor parallelism: how the weights of one model are split across devices."""

from __future__ import annotations

import re
from typing import Any

import keras

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.distribution import uneven_axes
from keras_transformer.layers.nested_layers import all_layers

# Weights are matched by the end of their paths, whatever contains their layers. Column-split layers
# split their output and row-split ones their input, so that devices need not communicate between
# the two.
_COLUMNS = (
    r"(?:.*/)?(?:query|key|value|ssru(?:_\d+)?/(?:forget|candidate)|"
    r"feed_forward(?:_\d+)?/(?:intermediate|linear)|logits)"
)
_ROWS = r"(?:.*[/_])?(?:attention|feed_forward)(?:_\d+)?/output"
_EMBEDDINGS = r"(?:.*/)?(?:token|source|target)_embedding(?:_\d+)?/(?:embeddings|bias)"
# Replicated if not divisible: see `whole_if_uneven`.
_VOCABULARY = rf"(?:{_EMBEDDINGS}|(?:.*/)?logits/(?:kernel|bias))"


def layout_map(
    mesh: keras.distribution.DeviceMesh,
    model: keras.Model | None = None,
    *,
    axis: str = "model",
) -> keras.distribution.LayoutMap:
    """Returns the tensor-parallel weight layouts of Megatron-LM, for Keras on JAX.

    Query, key and value projections and the first matrix of each feed-forward network are split by
    columns, with their biases; the matrices that follow them are split by rows. Each device thus
    holds some of the heads and some of the hidden units, and devices communicate twice per block.
    Embeddings and the logits matrix are split over the vocabulary if the axis divides its size, and
    replicated otherwise. Layer norms, positions and small heads are replicated.

    Set the distribution before creating or loading the model. The axis may have size 1. Keras does
    not implement `ModelParallel` on TensorFlow and torch.

    Args:
        mesh: The devices. `keras.distribution.ModelParallel` splits the batch over the first axis.
        model: None, or a model to check, on any device, with the sizes of the one to be trained; a
            single layer suffices. The map does not depend on it. Without this check, a number of
            heads that is not divisible only costs time, and any other size that is not divisible
            raises JAX's own error when the model is created.
        axis: Name of the mesh axis to split the weights over.

    Returns:
        The layouts of all split weights, for `keras.distribution.ModelParallel`.

    Raises:
        ValueError: if `mesh` is not a mesh or has no such axis; with `model`, if its number of
            heads or its weights' sizes (except the vocabulary) are not divisible by the axis size.

    Example:
        >>> import keras, keras_transformer as kt
        >>> mesh = keras.distribution.DeviceMesh((1, 1), ("batch", "model"), devices=["cpu:0"])
        >>> layouts = kt.training.layout_map(mesh)
        >>> layouts["encoder/block_0/feed_forward/output/kernel"].axes
        ('model', None)
        >>> distribution = keras.distribution.ModelParallel(layout_map=layouts)

    Reference:
        Shoeybi et al. 2019, "Megatron-LM: Training Multi-Billion Parameter Language Models Using
        Model Parallelism", section 3.
    """
    if not isinstance(mesh, keras.distribution.DeviceMesh):
        raise ValueError(
            f"`mesh` must be a keras.distribution.DeviceMesh. Received: mesh={mesh!r}."
        )
    if axis not in mesh.axis_names:
        raise ValueError(
            f"`axis` must name an axis of `mesh`. Received: axis={axis!r}, a mesh with "
            f"axis_names={tuple(mesh.axis_names)}, shape={tuple(mesh.shape)}."
        )
    layouts = keras.distribution.LayoutMap(mesh)
    # Low-rank adapters are split like their matrix: A by rows, B by columns.
    layouts[rf"{_COLUMNS}/(?:kernel|lora_kernel_b)"] = (None, axis)
    layouts[rf"{_COLUMNS}/bias"] = (axis,)
    layouts[rf"{_ROWS}/(?:kernel|lora_kernel_a)"] = (axis, None)
    # Vectors and matrices alike, along the first axis.
    layouts[_EMBEDDINGS] = (axis,)
    if model is not None:
        _check_model(model, layouts, axis)
    return layouts


def _check_model(model: keras.Model, layouts: Any, axis: str) -> None:
    mesh = layouts.device_mesh
    size = dict(zip(mesh.axis_names, mesh.shape, strict=True))[axis]
    for layer in all_layers(model):
        if isinstance(layer, MultiHeadAttention) and layer.num_heads % size:
            raise ValueError(
                f"`num_heads` must be a multiple of the size of the mesh axis {axis!r}. "
                f"Received: num_heads={layer.num_heads} in {layer.path}, {axis}={size}."
            )
    for weight in model.weights:
        layout = layouts[weight.path]
        if layout is None or re.fullmatch(_VOCABULARY, weight.path):
            continue
        for index, _, _ in uneven_axes(layout.axes, weight.shape, mesh):
            raise ValueError(
                f"`mesh` must divide the weights of `model` evenly. Received: {axis}={size} and "
                f"{weight.path} of shape {tuple(weight.shape)}, split along axis {index}."
            )
