"""Translations with their beam trees, logit lenses and saliency, as `kt.visualize` has them."""

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.explorer.fields import Fields
from tests.explorer import answers_of

PATH = "encoder/block_0/self_attention"


def ask(kind, name, /, **fields):
    return getattr(answers_of(kind), name)(Fields(fields))


@pytest.mark.parametrize("kind", ["translator", "ssru", "recurrent"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 1}, {"num_beams": 3, "length_penalty": 1.5}])
def test_a_translation_is_that_of_the_library(kind, options):
    text = "the cat sat on the mat"
    found = ask(kind, "translate", text=text, **options)
    translator = answers_of(kind).opened.pipeline
    with kt.visualize.record(translator.model, ()):  # step by step: nothing to compile
        expected = translator.translate(text, **{"num_beams": 4, **options}, num_return=1)[0]
    assert found["translation"] == expected.text and found["unablated"] is None
    best = found["tree"]["hypotheses"][0]
    assert best["score"] == pytest.approx(expected.score, abs=1e-5)
    assert found["run_data"]["output"]["target"] == expected.text
    written = found["run_data"]["writes"]
    assert [token for token in best["tokens"] if token != "</s>"] == written[:-1]
    scores = [one["score"] for one in found["tree"]["hypotheses"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
def test_a_translation_with_heads_off():
    ablate = {PATH: [0, 1], "decoder/block_1/cross_attention": [0, 1]}
    text = "where is the red house"
    found = ask("translator", "translate", text=text, ablate=ablate)
    translator = answers_of("translator").opened.pipeline
    assert found["unablated"] == translator.translate(text, num_beams=4)
    with kt.visualize.record(translator.model, (), ablate=ablate):
        assert found["translation"] == translator.translate(text, num_beams=4)
    assert found["run_data"]["ablate"] == ablate


def test_translations_out_of_range():
    with pytest.raises(ValueError, match="`num_beams` must be an integer from 1 to 8"):
        ask("translator", "translate", text="a cat", num_beams=9)
    with pytest.raises(ValueError, match="`length_penalty` must be a number from 0 to 2"):
        ask("translator", "translate", text="a cat", length_penalty=3)
    with pytest.raises(ValueError, match="`translate` needs a translator"):
        ask("encoder", "translate", text="a cat")


@pytest.mark.parametrize("kind", ["language_model", "translator", "ssru", "encoder"])
def test_the_lens_of_a_run_is_that_of_the_library(kind):
    run = ask(kind, "run", text="the cat sat on the mat")
    found = ask(kind, "lens", run=run["run"])
    opened = answers_of(kind).opened
    inputs = answers_of(kind).runs.get(run["run"]).inputs
    expected = kt.visualize.logit_lens(opened.model, inputs).data
    assert len(found["layers"]) == len(found["top"]) == 3
    ids = [[[token["id"] for token in best] for best in layer] for layer in found["top"]]
    assert ids == expected["ids"].tolist()
    shares = [[[t["probability"] for t in best] for best in layer] for layer in found["top"]]
    np.testing.assert_allclose(shares, expected["probabilities"], atol=1e-5)
    last = [best[0]["id"] for best in run["output"]["top"]]
    assert [best[0] for best in ids[-1]] == last


def test_a_lens_sees_the_heads_switched_off():
    run = ask("translator", "run", text="the old dog", target="a cat", ablate={PATH: [0, 1]})
    found = ask("translator", "lens", run=run["run"])
    for one, other in zip(found["top"][-1], run["output"]["top"], strict=True):
        assert one[0]["probability"] == pytest.approx(other[0]["probability"], abs=1e-5)


def test_what_has_no_lens():
    for kind in ("classifier", "recurrent"):
        run = ask(kind, "run", text="the cat")["run"]
        with pytest.raises(ValueError, match="`model` must predict tokens layer by layer"):
            ask(kind, "lens", run=run)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["language_model", "translator", "recurrent", "encoder"])
def test_saliency_is_that_of_the_library(kind):
    run = ask(kind, "run", text="the cat sat on the mat")
    for token_id in (None, 0, 7):
        found = ask(kind, "saliency", run=run["run"], position=1, token_id=token_id)
        opened, kept = answers_of(kind).opened, answers_of(kind).runs.get(run["run"])
        expected = kt.visualize.saliency(opened.model, kept.inputs, 1, token_id).data["saliency"]
        side = "target" if kind == "language_model" else "source"
        np.testing.assert_allclose(found["scores"], expected[side], rtol=1e-5)
        assert len(found["scores"]) == len(found["tokens"])
        if "target_scores" in found:
            assert len(found["target_scores"]) == len(found["target_tokens"])
            assert not np.any(found["target_scores"][2:])  # no token sees those after it
        best = run["output"]["top"][1][0]["id"]
        assert found["token"]["id"] == (best if token_id is None else token_id)


def test_saliency_of_what_it_is_not_for():
    run = ask("translator", "run", text="the old dog", target="a cat", ablate={PATH: [0]})["run"]
    with pytest.raises(ValueError, match="needs a run in which no heads are switched off"):
        ask("translator", "saliency", run=run, position=0)
    with pytest.raises(ValueError, match="`position` must be an integer from 0 to"):
        ask("translator", "saliency", run=run, position=50)
    picture = ask("vision", "image", example=0)["run"]
    with pytest.raises(ValueError, match="needs a model that reads tokens"):
        ask("vision", "saliency", run=picture, position=0)
    found = ask(
        "classifier", "saliency", run=ask("classifier", "run", text="a dog")["run"], position=0
    )
    assert len(found["scores"]) == len(found["tokens"]) and found["token"] is None
