"""Attention windows in a config.json: layers that attend to all tokens, or only to nearby ones."""

from __future__ import annotations

from typing import Any

from keras_transformer.checks import shortened
from keras_transformer.pretrained.config import Config

_FULL, _LOCAL = "full_attention", "sliding_attention"


def windows_of(config: Config) -> int | tuple[int | None, ...] | None:
    """Returns the argument `window` of `kt.models.gpt`.

    Args:
        config: The settings; their followed keys include `use_sliding_window`, `sliding_window`,
            `max_window_layers` and `layer_types`.

    Returns:
        The window of all layers, None for none, or one per layer.

    Raises:
        ValueError: If a layer's type is unknown, or the window of local layers is missing.
    """
    count, types = config.depth("num_hidden_layers"), config.values.get("layer_types")
    has_size = config.values.get("sliding_window", 0) is not None
    is_local = config.get("use_sliding_window", bool) and has_size
    if types is None:
        first = config.get("max_window_layers", int) if is_local else count
        first = min(max(0, first), count)
        types = [_FULL] * first + [_LOCAL] * (count - first)
    if not isinstance(types, list) or len(types) != count or not {*types} <= {_FULL, _LOCAL}:
        raise ValueError(
            f"`layer_types` in {config.path} must contain {_FULL!r} or {_LOCAL!r} for each layer. "
            f"Received: {shortened(types)}."
        )
    if _LOCAL not in types:
        return None
    if not is_local:
        raise ValueError(
            f"`use_sliding_window` in {config.path} must be true, with a `sliding_window`, for "
            f"layers of the type {_LOCAL!r}. "
            f"Received: {config.values.get('use_sliding_window', False)!r}."
        )
    return window_argument([kind == _LOCAL for kind in types], config.size("sliding_window"))


def window_argument(is_local: list[bool], size: int) -> int | tuple[int | None, ...]:
    """Returns the argument `window` of a stack in which some or all layers are local.

    Args:
        is_local: Whether each layer attends only to nearby tokens.
        size: The window of the local layers.

    Returns:
        The window of all layers, or one per layer.
    """
    return size if all(is_local) else tuple(size if local else None for local in is_local)


def common_window(decoder: Any) -> int | None:
    """Returns the window of a stack's local layers, or None if it has none.

    Args:
        decoder: The stack.

    Returns:
        The window.

    Raises:
        ValueError: If some layers have different windows.
    """
    sizes = {block.window for block in decoder.blocks if block.window is not None}
    if len(sizes) > 1:
        raise ValueError(
            "`window` must be the same in all layers with a window in this format. "
            f"Received: {sorted(sizes)}."
        )
    return sizes.pop() if sizes else None


def window_values(decoder: Any) -> dict[str, Any]:
    """Returns the keys of config.json that describe a stack's windows.

    Args:
        decoder: The stack.

    Returns:
        `use_sliding_window`, `sliding_window` and `layer_types`.

    Raises:
        ValueError: If some layers have different windows.
    """
    window = common_window(decoder)
    return {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "layer_types": [_FULL if block.window is None else _LOCAL for block in decoder.blocks],
    }
