"""How the weights of our models are spread over devices that share one model."""

from __future__ import annotations

import re
from typing import Any

import keras

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.distribution import uneven_axes
from keras_transformer.layers.sublayers import all_layers

# Whatever a layer stands in, it is found by the end of its weights' paths. The output of the first
# layers is split, the input of the second ones: what comes out of the first needs no word with the
# other devices before it has gone through the second.
_COLUMNS = (
    r"(?:.*/)?(?:query|key|value|ssru(?:_\d+)?/(?:forget|candidate)|"
    r"feed_forward(?:_\d+)?/(?:intermediate|linear)|logits)"
)
_ROWS = r"(?:.*[/_])?(?:attention|feed_forward)(?:_\d+)?/output"
_EMBEDDINGS = r"(?:.*/)?(?:token|source|target)_embedding(?:_\d+)?/(?:embeddings|bias)"
# Replicated where it does not divide: see `whole_if_uneven`.
_VOCABULARY = rf"(?:{_EMBEDDINGS}|(?:.*/)?logits/(?:kernel|bias))"


def layout_map(
    mesh: keras.distribution.DeviceMesh,
    model: keras.Model | None = None,
    *,
    axis: str = "model",
) -> keras.distribution.LayoutMap:
    """Says how devices share the weights of one model, as Megatron-LM does; for Keras on JAX.

    Queries, keys, values and the first matrix of a feed-forward network are split by columns, with
    their biases, the matrices that follow by rows. So each device has some of the heads and some of
    the hidden units, and devices exchange what they have found twice a block. Embeddings, and a
    matrix of the logits, are split by the vocabulary if its size divides, else each device has them
    whole. Layer norms, positions and small heads are whole everywhere.

    Set the distribution before the model is made or loaded. The axis may have size 1. On TensorFlow
    and torch, Keras has no `ModelParallel`.

    Args:
        mesh: the devices. Over the first axis `keras.distribution.ModelParallel` spreads the batch.
        model: None, or a model to check: one with the sizes of that to be trained, on whatever
            device; one layer of it is enough. The map is the same with and without it. But without
            it, heads that do not divide only cost time, and for another size that does not divide,
            JAX's own error comes when the model is made.
        axis: the mesh's axis over which the weights are split.

    Returns:
        The layouts of all weights that are split, for `keras.distribution.ModelParallel`.

    Raises:
        ValueError: the mesh is none or has no such axis; with a model, its heads or the sizes of
            its weights, the vocabulary apart, do not divide by the axis.

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
        raise ValueError(f"`mesh` must be a keras.distribution.DeviceMesh. Received: mesh={mesh!r}")
    if axis not in mesh.axis_names:
        raise ValueError(
            f"`mesh` must have the axis {axis!r}; `axis` can name another one. "
            f"Received: axis_names={tuple(mesh.axis_names)}, shape={tuple(mesh.shape)}."
        )
    layouts = keras.distribution.LayoutMap(mesh)
    # The low-rank adapters of a matrix are split as it is: of A the rows, of B the columns.
    layouts[rf"{_COLUMNS}/(?:kernel|lora_kernel_b)"] = (None, axis)
    layouts[rf"{_COLUMNS}/bias"] = (axis,)
    layouts[rf"{_ROWS}/(?:kernel|lora_kernel_a)"] = (axis, None)
    # A vector or a matrix, by its first axis.
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
                f"`num_heads` must be a multiple of the size of the mesh's axis {axis!r}. "
                f"Received: num_heads={layer.num_heads} in {layer.path}, {axis}={size}."
            )
    for weight in model.weights:
        layout = layouts[weight.path]
        if layout is None or re.fullmatch(_VOCABULARY, weight.path):
            continue
        for index, _, _ in uneven_axes(layout.axes, weight.shape, mesh):
            raise ValueError(
                f"`mesh` must divide the weights of `model`. Received: {axis}={size}, the weight "
                f"{weight.path} of shape {tuple(weight.shape)}, whose axis {index} is to be split."
            )
