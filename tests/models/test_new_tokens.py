"""New tokens for translators: old logits, new rows, decoding, training, saving."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import randomize, to_numpy

SOURCE_V, V = 29, 23
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11, "dropout": 0.0}
SHARED = {
    "tied": {},
    "tied with bias": {"output_bias": True},
    # As in Marian and Firefox: the last id is padding and start.
    "last id pads": {
        "output_bias": True,
        "padding_id": V - 1,
        "start_is_padding": True,
        "decoder_recurrence": "ssru",
    },
}
APART = {
    "two vocabularies": {"target_vocabulary_size": V},
    "two vocabularies with bias": {"target_vocabulary_size": V, "output_bias": True},
    "untied": {"target_vocabulary_size": V, "share_embeddings": False},
    "untied with bias": {
        "share_embeddings": False,
        "output_bias": True,
        "target_vocabulary_size": V,
    },
}
SOURCES, TARGETS = [[5, 9, 20, 4], [7, 3, 3, 8]], [[2, 4, 17], [2, 2, 6]]


def make(name):
    size = SOURCE_V if name in APART else V
    return randomize(kt.models.transformer(size, **{**SMALL, **{**SHARED, **APART}[name]}))


def recurrent():
    return randomize(kt.models.recurrent_seq2seq(V, cell="gru", hidden_dim=8, dropout=0.0))


def logits_of(model, sources=SOURCES, targets=TARGETS):
    ids = {"source_ids": np.array(sources), "target_ids": np.array(targets)}
    return to_numpy(model(ids))


def rows_of(model, name):
    return to_numpy(model.get_layer(name).embeddings)


@pytest.mark.parametrize("initializer", ["random", "mean"])
@pytest.mark.parametrize("name", [*SHARED, *APART])
def test_the_old_logits_stay(name, initializer):
    model = make(name)
    more = kt.models.with_new_tokens(model, 5, initializer=initializer)
    logits = logits_of(more)
    assert logits.shape == (2, 3, V + 5)
    np.testing.assert_allclose(logits[..., :V], logits_of(model), atol=1e-5)
    assert more.name == model.name
    # New ids are read and written.
    assert np.isfinite(logits_of(more, [[V + 4, 3]], [[2, V + 4]])).all()
    changed = logits_of(more, targets=[[2, V + 1, 17], [2, V, 6]])
    assert (np.abs(changed - logits)[:, 1:] > 1e-6).any(axis=(1, 2)).all()
    shared = {layer.name for layer in more.layers} & {"encoder", "decoder"}
    assert all(more.get_layer(part) is model.get_layer(part) for part in shared)


def test_a_recurrent_translator():
    model = recurrent()
    more = kt.models.with_new_tokens(model, 3)
    np.testing.assert_allclose(logits_of(more)[..., :V], logits_of(model), atol=1e-5)


@pytest.mark.parametrize("name", [*SHARED, *APART])
def test_rows_of_the_mean(name):
    """The logit of a new token is the mean of the old ones, padding aside."""
    model = make(name)
    more = kt.models.with_new_tokens(model, 2, initializer="mean")
    padding = SHARED.get(name, {}).get("padding_id", 0)
    real = [i for i in range(V) if i != padding]
    logits = logits_of(more)
    expected = logits[..., real].mean(-1)
    for index in (V, V + 1):
        np.testing.assert_allclose(logits[..., index], expected, atol=1e-5)
    source = "source_embedding" if name in APART else "token_embedding"
    old = rows_of(model, source)
    real = [i for i in range(len(old)) if i != padding]
    np.testing.assert_allclose(rows_of(more, source)[-1], old[real].mean(0), atol=1e-6)


def test_random_rows_are_drawn_from_the_initializer():
    model = randomize(kt.models.transformer(V, **{**SMALL, "hidden_dim": 256}), stddev=1.0)
    new = rows_of(kt.models.with_new_tokens(model, 37), "token_embedding")[V:]
    assert abs(new.std() * 16 - 1) < 0.05
    assert len(np.unique(new)) > 0.99 * new.size


@pytest.mark.parametrize("counts", [(4, 0), (0, 4), (3, 6)])
def test_numbers_for_each_side(counts):
    model = make("untied with bias")
    more = kt.models.with_new_tokens(model, *counts)
    logits = logits_of(more)
    assert logits.shape[-1] == V + counts[1]
    np.testing.assert_allclose(logits[..., :V], logits_of(model), atol=1e-5)
    assert len(rows_of(more, "source_embedding")) == SOURCE_V + counts[0]
    assert len(rows_of(more, "target_embedding")) == V + counts[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last id pads", "two vocabularies with bias", "untied"])
def test_saving_and_decoding(name, tmp_path):
    more = kt.models.with_new_tokens(make(name), 3)
    more.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits_of(loaded), logits_of(more))
    start = SHARED.get(name, {}).get("padding_id", 2)
    sources, options = [[5, V + 1, 3], [V + 2, 3]], {"start_id": start, "max_new_tokens": 4}
    options |= {"prefix_ids": [[V], [V + 2]], "banned_ids": [0, start]}
    ids = kt.decoding.generate(more, sources, **options)
    assert ids[:, 0].tolist() == [V, V + 2]
    # Cached decoding is the argmax of the whole pass.
    for row, source in zip(ids, sources, strict=True):
        logits = logits_of(more, [source], [[start, *row[:-1]]])[0]
        logits[:, [0, start]] = -np.inf
        assert logits[1:].argmax(-1).tolist() == row[1:].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tied", "last id pads", "two vocabularies", "untied with bias"])
def test_new_words_are_learned(name):
    """Plain `fit`: a new source word is translated to a new target word."""
    padding = SHARED.get(name, {}).get("padding_id", 0)
    start = padding if padding else 2
    more = kt.models.with_new_tokens(make(name), 2)
    new_source = SOURCE_V if name in APART else V
    sources = np.array([[new_source, 3], [new_source + 1, 3], [5, 3], [6, 3]])
    labels = np.array([[V, 3], [V + 1, 3], [9, 3], [10, 3]])
    targets = np.concatenate([np.full((4, 1), start), labels[:, :-1]], axis=1)
    more.compile(keras.optimizers.Adam(0.02), kt.training.MaskedCrossentropy(padding_id=padding))
    more.fit({"source_ids": sources, "target_ids": targets}, labels, epochs=150, verbose=0)
    ids = kt.decoding.generate(
        more, sources.tolist(), max_new_tokens=3, start_id=start, stop_ids=(3,)
    )
    assert ids.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("tied", (0,), "`num_tokens` must be a positive integer. Received: num_tokens=0"),
        ("tied", (2, 3), "`num_target_tokens` must be None for a model with one .*tokens=3"),
        ("untied", (-1, 2), "`num_tokens` must be an integer >= 0. Received: num_tokens=-1"),
        ("untied", (0,), "`num_tokens` must be a positive integer"),
        ("untied", (0, 0), "`num_tokens` must be a positive integer"),
        ("untied", (2, 1.5), "`num_target_tokens` must be an integer >= 0.*=1.5"),
        ("tied", (2, None, "zeros"), "`initializer` must be one of .*initializer='zeros'"),
    ],
)
def test_messages(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.models.with_new_tokens(make(name), *arguments)


def test_other_models():
    message = "`model` must be a language model or a translator.* Received: model="
    for other in ("gpt", kt.models.vit(8, 4, 3, 1, 2, 8, 8)):
        with pytest.raises(ValueError, match=message):
            kt.models.with_new_tokens(other, 2)
