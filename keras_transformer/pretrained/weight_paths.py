"""Weights of a model by paths that do not change when it is saved, restored or cloned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_transformer.layers.nested_layers import all_layers, direct_layers
from keras_transformer.layers.serialization import argument_names


def variables_of(model: keras.Model) -> dict[str, Any]:
    """Returns the weights of a model by path, without the state of its random generators.

    A path consists of layer names, but a layer passed to another one as an argument goes by the
    name of the argument: `decoder/positional_encoding/embeddings`, whatever the layer itself is
    called. Keras's own paths (`weight.path`) are not reliable: in a model restored from a config,
    the path of a layer passed to another one lacks the other's name.

    Args:
        model: The model.

    Returns:
        The weights by path.

    Raises:
        ValueError: If two weights have the same path, or a layer is quantized.
    """
    check_not_quantized(model)
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for layer in model.layers:
        for path, weight in _walk(layer, layer.name):
            if id(weight) in seen or "seed_generator" in weight.path:
                continue
            if path in found:
                raise ValueError(
                    f"`model` must have distinct layer names. Received: the path {path!r} twice."
                )
            seen.add(id(weight))
            found[path] = weight
    return found


def check_not_quantized(model: keras.Model) -> None:
    """Raises a ValueError for a model with quantized weights."""
    for layer in all_layers(model):
        if layer.quantization_mode is not None:
            raise ValueError(
                "`model` must have floating-point weights: export it before `quantize`. "
                f"Received: the layer {layer.path!r} with {layer.dtype_policy.name!r}."
            )


def check_start_is_seen(model: keras.Model, padding_id: int | None, start_id: int | None) -> None:
    """Raises a ValueError for a translator that masks the start token of its targets.

    Other runtimes always attend to the first token of a translation.
    """
    if start_id is None or start_id != padding_id or model.get_layer("decoder").start_is_padding:
        return
    raise ValueError(
        "`start_is_padding` must be True for a translator whose targets start with the padding id. "
        f"Received: start_is_padding=False, padding_id={padding_id}, start_id={start_id}."
    )


def _walk(layer: keras.layers.Layer, path: str) -> Iterator[tuple[str, Any]]:
    inner = set()
    for name, child in _children(layer):
        inner |= {id(weight) for weight in child.weights}
        yield from _walk(child, f"{path}/{name}")
    for weight in layer.weights:
        if id(weight) not in inner:
            yield f"{path}/{weight.name}", weight


def _children(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the layers inside a layer, each once, with its name in the path."""
    given = set(argument_names(type(layer)))
    seen = set()
    for place, child in direct_layers(layer):
        attribute = place.partition("/")[0]
        if id(child) not in seen:
            seen.add(id(child))
            yield (attribute if attribute in given else child.name), child
