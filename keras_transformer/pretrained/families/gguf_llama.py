"""GGUF files of the Llama type: Llama, Qwen2 and Qwen3, read as their Hugging Face families."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.hugging_face_llama import LLAMA, QWEN2, QWEN3
from keras_transformer.pretrained.gguf_file import GGUFFile

# The family for each `general.architecture`.
_FAMILIES = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3}
# Settings, without the architecture in front, mapped to the keys of config.json.
_KEYS = {
    "block_count": ("num_hidden_layers", int),
    "context_length": ("max_position_embeddings", int),
    "embedding_length": ("hidden_size", int),
    "feed_forward_length": ("intermediate_size", int),
    "attention.head_count": ("num_attention_heads", int),
    "attention.head_count_kv": ("num_key_value_heads", int),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", float),
    "attention.key_length": ("head_dim", int),
    "rope.freq_base": ("rope_theta", float),
}
_NEEDED = (
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.layer_norm_rms_epsilon",
)
# Settings that are compared with others, or read by `_scaling`.
_COMPARED = {"attention.value_length", "rope.dimension_count", "vocab_size"}
_COMPARED |= {"rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"}
_FIXED = {"expert_count": 0, "expert_used_count": 0, "attention.causal": True}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    **{f"attn_{part}": f"self_attn.{part}_proj" for part in "qkv"},
    "attn_output": "self_attn.o_proj",
    **{f"attn_{part}_norm": f"self_attn.{part}_norm" for part in "qk"},
    **{f"ffn_{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_ROTATED = re.compile(r"model\.layers\.\d+\.self_attn\.([qk])_proj\.(weight|bias)")
# Llama 3.1 and 3.2 divide their frequencies by these numbers instead of naming the scaling.
_DIVISORS = "rope_freqs.weight"
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3 |= {"original_max_position_embeddings": 8192}


class GGUFTensors:
    """The tensors of a GGUF file under the names of Hugging Face, for the table of a family.

    Args:
        file: The file.
        values: The settings, by Hugging Face's names.
    """

    def __init__(self, file: GGUFFile, values: dict[str, Any]):
        self._file, self._values = file, values
        self.paths = [file.path]
        self._names = {_own_name(name): name for name in file.names() if name != _DIVISORS}

    def names(self) -> Iterator[str]:
        """Returns the names of all tensors."""
        return iter(self._names)

    def num_values(self) -> int:
        """Returns the number of values in all tensors."""
        return sum(math.prod(self._file.shape(name)) for name in self._file.names())

    def stored(self, name: str) -> np.ndarray:
        """Reads one tensor, like `read`."""
        return self.read(name)

    def read(self, name: str) -> np.ndarray:
        """Reads one tensor as float32.

        Args:
            name: Its name on Hugging Face.

        Returns:
            The array, with the rows of queries and keys in Hugging Face's order.

        Raises:
            ValueError: If its type is not supported.
        """
        array = self._file.read(self._names[name])
        rotated = _ROTATED.fullmatch(name)
        if rotated is None or self._values["model_type"] != "llama":
            return array
        kind = "num_attention_heads" if rotated[1] == "q" else "num_key_value_heads"
        return _halves(array, self._values[kind])


def _own_name(name):
    layer = _LAYER.fullmatch(name)
    if layer and layer[2] in _LAYER_NAMES:
        return f"model.layers.{layer[1]}.{_LAYER_NAMES[layer[2]]}.{layer[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{_NAMES[stem]}.{kind}" if stem in _NAMES else name


def _halves(array: np.ndarray, num_heads: int) -> np.ndarray:
    """Reorders the rows of each head from llama.cpp's adjacent pairs to Hugging Face's halves."""
    if num_heads < 1 or array.shape[0] % (2 * num_heads):
        return array  # `assign` rejects its shape
    pairs = array.reshape(num_heads, -1, 2, *array.shape[1:])
    return np.swapaxes(pairs, 1, 2).reshape(array.shape)


def open_gguf(path: Path) -> tuple[Family, Config, GGUFTensors]:
    """Opens a GGUF file as a checkpoint of its Hugging Face family.

    Args:
        path: The file.

    Returns:
        The family, the settings and the tensors.

    Raises:
        ValueError: If the file is damaged, or its architecture or a setting is not supported.
        ImportError: If the package gguf is not installed.
    """
    file = GGUFFile(path)
    architecture = file.setting("general.architecture", str)
    if architecture not in _FAMILIES:
        raise ValueError(
            f"`general.architecture` in {path} must be one of {sorted(_FAMILIES)}. "
            f"Received: {architecture!r}."
        )
    values = _values(file, architecture)
    tensors = GGUFTensors(file, values)
    names = set(tensors.names())
    values["tie_word_embeddings"] = "lm_head.weight" not in names
    if architecture != "qwen2":
        values["attention_bias"] = "model.layers.0.self_attn.q_proj.bias" in names
    if architecture == "llama":
        values["mlp_bias"] = "model.layers.0.mlp.gate_proj.bias" in names
    family = _FAMILIES[architecture]
    config = Config(path, values, names, family.keys, num_tensors=len(names))
    return family, config, tensors


def _values(file, architecture):
    """Returns the settings by Hugging Face's names."""
    prefix = f"{architecture}."
    given = {name.removeprefix(prefix) for name in file.settings() if name.startswith(prefix)}
    for name in sorted(given - {*_KEYS} - _COMPARED):
        received = file.setting(prefix + name, object)
        if name not in _FIXED or received != _FIXED[name]:
            allowed = f"missing or {_FIXED[name]!r}" if name in _FIXED else "missing"
            raise ValueError(
                f"`{prefix}{name}` in {file.path} must be {allowed}, the only supported form. "
                f"Received: {received!r:.80}."
            )
    for name in _NEEDED:
        if name not in given:
            raise ValueError(f"`{prefix}{name}` must be in {file.path}. Received: no such setting.")
    values: dict[str, Any] = {"model_type": architecture}
    for name, (key, kind) in _KEYS.items():
        if name in given:
            values[key] = file.setting(prefix + name, kind)
    values.setdefault("num_key_value_heads", values["num_attention_heads"])
    if not values["num_attention_heads"] > 0:
        raise ValueError(
            f"`{prefix}attention.head_count` in {file.path} must be at least 1. "
            f"Received: {values['num_attention_heads']}."
        )
    values.setdefault("head_dim", values["hidden_size"] // values["num_attention_heads"])
    values["vocab_size"] = _vocabulary_size(file)
    values["rope_scaling"] = _scaling(file, prefix, values)
    expected = {
        "vocab_size": values["vocab_size"],
        "attention.value_length": values["head_dim"],
        "rope.dimension_count": values["head_dim"],
    }
    for name, size in expected.items():
        if file.setting(prefix + name, int, size) != size:
            raise ValueError(
                f"`{prefix}{name}` in {file.path} must be {size}, as in the rest of the file. "
                f"Received: {file.setting(prefix + name, int)}."
            )
    return values


def _vocabulary_size(file):
    name = "token_embd.weight"
    if name not in set(file.names()):
        raise ValueError(f"{file.path} must contain the tensor {name!r}. Received: no such tensor.")
    return file.shape(name)[0]


def _scaling(file, prefix, values):
    """Returns the `rope_scaling` of a file, or None if it has none."""
    kind = file.setting(f"{prefix}rope.scaling.type", str, "none")
    factor = file.setting(f"{prefix}rope.scaling.factor", float)
    factor = file.setting(f"{prefix}rope.scale_linear", float) if factor is None else factor
    if kind not in ("none", "linear"):
        raise ValueError(
            f"`{prefix}rope.scaling.type` in {file.path} must be 'none' or 'linear'. "
            f"Received: {kind!r}."
        )
    if kind == "linear" or factor not in (None, 0.0, 1.0):
        return {"rope_type": "linear", "factor": factor}
    if _DIVISORS not in set(file.names()):
        return None
    divisors = file.read(_DIVISORS).ravel()
    for factor in (8.0, 32.0):
        expected = _llama3_divisors(factor, values, len(divisors))
        if expected is not None and np.allclose(divisors, expected, rtol=1e-4):
            return {"rope_type": "llama3", "factor": factor, **_LLAMA3}
    raise ValueError(
        f"The tensor {_DIVISORS!r} in {file.path} must contain the divisors of Llama 3.1 or 3.2. "
        f"Received: other values, of shape {divisors.shape}."
    )


def _llama3_divisors(factor, values, num_divisors):
    size = values["head_dim"]
    if num_divisors != (size + 1) // 2:
        return None
    frequencies = values.get("rope_theta", 1e4) ** (-np.arange(0, size, 2) / size)
    turns = frequencies * _LLAMA3["original_max_position_embeddings"] / (2 * np.pi)
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return 1.0 / (kept + (1.0 - kept) / factor)
