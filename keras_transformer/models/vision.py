"""Vision Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_positive
from keras_transformer.layers.class_token import ClassToken
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.positional import LearnedPositionalEmbedding
from keras_transformer.models.initializers import initial_stddev
from keras_transformer.models.stack_blocks import make_blocks


def vit(
    image_size: int | Sequence[int] = 224,
    patch_size: int | Sequence[int] = 16,
    num_classes: int | None = 1000,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden_dim: int = 768,
    intermediate_dim: int = 3072,
    dropout: float = 0.0,
    *,
    num_channels: int = 3,
    pooler: bool = False,
    activation: Any = "gelu",
    layer_norm_epsilon: float = 1e-6,
    attention_dropout: float = 0.0,
    initializer_stddev: float | None = None,
    rematerialize: bool = False,
    name: str = "vit",
    dtype: Any = None,
    **block: Any,
) -> keras.Model:
    """Builds a Vision Transformer, by default ViT-B/16.

    A functional model of images (B, height, width, channels). A convolution embeds the patches, a
    class token is prepended, learned positions are added, a pre-LN encoder follows, and the final
    state of the class token is classified. The layers are named `patch_embedding`, `class_token`,
    `encoder` (which includes the positions) and `classifier` or `pooler`.

    Args:
        image_size: Height and width of the images in pixels, or a single number for both.
        patch_size: Height and width of a patch in pixels, or a single number for both.
        num_classes: C; None for no classifier.
        num_layers: Number of encoder blocks.
        num_heads: Number of attention heads.
        hidden_dim: D, the width of the model.
        intermediate_dim: Width of the feed-forward networks.
        dropout: Dropout rate on the embeddings and the output of each sublayer.
        num_channels: Number of channels of the images.
        pooler: Whether to also return the class token's final state after a dense layer with tanh;
            only without a classifier.
        activation: Activation of the feed-forward networks.
        layer_norm_epsilon: Epsilon of the layer norms.
        attention_dropout: Dropout rate on the attention weights.
        initializer_stddev: Initial standard deviation of all kernels and embeddings; None for 0.02
            at `hidden_dim=768`, scaled in proportion to `hidden_dim ** -0.5`.
        rematerialize: Whether to recompute each block in the backward pass (gradient
            checkpointing): less memory, more time.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.
        **block: Other arguments of the blocks, see `TransformerEncoderBlock`: `normalize_first`,
            `num_key_value_heads`, `rotary`, `relative_positions`, `gated`, `norm` and so on.
            `window` may also be a sequence of windows for the layers to alternate.

    Returns:
        A `keras.Model` whose output is logits (B, C) or, without a classifier, the hidden states
        (B, 1 + patches, D); with a pooler, a dict of these as `output` and `pooled_output` (B, D).

    Raises:
        ValueError: If a size is not positive, `patch_size` does not divide `image_size`,
            `num_heads` does not divide `hidden_dim`, `initializer_stddev` is not positive, or
            `pooler` is combined with a classifier.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.vit(
        ...     8, 4, 10, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32,
        ...     num_channels=1)
        >>> model(np.ones((2, 8, 8, 1), "float32")).shape
        (2, 10)

    See Also:
        `kt.models.classifier` replaces its head; `kt.visualize.plot_vit_attention` shows where it
        looks.

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition
        at Scale", section 3.1.
    """
    check_positive(hidden_dim=hidden_dim, num_channels=num_channels)
    image, patch = _check_sizes(image_size, patch_size)
    _check_head(num_classes, pooler)
    stddev = initial_stddev(initializer_stddev, hidden_dim)

    def initializer():
        return keras.initializers.TruncatedNormal(stddev=stddev)

    # === Layers ===
    num_patches = (image[0] // patch[0]) * (image[1] // patch[1])
    patch_embedding = keras.layers.Conv2D(
        hidden_dim,
        patch,
        strides=patch,
        data_format="channels_last",
        kernel_initializer=initializer(),
        dtype=dtype,
        name="patch_embedding",
    )
    positional_encoding = LearnedPositionalEmbedding(
        1 + num_patches, initializer(), dtype=dtype, name="positional_encoding"
    )
    arguments = {
        "dropout": dropout,
        "activation": activation,
        "normalize_first": True,
        "layer_norm_epsilon": layer_norm_epsilon,
        "attention_dropout": attention_dropout,
        "kernel_initializer": initializer(),
        "dtype": dtype,
        **block,
    }
    encoder = TransformerEncoder(
        num_layers,
        make_blocks(
            TransformerEncoderBlock,
            num_heads=num_heads,
            intermediate_dim=intermediate_dim,
            **arguments,
        ),
        positional_encoding=positional_encoding,
        input_dropout=dropout,
        rematerialize=rematerialize,
        dtype=dtype,
        name="encoder",
    )
    # === Functional model ===
    images = keras.Input((*image, num_channels), name="images")
    patches = keras.layers.Reshape((num_patches, hidden_dim), dtype=dtype)(patch_embedding(images))
    output = encoder(ClassToken(initializer(), dtype=dtype, name="class_token")(patches))

    def dense(units, name, activation=None):
        kernel = {"kernel_initializer": initializer(), "dtype": dtype}
        layer = keras.layers.Dense(units, activation, name=name, **kernel)
        return layer(ops.take(output, 0, axis=1))

    if num_classes is not None:
        return keras.Model(images, dense(num_classes, "classifier"), name=name)
    if pooler:
        outputs = {"output": output, "pooled_output": dense(hidden_dim, "pooler", "tanh")}
        return keras.Model(images, outputs, name=name)
    return keras.Model(images, output, name=name)


def _check_sizes(image_size, patch_size):
    """Returns the height and width of an image, and those of a patch."""
    image, patch = _pair("image_size", image_size), _pair("patch_size", patch_size)
    if any(side % part for side, part in zip(image, patch, strict=True)):
        raise ValueError(
            "`patch_size` must divide `image_size`. "
            f"Received: patch_size={patch_size}, image_size={image_size}."
        )
    return image, patch


def _check_head(num_classes, pooler):
    if num_classes is None:
        return
    check_positive(num_classes=num_classes)
    if pooler:
        raise ValueError(
            "`pooler=True` requires `num_classes=None`. "
            f"Received: pooler=True, num_classes={num_classes}."
        )


def _pair(name, size) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise ValueError(
            f"`{name}` must be an integer or a pair of integers. Received: {name}={size!r}."
        )
    for side in sides:
        check_positive(**{name: side})
    return sides
