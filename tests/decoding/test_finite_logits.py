"""What a model with NaN or infinite logits decodes is refused."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import to_numpy

V = 13
MESSAGE = "`model` must give finite logits. Received: NaN or infinity for the input at index"


def broken(model, value=np.nan, name="decoder"):
    weight = model.get_layer(name).weights[0]
    values = to_numpy(weight).copy()
    values.reshape(-1)[0] = value
    weight.assign(values)
    return model


def language_model():
    return kt.models.gpt(V, 1, 2, hidden_dim=8, intermediate_dim=12, max_length=9)


def translator():
    return kt.models.transformer(V, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sampler": kt.decoding.TopP(0.9), "seed": 1, "num_return": 2},
        {"return_log_probs": True},
    ],
)
def test_generate(options):
    prompts = [[5, 6, 7], [8]]
    kt.decoding.generate(language_model(), prompts, max_new_tokens=4, **options)
    with pytest.raises(ValueError, match=f"{MESSAGE} 0"):
        kt.decoding.generate(broken(language_model()), prompts, max_new_tokens=4, **options)


def test_an_infinite_embedding():
    model = language_model()
    embeddings = model.get_layer("token_embedding").weights[0]
    values = to_numpy(embeddings).copy()
    values[11] = np.inf
    embeddings.assign(values)
    with pytest.raises(ValueError, match=MESSAGE):
        kt.decoding.generate(model, [[5], [11]], max_new_tokens=2)


def test_stream():
    tokens = kt.decoding.stream(broken(language_model()), [[5, 6]], max_new_tokens=4)
    with pytest.raises(ValueError, match=MESSAGE):
        list(tokens)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_beam_search(num_beams):
    options = {"num_beams": num_beams, "max_length": 5}
    kt.decoding.beam_search(translator(), [[5, 6, 3], [7, 3]], **options)
    with pytest.raises(ValueError, match=f"{MESSAGE} 0"):
        kt.decoding.beam_search(broken(translator()), [[5, 6, 3], [7, 3]], **options)


def test_score():
    pairs = {"source_ids": [[5, 6, 3]], "target_ids": [[8, 3]]}
    assert np.isfinite(kt.decoding.score(translator(), pairs)).all()
    with pytest.raises(ValueError, match=f"{MESSAGE} 0"):
        kt.decoding.score(broken(translator()), pairs)
