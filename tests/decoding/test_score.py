"""Scores of given targets: against the model's own logits, and against what beam search reports."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import START, lively_case
from tests.harness import to_numpy, token_ids
from tests.laws.models import NAMES, SOURCE_V, TRANSLATORS, V

LENGTHS = (1, 2, 3, 5, 7, 2, 11)


def rows(lengths, vocabulary_size, seed):
    ids = token_ids(len(lengths), max(lengths), vocabulary_size=vocabulary_size, seed=seed, low=4)
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def inputs_of(name):
    targets = rows(LENGTHS, V, seed=1)
    if name not in TRANSLATORS:
        return {"prompt_ids": rows(LENGTHS[::-1], V, seed=2), "target_ids": targets}
    size = SOURCE_V if "target_vocabulary_size" in TRANSLATORS[name] else V
    return {"source_ids": rows(LENGTHS[::-1], size, seed=2), "target_ids": targets}


def log_softmax(logits):
    logits = logits.astype("float64")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def one_by_one(case, inputs, banned_ids=()):
    """The log-probabilities of each target's tokens, from a pass of its own."""
    found = []
    contexts = inputs["source_ids"] if case.is_translator else inputs["prompt_ids"]
    for context, target in zip(contexts, inputs["target_ids"], strict=True):
        if case.is_translator:
            logits = to_numpy(case([[START, *target[:-1]]], [context]))[0]
        else:
            logits = to_numpy(case([[*context, *target[:-1]]]))[0, len(context) - 1 :]
        logits[:, list(banned_ids)] = -np.inf
        found.append(log_softmax(logits)[np.arange(len(target)), target])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_models_own_logits(name):
    case, inputs = lively_case(name), inputs_of(name)
    expected = one_by_one(case, inputs)
    each = kt.decoding.score(case.model, inputs, batch_size=3, per_token=True)
    for found, values in zip(each, expected, strict=True):
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, values, rtol=5e-5, atol=1e-4)
    sums = kt.decoding.score(case.model, inputs)
    assert sums.dtype == "float32" and sums.shape == (len(LENGTHS),)
    np.testing.assert_allclose(sums, [values.sum() for values in expected], rtol=5e-5, atol=2e-4)


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_beam_search_reports_the_same_scores(name, renormalize):
    case, inputs = lively_case(name), inputs_of(name)
    contexts = inputs["source_ids" if case.is_translator else "prompt_ids"]
    bans = {"banned_ids": (0, 7, 9), "renormalize": renormalize}
    # An id of 0 would be taken for the padding behind a hypothesis.
    result = kt.decoding.beam_search(
        case.model, contexts, num_return=3, max_length=6, length_penalty=0.0, **bans
    )
    hypotheses = [
        (b, row[: np.flatnonzero(row)[-1] + 1].tolist(), value)
        for b, (ids, scores) in enumerate(zip(result.ids, result.scores, strict=True))
        for row, value in zip(ids, scores, strict=True)
        if np.isfinite(value)
    ]
    assert len(hypotheses) > len(contexts)
    key = "source_ids" if case.is_translator else "prompt_ids"
    pairs = {
        key: [contexts[b] for b, _, _ in hypotheses],
        "target_ids": [row for _, row, _ in hypotheses],
    }
    found = kt.decoding.score(case.model, pairs, **bans)
    np.testing.assert_allclose(found, [value for *_, value in hypotheses], atol=1e-4)


def test_marians_start_is_a_token_though_it_is_padding():
    model = kt.models.transformer(
        V, None, 1, 2, 8, 11, padding_id=0, start_is_padding=True, name="starts_with_padding"
    )
    pairs = {"source_ids": [[5, 6, 3], [7, 3]], "target_ids": [[8, 3], [9, 10, 3]]}
    found = kt.decoding.score(model, pairs, start_id=0)
    result = kt.decoding.beam_search(
        model, pairs["source_ids"], 0, banned_ids=(0,), max_length=4, length_penalty=0.0
    )
    best = [row[: np.flatnonzero(row)[-1] + 1].tolist() for row in result.ids[:, 0]]
    again = kt.decoding.score(model, {**pairs, "target_ids": best}, start_id=0)
    np.testing.assert_allclose(again, result.scores[:, 0], atol=1e-4)
    assert np.isfinite(found).all()


def test_arrays_with_padding_on_either_side():
    case = lively_case("transformer")
    inputs = inputs_of("transformer")
    expected = kt.decoding.score(case.model, inputs)
    for side in ("pre", "post"):
        arrays = {
            key: keras.utils.pad_sequences(rows, padding=side) for key, rows in inputs.items()
        }
        np.testing.assert_allclose(kt.decoding.score(case.model, arrays), expected, atol=1e-5)


def test_errors():
    case, lm = lively_case("transformer"), lively_case("gpt")
    pairs = {"source_ids": [[5, 3]], "target_ids": [[6, 3]]}
    score = kt.decoding.score
    for call, message in (
        (lambda: score(case.model, {"target_ids": [[5]]}), "`inputs` must be .*'source_ids', 't"),
        (lambda: score(case.model, [[5]]), "`inputs` must be a dict .* Received: list"),
        (lambda: score(lm.model, pairs), "`inputs` must be a dict of .*'prompt_ids'"),
        (lambda: score(case.model, {**pairs, "target_ids": [[5], [6]]}), "`target_ids` must have"),
        (lambda: score(case.model, {**pairs, "target_ids": [[]]}), "`target_ids` must not have"),
        (
            lambda: score(case.model, {**pairs, "target_ids": [[V]]}),
            "`target_ids` must contain ids",
        ),
        (
            lambda: score(case.model, {**pairs, "source_ids": [[V]]}),
            "`source_ids` must contain ids",
        ),
        (lambda: score(case.model, pairs, start_id=V), "`start_id` must be"),
        (lambda: score(case.model, pairs, batch_size=0), "`batch_size` must be"),
        (lambda: score(case.model, pairs, banned_ids=[V], renormalize=True), "`banned_ids` must"),
        (
            lambda: score(case.model, pairs, banned_ids=[6], renormalize=True),
            r"must not contain banned ids .* Received: \[6\] in row 0",
        ),
        (
            lambda: score(lm.model, {"prompt_ids": [[5] * 30], "target_ids": [[6] * 9]}),
            "`target_ids` must fit the model's positions. Received: row 0 of length 38",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
