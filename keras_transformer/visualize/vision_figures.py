"""Figures of a Vision Transformer's attention over the picture.

Shape letters: N heads, T tokens (the class token and P patches), P patches.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check
from keras_transformer.visualize.attention_figures import check_heads, check_layer
from keras_transformer.visualize.attention_scores import attentions_of
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.rollout import rollout
from keras_transformer.visualize.subjects import make_subject


def plot_vit_attention(
    model: keras.Model,
    image: Any,
    layer: int | None = None,
    head: int | None = None,
    *,
    picture: Any = None,
) -> Figure:
    """Shows the class token's attention to the patches over the picture.

    The figure has controls to choose the rollout of all layers, a layer's mean or a single head.

    Args:
        model: A model built by `kt.models.vit`.
        image: (height, width, channels) or a batch of one, in the form that the model takes.
        layer: Index of the layer to show first, from the end if negative; None for the rollout.
        head: The head to show first; None for the mean of the layer's heads.
        picture: The picture to show, in the same form as `image`; None for `image`, scaled to the
            range of colors.

    Returns:
        A `Figure`; `data["maps"]` holds the weights of the patches, (rows, columns): first the
        rollout, then for each layer the mean of its heads and every head.

    Raises:
        ValueError: If the model is not a Vision Transformer, the image does not fit it, or it has
            no such layer or head.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.vit(
        ...     8, 4, 10, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> figure = kt.visualize.plot_vit_attention(model, np.ones((8, 8, 3)))
        >>> len(figure.data["maps"]), figure.data["maps"][0]["values"].shape
        (7, (2, 2))

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", appendix D.8.
    """
    layers = {one.name: one for one in getattr(model, "layers", ())}
    is_vit = "patch_embedding" in layers and "class_token" in layers
    check(is_vit, "be a Vision Transformer", "model", getattr(model, "name", model))
    image = np.asarray(image, "float32")
    image = image[None] if image.ndim == 3 else image
    expected = tuple(model.inputs[0].shape[1:])
    fits = image.shape == (1, *expected)
    check(fits, f"be one image of the shape {expected}", "image", image.shape)
    (attention,) = attentions_of(make_subject(model, image), "encoder_self_attention")
    maps, selected = _maps(attention, layers["patch_embedding"].output.shape[1:3], layer, head)
    data = {"pixels": _pixels(image if picture is None else picture), "maps": maps}
    note = "Rollout: attention and residual connections of all layers, half each."
    return Figure("Attention of the class token", "picture", {**data, "selected": selected}, [note])


def _maps(attention, shape, layer, head):
    """The maps of the rollout and of each layer's mean and heads; the index of the one to show."""

    def patches(weights, title):  # of the class token's row, (T,)
        return {"title": title, "values": weights[1:].reshape(shape)}

    maps = [patches(rollout(attention.weights)[-1][0], "rollout")]
    selected = 0
    chosen = None if layer is None else check_layer(layer, attention)
    check(head is None or layer is not None, "be given with `layer`", "head", head)
    for index, weights in enumerate(attention.weights):
        if index == chosen:
            places = [0] if head is None else [1 + one for one in check_heads(head, weights)]
            selected = len(maps) + places[0]
        maps.append(patches(weights[:, 0].mean(axis=0), f"layer {index}, mean of the heads"))
        maps += [patches(one[0], f"layer {index}, head {i}") for i, one in enumerate(weights)]
    return maps, selected


def _pixels(picture):
    """A picture (height, width, 3) in [0, 1]."""
    picture = np.asarray(picture, "float32")
    picture = picture[0] if picture.ndim == 4 else picture
    is_picture = picture.ndim == 3 and picture.shape[-1] in (1, 3)
    check(is_picture, "be one picture of 1 or 3 channels", "picture", picture.shape)
    low, high = float(picture.min()), float(picture.max())
    if low < 0.0 or high > 255.0:
        picture = (picture - low) / (high - low)
    elif high > 1.0:
        picture = picture / 255.0
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
