"""The subject of a figure: a model, one example of its inputs, and the example's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check, is_integer
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.models.model_parts import find_parts
from keras_transformer.visualize.token_labels import token_texts
from keras_transformer.visualize.trace import Trace, record


class Subject(NamedTuple):
    """A model and one example, by side: encoders read the "source", decoders the "target".

    Attributes:
        model: The model.
        inputs: The model's inputs, a batch of one.
        tokens: The tokens of each side that has ids, without padding.
        real: The positions of these tokens.
        ids: All ids of each side.
        tokenizers: The `tokens` given for each side: a tokenizer, strings or None.
    """

    model: keras.Model
    inputs: Any
    tokens: dict[str, list[str]]
    real: dict[str, slice]
    ids: dict[str, np.ndarray]
    tokenizers: dict[str, Any]

    def run(self, *patterns: str) -> tuple[Trace, Any]:
        """Calls the model; returns the tensors whose names match, and the output."""
        with record(self.model, patterns or ("*",)) as trace:
            output = self.model(self.inputs, training=False)
        return trace, output


_SIDES = {"source_ids": ("source",), "target_ids": ("target",), "token_ids": ("source", "target")}


def make_subject(model: Any, inputs: Any, tokens: Any = None, row: int = 0) -> Subject:
    """Prepares one example.

    Args:
        model: A model; or a `kt.Translator` or `kt.TextGenerator`.
        inputs: The model's inputs, from which one row is taken. For a translator, a text or a pair
            of source and target; for a text generator, a text.
        tokens: The token texts or a tokenizer; a dict with the keys "source" and "target" if the
            two sides differ; None to show the ids.
        row: Which row of the batch.

    Returns:
        The example.
    """
    if not isinstance(model, keras.Model):
        inputs, tokens, row = _of_pipeline(model, inputs, row)
        model = model.model
    batch = as_batch(model, inputs)
    rows = len(next(iter(batch.values())) if isinstance(batch, dict) else batch)
    check(is_integer(row) and 0 <= row < rows, f"be a row of the batch of {rows}", "row", row)
    one = keras.tree.map_structure(lambda array: array[row : row + 1], batch)
    subject = Subject(model, one, {}, {}, {}, {})
    for name, sides in _SIDES.items() if isinstance(one, dict) else ():
        for side in sides if name in one and one[name].ndim == 2 else ():
            ids = one[name][0]
            real = _real_part(model, side, ids)
            given = tokens.get(side) if isinstance(tokens, Mapping) else tokens
            if isinstance(given, (list, tuple)) and len(given) == len(ids):
                given = list(given)[real]
            subject.ids[side], subject.real[side] = ids, real
            subject.tokens[side] = token_texts(ids[real], given)
            subject.tokenizers[side] = given
    return subject


def as_batch(model: keras.Model, inputs: Any) -> Any:
    """Returns inputs as arrays: rows of ids are padded, and segment ids are 0 unless given."""
    if not isinstance(inputs, Mapping):
        return _as_array(inputs)
    batch = {name: _as_array(value) for name, value in inputs.items()}
    wanted = {tensor.name for tensor in model.inputs}
    if "segment_ids" in wanted and "segment_ids" not in batch and "token_ids" in batch:
        batch["segment_ids"] = np.zeros_like(batch["token_ids"])
    return batch


def _as_array(value):
    if isinstance(value, (list, tuple)):
        is_rows = value and all(isinstance(one, (list, tuple)) and one for one in value)
        check(bool(is_rows), "contain rows of ids, none of them empty", "inputs", value)
        if all(is_integer(one) for row in value for one in row):
            width = max(map(len, value))
            return np.array([[*row, *[0] * (width - len(row))] for row in value], "int32")
    array = ops.convert_to_numpy(value) if ops.is_tensor(value) else np.asarray(value)
    return array.astype("int32") if array.dtype.kind in "iu" else array


def _of_pipeline(pipeline, inputs, row):
    """Returns the inputs and tokenizers of a translator or a text generator."""
    if hasattr(pipeline, "source_tokenizer"):
        inputs = inputs if isinstance(inputs, str) else tuple(inputs)
        source, target = (inputs, None) if isinstance(inputs, str) else inputs
        tokenizers = {"source": pipeline.source_tokenizer, "target": pipeline.target_tokenizer}
        if target is None:
            target = pipeline.translate(source)
        sources, prefix = pipeline.encode_sources([source])
        start = [special_ids(tokenizers["target"]).start, *prefix]
        return (
            {
                "source_ids": sources,
                "target_ids": [start + encode(tokenizers["target"], [target])[0]],
            },
            tokenizers,
            0,
        )
    what = "be a Keras model, a Translator or a TextGenerator"
    check(hasattr(pipeline, "tokenizer") and hasattr(pipeline, "model"), what, "model", pipeline)
    if isinstance(inputs, str):
        inputs = {"token_ids": encode(pipeline.tokenizer, [inputs])}
    return inputs, pipeline.tokenizer, row


def _real_part(model, side, ids):
    """The positions from the first to the last token that is not padding."""
    parts = find_parts({layer.name: layer for layer in model.layers})
    embedding = parts.source_embedding if side == "source" else parts.target_embedding
    padding = getattr(embedding, "padding_id", None)
    real = np.ones(len(ids), bool) if padding is None else ids != padding
    if side == "target" and getattr(parts.decoder, "start_is_padding", False):
        real[0] = True
    places = np.flatnonzero(real)
    check(len(places) > 0, "contain a token that is not padding", "inputs", ids.tolist())
    return slice(int(places[0]), int(places[-1]) + 1)


def embedding_sides(subject: Subject) -> dict[str, list[str]]:
    """Returns, for each embedding by name, the side that each of its calls reads, in order.

    One layer may embed source and target, in an order that depends on how the model was built.
    """
    layers = {layer.name for layer in subject.model.layers}
    sides = {"source_embedding": ["source"], "target_embedding": ["target"]}
    if "token_embedding" in layers:
        sides["token_embedding"] = ["target" if "decoder" in layers else "source"]
    if "token_embedding" in layers and "source_ids" in subject.inputs:
        one = subject.ids["source"][subject.real["source"].start]
        probe = {"source_ids": np.full((1, 1), one), "target_ids": np.full((1, 2), one)}
        with record(subject.model, "token_embedding/embedding") as trace:
            subject.model(probe, training=False)
        lengths = [array.shape[1] for array in trace.all("token_embedding/embedding")]
        sides["token_embedding"] = ["source" if length == 1 else "target" for length in lengths]
    return {name: found for name, found in sides.items() if name in layers}
