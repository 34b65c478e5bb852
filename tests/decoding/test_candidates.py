"""Lexical shortlists: each row chooses among its own candidates, whatever the batch."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import START
from tests.decoding.test_beam_search import SOURCES, Plain
from tests.harness import to_numpy
from tests.laws.models import V, get_case, make_case

END = 3
CANDIDATES = [[3, 5, 6, 9, 14], [3, 4, 21, 22], [2, 3, 7, 9, 11, 12, 13, 20]]


def outside(row):
    return tuple(np.setdiff1d(np.arange(V), row).tolist())


@pytest.fixture(scope="module")
def case():
    return make_case("transformer")


@pytest.mark.slow
def test_beam_search_finds_the_best_of_each_row(case):
    options = {"num_beams": 2, "max_length": 7, "num_return": 2}
    result = kt.decoding.beam_search(case.model, SOURCES, candidate_ids=CANDIDATES, **options)
    for index, (source, row) in enumerate(zip(SOURCES, CANDIDATES, strict=True)):
        expected = Plain(case, source, [START], candidate_ids=row, **options)()
        for found, score, (expected_score, ids) in zip(
            result.ids[index], result.scores[index], expected, strict=True
        ):
            assert np.trim_zeros(found).tolist() == ids
            assert score == pytest.approx(expected_score, abs=1e-4)


OPTIONS = {
    "plain": {},
    "banned": {"banned_ids": (0, 5, 22)},
    "penalty": {"repetition_penalty": 1.7},
    "bigrams": {"no_repeat_ngram_size": 2},
    "long": {"min_new_tokens": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_greedy_is_that_of_the_vocabulary_without_the_rest(case, name):
    options = {"max_new_tokens": 7, "stop_ids": (END,), **OPTIONS[name]}
    together = kt.decoding.generate(case.model, SOURCES, candidate_ids=CANDIDATES, **options)
    for found, source, row in zip(together, SOURCES, CANDIDATES, strict=True):
        banned = (*options.get("banned_ids", ()), *outside(row))
        alone = kt.decoding.generate(case.model, [source], **{**options, "banned_ids": banned})
        assert np.trim_zeros(found, "b").tolist() == np.trim_zeros(alone[0], "b").tolist()


@pytest.mark.slow
def test_sampling_and_probabilities():
    case = get_case("gpt")
    prompts, row = [[5, 6], [7]], [4, 9, 17]
    result = kt.decoding.generate(
        case.model,
        prompts,
        max_new_tokens=6,
        sampler="random",
        seed=1,
        num_return=3,
        candidate_ids=[row, [8, 11]],
        return_log_probs=True,
    )
    assert set(result.ids[0, :, 2:8].ravel()) == set(row)
    assert set(result.ids[1, :, 1:7].ravel()) == {8, 11}
    whole = kt.decoding.generate(
        case.model, prompts, max_new_tokens=1, candidate_ids=[4, 9], return_log_probs=True
    )
    logits = to_numpy(case([[5, 6]]))[0, -1, [4, 9]].astype("float64")
    expected = logits.max() - np.log(np.exp(logits).sum())
    assert whole.log_probs[0, 2] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "candidate_ids, message",
    [
        ([[3, 4]], "`candidate_ids` must be a list of ids for the whole .*Received: 1 rows for a"),
        ([[3, 4], [3, 99], [3, 5]], r"`candidate_ids` must contain ids in the range \[0, 23\).*99"),
        # Neither is id 0 or 4 in 32 bits.
        ([3, 2**40], r"`candidate_ids` must contain ids in the range \[0, 23\).*1099511627776"),
        ([3, 2**32 + 4], r"`candidate_ids` must contain ids in the range \[0, 23\).*4294967300"),
        ([3, -1], r"`candidate_ids` must contain ids in the range \[0, 23\).*-1"),
        ([3, 5.7], r"`candidate_ids` must contain integers. Received: .*5.7"),
        ([[3, 4], [], [3, 5]], "`candidate_ids` must contain at least two ids.*0 .* in row 1"),
    ],
)
def test_what_is_refused(case, candidate_ids, message):
    with pytest.raises(ValueError, match=message):
        kt.decoding.generate(case.model, SOURCES, candidate_ids=candidate_ids)


def test_shortlist():
    shortlist = kt.decoding.LexicalShortlist([0, 0, 3, 4, 6], [9, 2, 7, 8, 9, 12], num_first=3)
    assert shortlist([[1, 3, 1], [0]]) == [[0, 1, 2, 7, 9, 12], [0, 1, 2]]
    shortlist.include_source = True
    assert shortlist([[2, 3]]) == [[0, 1, 2, 3, 8, 9, 12]]
    shortlist.multiple = 4
    assert shortlist([[2, 3], [0]]) == [[0, 1, 2, 3, 4, 8, 9, 12], [0, 1, 2, 3]]
    with pytest.raises(ValueError, match=r"`sources` must contain ids in the range \[0, 4\).*to 4"):
        shortlist([[4]])
    with pytest.raises(ValueError, match=r"`sources` must contain rows of int.*row 1 is .*5.7"):
        shortlist([[1], [5.7]])
    with pytest.raises(ValueError, match="`sources` must .*row 0 has ids from 1 to 1099511627776"):
        shortlist([[1, 2**40]])
    for offsets, ids, message in (
        ([0, 2, 1, 3], [5, 6, 7], "`offsets` must increase from 0"),
        ([0, 2], [5, 6, 7], "`offsets` must increase from 0 to the number of `ids`.*3 ids"),
        ([0, 1], [-2], "`ids` must be non-negative.*-2"),
        ([0, 1], [5.7], "`ids` must contain integers. Received: ids is .*5.7"),
        ([0, 0.5], [5], "`offsets` must contain integers. Received: offsets is .*0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            kt.decoding.LexicalShortlist(offsets, ids)


def test_scaled_logits():
    """All ids as candidates are no candidates."""
    model = get_case("transformer_t5").model
    options = {"max_new_tokens": 3, "return_log_probs": True}
    expected = kt.decoding.generate(model, SOURCES, **options)
    found = kt.decoding.generate(model, SOURCES, candidate_ids=list(range(V)), **options)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize")
@pytest.mark.parametrize("changed", ["quantized", "adapted", "activated"])
def test_output_matrix_that_is_more_than_a_matrix(changed):
    """All ids as candidates are no candidates, whatever has become of the dense layer."""
    model = make_case("transformer_untied_grouped").model
    if changed == "quantized":
        model.quantize("int8")
    elif changed == "adapted":
        model.get_layer("logits").enable_lora(2)
        model.get_layer("logits").lora_kernel_b.assign(np.full((2, V), 0.7, "float32"))
    else:
        model.get_layer("logits").activation = keras.activations.tanh
    options = {"max_new_tokens": 7, "return_log_probs": True}
    expected = kt.decoding.generate(model, SOURCES, **options)
    found = kt.decoding.generate(model, SOURCES, candidate_ids=list(range(V)), **options)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
