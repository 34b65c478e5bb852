"""Low-rank adapters (LoRA): fine-tuning a few added weights of a frozen model."""

from __future__ import annotations

import fnmatch
import gc
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_above, check_positive, given
from keras_transformer.layers.nested_layers import all_layers
from keras_transformer.training.trainable_layers import (
    freeze_all_but,
    make_trainable,
    needs_compiling,
)

Tensor = Any


def enable_lora(
    model: keras.Model,
    rank: int = 8,
    *,
    alpha: float | None = None,
    targets: Sequence[str] = ("query", "value"),
    trainable: Sequence[str] = ("head", "classifier"),
) -> list[str]:
    r"""Freezes a model and adds trainable low-rank adapters to some of its dense layers.

    $W' = W + \frac{\alpha}{r} A B$ with A (in, r) random and B (r, out) zero, so that the outputs
    are unchanged at first. The adapters are those of `keras.layers.Dense.enable_lora`.

    Compile the model afterwards. As always in Keras, a `.keras` or `.weights.h5` file of an adapted
    model stores the merged weights W' and loads as a model without adapters. To save only the
    adapters, use `save_lora`.

    Args:
        model: A model of `kt.models`, or any other whose dense layers have names.
        rank: r, the rank of the adapters.
        alpha: Scale of the adapters, applied as `alpha / rank`; None for `rank`, a factor of 1.
        targets: The dense layers to adapt, as patterns for their names ("query", "key", "value",
            "output" and "intermediate" in the layers of `kt`) or for their full paths, with
            wildcards ("decoder/block_1*/query").
        trainable: Other layers that stay trainable, as patterns like `targets`: `head` is the head
            of the models of `kt.models.task_heads`, `classifier` that of `vit`. () for none.

    Returns:
        The paths of the adapted layers.

    Raises:
        ValueError: if `rank` or `alpha` is not positive, no dense layer matches `targets`, or the
            model already has adapters.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> len(kt.training.enable_lora(lm, rank=2)), len(lm.trainable_weights)
        (2, 4)

    See Also:
        `kt.training.save_lora`, `kt.training.load_lora`, `kt.training.merge_lora`;
        `kt.training.freeze` trains whole blocks instead.

    Reference:
        Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.
    """
    check_positive(rank=rank)
    check_above(0, **given(alpha=alpha))
    for name, patterns in (("targets", targets), ("trainable", trainable)):
        if isinstance(patterns, str):
            raise ValueError(
                f"`{name}` must be a collection of patterns. Received: {name}={patterns!r}."
            )
    check_not_adapted(model)
    chosen = {path: layer for path, layer in dense_layers(model).items() if _matches(path, targets)}
    if not chosen:
        names = sorted({path.rpartition("/")[2] for path in dense_layers(model)})
        raise ValueError(
            f"`targets` must name dense layers of the model; it has {names}. "
            f"Received: targets={tuple(targets)!r}."
        )
    kept = [
        weight
        for layer in all_layers(model)
        if layer is not model and _matches(layer.path or layer.name, trainable)
        for weight in layer.trainable_weights
    ]
    attach(model, dict.fromkeys(chosen, (rank, alpha)), kept)
    return list(chosen)


def attach(model: keras.Model, adapters: dict[str, tuple[int, float | None]], kept: list) -> None:
    """Adds adapters of given (rank, alpha) to layers by path; freezes all else except `kept`."""
    layers = dense_layers(model)
    for path, (rank, alpha) in adapters.items():
        layers[path].enable_lora(rank, lora_alpha=alpha)
    own = [
        weight
        for path in adapters
        for weight in (layers[path].lora_kernel_a, layers[path].lora_kernel_b)
    ]
    freeze_all_but(model, [*own, *kept])
    needs_compiling(model)


def merge_lora(model: keras.Model) -> None:
    r"""Merges the adapters into the weights they adapt and removes them from the model.

    $W \leftarrow W + \frac{\alpha}{r} A B$: the outputs are unchanged, and the model is as if it
    had never been adapted, with all weights trainable. Compile it again to train it.

    Args:
        model: A model adapted by `enable_lora` or `load_lora`.

    Raises:
        ValueError: if the model has no adapters, or the adapted weights are quantized, as the
            merged weights would no longer be integers.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> adapted = kt.training.enable_lora(lm, rank=2)
        >>> kt.training.merge_lora(lm)
        >>> len(lm.trainable_weights)
        18

    Reference:
        Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
    """
    layers = adapted_layers(model)
    for path, layer in layers.items():
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(
                "`model` must not be quantized: merge the adapters first, then quantize. "
                f"Received: {path} quantized to {layer.quantization_mode}."
            )
    # Keras runs the garbage collector at each deletion of a variable, which is slow in a large
    # program: exempt the objects that exist now.
    gc.freeze()
    try:
        for layer in layers.values():
            _merge(layer)
    finally:
        gc.unfreeze()
    make_trainable(model)
    needs_compiling(model)


def _merge(layer: keras.layers.Dense) -> None:
    # In float32, whatever the layer's compute dtype.
    delta = ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
    delta = delta * (layer.lora_alpha / layer.lora_rank)
    layer.lora_enabled = False
    layer.kernel.assign(ops.add(ops.cast(layer.kernel, "float32"), delta))
    del layer.lora_kernel_a, layer.lora_kernel_b
    layer.lora_rank = layer.lora_alpha = None


def dense_layers(model: keras.Model) -> dict[str, keras.layers.Dense]:
    """Returns the dense layers of a model, by path."""
    return {
        layer.path: layer
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.Dense) and layer.built
    }


def adapted_layers(model: keras.Model) -> dict[str, keras.layers.Dense]:
    """Returns the adapted dense layers of a model, by path; raises if there are none."""
    layers = {path: layer for path, layer in dense_layers(model).items() if layer.lora_enabled}
    if not layers:
        raise ValueError(
            "`model` must have adapters: call `enable_lora` or `load_lora` first. "
            f"Received: the model {model.name!r} without adapters."
        )
    return layers


def check_not_adapted(model: keras.Model) -> None:
    """Raises if a model already has adapters."""
    paths = [path for path, layer in dense_layers(model).items() if layer.lora_enabled]
    if paths:
        raise ValueError(
            "`model` must have no adapters; `merge_lora` removes them. "
            f"Received: adapters in {', '.join(paths[:3])}"
            f"{' and others' if len(paths) > 3 else ''}."
        )


def _matches(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(path, pattern)
        for pattern in patterns
    )
