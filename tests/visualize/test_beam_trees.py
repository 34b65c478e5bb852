"""The tree is the search that `beam_search` runs: the same hypotheses and scores."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import enliven, lively_case
from tests.harness import to_numpy
from tests.visualize import figure_models as models

OPTIONS = [
    {"num_beams": 1, "max_length": 5},
    {"num_beams": 2, "length_penalty": 0.0, "max_length": 6},
    {"num_beams": 3, "length_penalty": 1.5, "max_length": 7},
    {"num_beams": 4, "early_stopping": True, "max_length": 5},
    {"num_beams": 3, "length_penalty": -1.0, "length_normalization": "length", "max_length": 6},
    {"num_beams": 3, "banned_ids": (0, 7, 11), "max_length": 5},
    {"num_beams": 2, "min_length": 4, "max_length": 6},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "banned_ids": (0,), "max_length": 6},
    {"num_beams": 2, "candidate_ids": (3, 5, 6, 9, 14, 21), "banned_ids": (6,), "max_length": 5},
    {"num_beams": 4, "forced_terms": [[7, 8, 7], [11]], "max_length": 7},
    {"num_beams": 3, "renormalize": True, "banned_ids": (0, 4), "max_length": 1},
]
CASES = {
    "transformer": {"num_beams": 4, "max_length": 7},
    "gpt": {"num_beams": 3, "length_penalty": 1.0, "max_length": 6},
    "ssru": {"num_beams": 2, "length_penalty": 0.0, "max_length": 6},
    "recurrent_luong_two_vocabularies": {"num_beams": 3, "max_length": 5},
    "gpt_linear_bias_banded": {"num_beams": 4, "banned_ids": (0,), "max_length": 5},
}


def check_search(case, source, **options):
    """The tree of a search against the search itself."""
    beams = options["num_beams"]
    options = {"num_return": beams, **options}
    data = kt.visualize.beam_tree(case.model, source, **options).data
    result = kt.decoding.beam_search(case.model, [source], **options)
    for rank, hypothesis in enumerate(data["hypotheses"]):
        row = result.ids[0, rank].tolist()
        length = hypothesis["length"]
        assert hypothesis["ids"] == row[:length] and not any(row[length:])
        assert hypothesis["score"] == pytest.approx(result.scores[0, rank], rel=1e-5, abs=1e-5)
    assert not np.isfinite(result.scores[0, len(data["hypotheses"]) :]).any()
    check_tree(data, beams, options["max_length"])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ids_and_scores_of_fifty_random_searches(name):
    case, generator = lively_case(name), np.random.default_rng(len(name))
    for _ in range(10):
        source = [*generator.integers(4, 23, generator.integers(1, 12)).tolist(), 3]
        check_search(case, source, **CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(OPTIONS)))
def test_ids_and_scores_under_all_options(index):
    check_search(lively_case("gpt"), [5, 9, 8, 3], **OPTIONS[index])


def check_tree(data, beams, max_length):
    """Each candidate continues one that stayed alive, and its sum is that of its path."""
    assert len(data["steps"]) <= max_length
    for step, candidates in enumerate(data["steps"]):
        assert len(candidates) <= 2 * beams
        totals = [candidate["total"] for candidate in candidates]
        assert totals == sorted(totals, reverse=True)
        states = [candidate["state"] for candidate in candidates]
        assert states.count("alive") <= beams
        for candidate in candidates:
            before = 0.0
            if step:
                parent = data["steps"][step - 1][candidate["parent"]]
                assert parent["state"] == "alive"
                before = parent["total"]
            assert candidate["total"] == pytest.approx(before + candidate["log_prob"], abs=1e-5)
            assert candidate["log_prob"] <= 1e-5
            if candidate["state"] == "finished":
                length = kt_penalty(step + 1, data)
                assert candidate["score"] == pytest.approx(candidate["total"] / length, abs=1e-5)
    scores = [hypothesis["score"] for hypothesis in data["hypotheses"]]
    assert scores == sorted(scores, reverse=True)
    for hypothesis in data["hypotheses"]:
        step, index = hypothesis["path"][-1]
        assert data["steps"][step][index]["state"] == "finished"
        assert len(hypothesis["path"]) == hypothesis["length"] == step + 1


def kt_penalty(length, data):
    alpha = data["length_penalty"]
    if data["length_normalization"] == "length":
        return length**alpha
    return ((5 + length) / 6) ** alpha


@pytest.mark.slow
def test_log_probabilities_are_the_models():
    model = enliven(models.translator())
    data = kt.visualize.beam_tree(model, [5, 9, 3], num_beams=2, max_length=4).data
    best = data["hypotheses"][0]
    inputs = {"source_ids": [[5, 9, 3]], "target_ids": [[2, *best["ids"][:-1]]]}
    scores = to_numpy(model({name: np.array(ids, "int32") for name, ids in inputs.items()}))[0]
    for (step, index), row in zip(best["path"], scores, strict=True):
        candidate = data["steps"][step][index]
        expected = row[candidate["id"]] - np.log(np.exp(row).sum())
        assert candidate["log_prob"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_a_translator_searches_with_its_own_options():
    texts = ["the cat sat on the mat", "a dog ran after the cat"]
    tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=40, model_type="bpe")
    translator = kt.Translator(enliven(models.translator(40)), tokenizer)
    data = kt.visualize.beam_tree(translator, "the cat", 3, num_return=3, max_new_tokens=6).data
    expected = translator.translate("the cat", num_beams=3, num_return=3, max_new_tokens=6)
    assert [one["text"] for one in data["hypotheses"]] == [one.text for one in expected]
    scores = [one["score"] for one in data["hypotheses"]]
    np.testing.assert_allclose(scores, [one.score for one in expected], atol=1e-5)
    assert data["source"][-1] == "<end>" or "s>" in data["source"][-1]
    check_tree(data, 3, 6)


@pytest.mark.slow
def test_a_text_generator_searches_from_a_prompt():
    texts = ["the cat sat on the mat", "a dog ran after the cat"]
    tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=40, model_type="bpe")
    model = enliven(kt.models.gpt(40, **models.SIZES))
    generator = kt.TextGenerator(model, tokenizer)
    options = {"max_length": 4, "num_return": 2}
    data = kt.visualize.beam_tree(generator, "the cat", 2, **options).data
    ids = tokenizer(["the cat"])
    expected = kt.decoding.beam_search(model, ids, num_beams=2, banned_ids=(0,), **options)
    best = data["hypotheses"][0]
    assert best["ids"] == expected.ids[0, 0, : best["length"]].tolist()
    assert best["score"] == pytest.approx(expected.scores[0, 0], abs=1e-5)
    assert data["source"][0].endswith("the")
    with pytest.raises(ValueError, match="`source` must be a string. Received: source=3"):
        kt.visualize.beam_tree(generator, 3)


@pytest.mark.slow
def test_tokens_and_a_forced_prefix():
    model = enliven(models.translator())
    options = {"max_length": 4, "prefix_ids": [7, 9], "tokens": {"target": models.Words()}}
    data = kt.visualize.beam_tree(model, [5, 3], 2, **options).data
    result = kt.decoding.beam_search(model, [[5, 3]], num_beams=2, max_length=4, prefix_ids=[7, 9])
    assert [7, 9, *data["hypotheses"][0]["ids"]] == np.trim_zeros(result.ids[0, 0], "b").tolist()
    first = data["steps"][0][0]
    assert first["token"] == models.AWKWARD[first["id"] % len(models.AWKWARD)]
    assert data["source"] == ["5", "3"]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([[5, 3], [6, 3]], {}, "`source` must be one row of ids"),
        ("a text", {}, "`source` must be one row of ids. Received: source='a text'"),
        ([5, 3], {"num_beams": 0}, "`num_beams` must be"),
        ([5, 99], {}, "`source_ids` must"),
    ],
)
def test_messages(source, options, message):
    with pytest.raises(ValueError, match=message):
        kt.visualize.beam_tree(models.translator(), source, **options)
    with pytest.raises(ValueError, match="`model` must be a Keras model, a Translator or a TextG"):
        kt.visualize.beam_tree("model", [5])
