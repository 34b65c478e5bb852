"""Export of sentence encoders: the modules of sentence-transformers around a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_transformer.layers.pooling import SequencePooling
from keras_transformer.models.sentence_encoder import NAME_ENDING, UnitVectors
from keras_transformer.pretrained.mapping import to_float32
from keras_transformer.pretrained.sentence_transformers import ACTIVATIONS, MODULES, POOLINGS
from keras_transformer.pretrained.settings import activation_name
from keras_transformer.pretrained.tokenizers.export_parts import write_json

_TYPES = "sentence_transformers.models"
_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")


class SentenceEncoderParts(NamedTuple):
    """The parts of a sentence encoder.

    Attributes:
        body: The model whose hidden states are pooled.
        pooling: The pooling layer.
        projection: The dense layer after it, if there is one.
        normalize: Whether vectors are scaled to length 1.
    """

    body: keras.Model
    pooling: SequencePooling
    projection: keras.layers.Dense | None
    normalize: bool

    def tensors(self) -> dict[str, np.ndarray]:
        """Returns the weights of the projection, as torch stores them."""
        if self.projection is None:
            return {}
        found = {"linear.weight": to_float32(self.projection.kernel).T}
        if self.projection.use_bias:
            found["linear.bias"] = to_float32(self.projection.bias)
        return found

    def write(self, folder: Path) -> list[Path]:
        """Writes the settings of the modules next to those of the body.

        Args:
            folder: The folder of the body.

        Returns:
            The folders that need the weights of the projection, none or one.
        """
        size = self.body.get_layer("token_embedding").hidden_dim
        length = self.body.get_layer("positional_encoding").max_length
        settings: dict[str, dict[str, Any]] = {"Pooling": _pooling_settings(self.pooling, size)}
        if self.projection is not None:
            settings["Dense"] = {
                "in_features": size,
                "out_features": self.projection.units,
                "bias": self.projection.use_bias,
                "activation_function": activation_name(self.projection, ACTIVATIONS),
            }
        if self.normalize:
            settings["Normalize"] = {}
        modules = [{"idx": 0, "name": "0", "path": "", "type": f"{_TYPES}.Transformer"}]
        for index, (kind, content) in enumerate(settings.items(), 1):
            place = f"{index}_{kind}"
            (folder / place).mkdir()
            write_json(folder / place / "config.json", content)
            kind = f"{_TYPES}.{kind}"
            modules.append({"idx": index, "name": str(index), "path": place, "type": kind})
        write_json(folder / MODULES, modules)
        content = {"max_seq_length": length, "do_lower_case": False}
        write_json(folder / "sentence_bert_config.json", content)
        return [folder / "2_Dense"] if self.projection is not None else []


def _pooling_settings(pooling, size):
    mode = next(theirs for theirs, ours in POOLINGS.items() if ours == pooling.pooling)
    chosen = {"cls": "cls_token", "lasttoken": "lasttoken"}.get(mode, f"{mode}_tokens")
    flags = {f"pooling_mode_{name}": name == chosen for name in (*_MODES, "lasttoken")}
    return {"word_embedding_dimension": size, **flags, "include_prompt": True}


def sentence_encoder_parts(model: keras.Model) -> SentenceEncoderParts | None:
    """Finds the parts of a sentence encoder.

    Args:
        model: A model.

    Returns:
        Its parts; None unless it is built like a `kt.models.sentence_encoder`, with no projection
        or a dense one.
    """
    pooling = next((layer for layer in model.layers if isinstance(layer, SequencePooling)), None)
    if pooling is None or {"token_embedding", "encoder"} - {layer.name for layer in model.layers}:
        return None
    hidden = pooling.input[0] if isinstance(pooling.input, (list, tuple)) else pooling.input
    body = keras.Model(model.input, hidden, name=model.name.removesuffix(NAME_ENDING))
    inside = {id(layer) for layer in body.layers}
    _, *others = [layer for layer in model.layers if id(layer) not in inside]
    projection = others.pop(0) if others and isinstance(others[0], keras.layers.Dense) else None
    normalize = bool(others) and isinstance(others.pop(0), UnitVectors)
    known = not others and pooling.pooling in POOLINGS.values()
    return SentenceEncoderParts(body, pooling, projection, normalize) if known else None
