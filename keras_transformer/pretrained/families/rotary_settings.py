"""Rotary positions in a config.json: `rope_parameters`, or `rope_theta` and `rope_scaling`."""

from __future__ import annotations

from typing import Any

from keras_transformer.layers.rotary import RotaryEmbedding
from keras_transformer.pretrained.config import Config

# The keys of each kind of scaling, mapped to our names.
_SCALINGS = {
    "default": {},
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "low_freq_factor": "low_frequency_factor",
        "high_freq_factor": "high_frequency_factor",
        "original_max_position_embeddings": "original_max_length",
    },
}
# The kind is in either of two keys; `partial_rotary_factor` must be 1.
_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


def rotary_arguments(config: Config) -> dict[str, Any]:
    """Returns the arguments of the `RotaryEmbedding` that a config describes.

    Args:
        config: The settings; their followed keys include `rope_parameters`, `rope_theta`,
            `rope_scaling` and `max_position_embeddings`.

    Returns:
        `max_wavelength` and `scaling`.

    Raises:
        ValueError: If a value is missing or wrong, or the kind of scaling is not supported.
    """
    values, where = _values(config)
    kind = values.get("rope_type", values.get("type", "default"))
    if not isinstance(kind, str) or kind not in _SCALINGS:
        raise ValueError(
            f"`rope_type` of `{where}` in {config.path} must be one of {sorted(_SCALINGS)}. "
            f"Received: {kind!r}."
        )
    names = _SCALINGS[kind]
    unknown = {key for key in values if key not in {*names, *_COMMON} and values[key] is not None}
    if kind == "default":
        unknown -= {"factor", "original_max_position_embeddings"}  # meaningless for this kind
    if unknown or values.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(
            f"`{where}` in {config.path} must contain only {sorted({*names, *_COMMON})}, and "
            f"rotate whole heads. Received: {values!r}."
        )
    scaling = {"kind": kind}
    for key, own in names.items():
        value = values.get(key)
        if value is None and own == "original_max_length":
            value = config.size("max_position_embeddings")
        scaling[own] = _number(config, where, key, value)
    base = _number(config, where, "rope_theta", values.get("rope_theta"))
    arguments = {"max_wavelength": base, "scaling": scaling if names else None}
    try:
        RotaryEmbedding(**arguments)
    except ValueError as error:
        raise ValueError(f"`{where}` in {config.path} must be valid. {error}") from error
    return arguments


def _values(config):
    """Returns the rotary parameters, including the base, and the key that holds them."""
    forms = {key: config.values.get(key) or {} for key in ("rope_scaling", "rope_parameters")}
    for key, values in forms.items():
        if not isinstance(values, dict):
            raise ValueError(f"`{key}` in {config.path} must be an object. Received: {values!r}.")
    older, newer = forms.values()
    if older and newer and older != newer:
        config.require_equal("rope_scaling", "rope_parameters")
    where = "rope_scaling" if older else "rope_parameters"
    base = config.values.get("rope_theta")
    return {"rope_theta": 10000.0 if base is None else base, **(older or newer)}, where


def _number(config, where, key, value):
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"`{key}` of `{where}` in {config.path} must be a number. Received: {value!r}."
        )
    return value if key == "original_max_position_embeddings" else float(value)


def rotary_parameters(rotary: RotaryEmbedding | bool) -> dict[str, Any]:
    """Returns the `rope_parameters` that describe a rotation.

    Args:
        rotary: The argument `rotary` of a block, not False.

    Returns:
        The content of `rope_parameters`.

    Raises:
        ValueError: If only a part of each head is rotated.
    """
    layer = rotary if isinstance(rotary, RotaryEmbedding) else RotaryEmbedding()
    if layer.fraction != 1:
        raise ValueError(
            f"`fraction` of `rotary` must be 1 in this format. Received: fraction={layer.fraction}."
        )
    scaling = layer.scaling or {"kind": "default"}
    names = _SCALINGS[scaling["kind"]]
    values = {key: scaling[own] for key, own in names.items()}
    return {"rope_type": scaling["kind"], "rope_theta": float(layer.max_wavelength), **values}
