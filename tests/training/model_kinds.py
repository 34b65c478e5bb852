"""One tiny model of every kind of `kt.models`, with examples and the loss to train it with."""

from typing import Any, NamedTuple

import keras
import numpy as np

import keras_transformer as kt

V = 13


class Kind(NamedTuple):
    """A kind of model, with everything that a test needs to train it.

    Attributes:
        model: The untrained model.
        inputs: Inputs of seven examples, an array or a dict of arrays.
        labels: Labels of the same examples.
        loss: The loss for the model's output.
    """

    model: keras.Model
    inputs: Any
    labels: Any
    loss: Any


def _rows(length, seed):
    """Rows of ids, padded at their ends; a row of one token among them."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(4, V, (7, length)).astype("int32")
    lengths = generator.integers(2, length + 1, 7)
    lengths[2] = 1
    return np.where(np.arange(length) < lengths[:, None], ids, 0)


def small_gpt(num_layers=1, **more):
    arguments = {"max_length": 7, "dropout": 0.0, **more}
    return kt.models.gpt(V, num_layers, 2, hidden_dim=8, intermediate_dim=12, **arguments)


def _next(ids):
    return np.pad(ids[:, 1:], ((0, 0), (0, 1)))


def gpt():
    ids = _rows(5, 0)
    return Kind(small_gpt(), {"token_ids": ids}, _next(ids), kt.training.MaskedCrossentropy(0.1))


def packed():
    ids = _rows(7, 1)
    segments = np.where(ids > 0, 1 + (np.arange(7) >= 3), 0).astype("int32")
    inputs = {"token_ids": ids, "segment_ids": segments}
    return Kind(kt.models.packed(small_gpt()), inputs, _next(ids), kt.training.MaskedCrossentropy())


def _pairs():
    target = _rows(5, 3)
    return {"source_ids": _rows(3, 2), "target_ids": target}, _next(target)


def transformer():
    model = kt.models.transformer(
        V, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12, dropout=0.0
    )
    return Kind(model, *_pairs(), kt.training.MaskedCrossentropy(0.1))


def recurrent_seq2seq():
    model = kt.models.recurrent_seq2seq(V, cell="gru", hidden_dim=8, dropout=0.0)
    return Kind(model, *_pairs(), kt.training.MaskedCrossentropy())


def bert():
    ids = _rows(5, 4)
    model = kt.models.bert(V, 1, 2, 8, 12, max_length=7, dropout=0.0, pooler=False, masked_lm=True)
    model = keras.Model(model.input, model.output["logits"])
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids)}
    return Kind(model, inputs, ids, kt.training.MaskedCrossentropy())


def vit():
    images = np.random.default_rng(5).normal(size=(7, 4, 6, 3)).astype("float32")
    model = kt.models.vit((4, 6), 2, 3, 1, 2, 8, 12)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Kind(model, images, np.arange(7) % 3, loss)


def classifier():
    model = kt.models.classifier(small_gpt(), 3, dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy()
    return Kind(model, {"token_ids": _rows(5, 6)}, np.arange(7) % 3, loss)


def token_classifier():
    body = kt.models.bert(V, 1, 2, 8, 12, max_length=7, dropout=0.0, pooler=False)
    model = kt.models.token_classifier(body, 3, dropout=0.0)
    ids = _rows(5, 9)
    return Kind(model, {"token_ids": ids}, ids % 3, keras.losses.SparseCategoricalCrossentropy())


def sequence_classifier():
    model = kt.models.sequence_classifier(
        V, 3, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=12, dropout=0.0
    )
    loss = keras.losses.SparseCategoricalCrossentropy()
    return Kind(model, {"token_ids": _rows(5, 7)}, np.arange(7) % 3, loss)


def series_forecaster():
    model = kt.models.series_forecaster(
        2, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12
    )
    series = np.random.default_rng(8).normal(size=(7, 8, 2)).astype("float32")
    past, future = series[:, :5], series[:, 5:]
    inputs = dict(
        zip(sorted(model.input), (past, kt.data.previous_values(past, future)), strict=True)
    )
    return Kind(model, inputs, future, keras.losses.MeanSquaredError())


def direct_series_forecaster():
    model = kt.models.direct_series_forecaster(
        2, past_length=6, future_length=3, patch_length=2, num_heads=2, hidden_dim=8
    )
    series = np.random.default_rng(8).normal(size=(7, 9, 2)).astype("float32")
    return Kind(model, series[:, :6], series[:, 6:], keras.losses.MeanSquaredError())


KINDS = {
    function.__name__: function
    for function in (
        gpt,
        packed,
        transformer,
        recurrent_seq2seq,
        bert,
        vit,
        classifier,
        token_classifier,
        sequence_classifier,
        series_forecaster,
        direct_series_forecaster,
    )
}


def take(nest, rows):
    """Some of the examples."""
    return keras.tree.map_structure(lambda array: array[rows], nest)
