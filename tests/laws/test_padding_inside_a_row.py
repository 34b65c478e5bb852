"""A padding id inside a row takes a position and is hidden: decoding treats it as the model does.

Law 3 is about padding at the ends; here it stands in prompts and sources, and is generated.
"""

import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.decoding.reference import padded
from tests.harness import to_numpy
from tests.laws.models import V, get_case, make_case

# Lists are taken as they are; the second begins with padding, the last ends with it.
PROMPTS = [[5, 0, 7, 9], [0, 6, 8], [4, 0, 0, 5, 11, 12, 0]]
START = 2


def log_probs_of(case, rows, source=None):
    logits = to_numpy(case(rows, source)).astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def always_padding(logits, uniform):
    return ops.zeros_like(uniform, dtype="int32")


def check(case, prompts, **options):
    """Every token, alone and in a batch, against the uncached model."""
    together = kt.decoding.generate(
        case.model, prompts, 3, return_log_probs=True, start_id=START, **options
    )
    streamed = kt.decoding.stream(
        case.model, prompts, max_new_tokens=3, tokens_per_call=1, start_id=START, **options
    )
    streamed = np.stack(list(streamed), axis=1)
    for row, prompt in enumerate(prompts):
        read, source = ([START], [prompt]) if case.is_translator else (prompt, None)
        first = 0 if case.is_translator else len(prompt)
        new = together.ids[row, first : first + 3].tolist()
        assert streamed[row].tolist() == new
        found = log_probs_of(case, [read + new], source)[0]
        for step, token in enumerate(new):
            expected = found[len(read) + step - 1]
            if not options:
                assert expected[token] >= expected.max() - 1e-4
            actual = together.log_probs[row, first + step]
            np.testing.assert_allclose(actual, expected[token], atol=1e-4)
    return together


@pytest.mark.parametrize(
    "name", ["gpt", "gpt_linear_bias_banded", "transformer", "ssru", "recurrent_bahdanau_untied"]
)
def test_generation(name):
    check(get_case(name), PROMPTS)


@pytest.mark.parametrize("name", ["transformer", "ssru"])
def test_padding_that_is_generated(name):
    check(get_case(name), PROMPTS[:1], sampler=always_padding)


@pytest.mark.parametrize("name", ["gpt", "gpt_linear_bias_banded"])
def test_in_one_go_and_in_two(name):
    model = get_case(name).model
    for sampler in ("greedy", always_padding):
        options = {"sampler": sampler, "return_log_probs": True}
        whole = kt.decoding.generate(model, PROMPTS[:1], 4, **options)
        begun = kt.decoding.generate(model, PROMPTS[:1], 2, **options).ids.tolist()
        rest = kt.decoding.generate(model, begun, 2, **options)
        assert rest.ids.tolist() == whole.ids.tolist()
        new = slice(len(begun[0]), None)
        np.testing.assert_allclose(rest.log_probs[0, new], whole.log_probs[0, new], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_an_array_loses_the_padding_at_its_ends_alone(name):
    case = get_case(name)
    rows = [[5, 0, 7, 9], [4, 0, 0, 5, 11, 12]]
    expected = check(case, rows).ids
    right = padded(rows, 8)
    left = np.stack([np.roll(row, 8 - len(ids)) for row, ids in zip(right, rows, strict=True)])
    for array in (right, left, ops.convert_to_tensor(right)):
        ids = kt.decoding.generate(case.model, array, 3, start_id=START)
        np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("name", ["gpt", "transformer", "ssru"])
def test_beam_search(name):
    case = get_case(name)
    options = {"start_id": START, "end_id": 3, "num_beams": 4, "num_return": 4, "max_length": 3}
    options["min_length"] = 2
    options["banned_ids"] = [token for token in range(V) if token not in (0, 3, 7)]
    result = kt.decoding.beam_search(case.model, PROMPTS, length_penalty=0.0, **options)
    num_generated = 0
    for row, prompt in enumerate(PROMPTS):
        read, source = ([START], [prompt]) if case.is_translator else (prompt, None)
        for ids, score in zip(result.ids[row].tolist(), result.scores[row], strict=True):
            length = ids.index(3) + 1 if 3 in ids else 3
            num_generated += 0 in ids[: length - 1]
            found = log_probs_of(case, [read + ids], source)[0, len(read) - 1 :]
            expected = found[np.arange(length), ids[:length]].sum()
            np.testing.assert_allclose(score, expected, atol=1e-4)
    assert num_generated  # hypotheses with a padding id inside


def test_what_a_translation_is_forced_to_begin_with():
    case = make_case("transformer")
    prefix, sources = [5, 0, 7], [[5, 0, 7, 3]]
    result = kt.decoding.beam_search(
        case.model, sources, START, 3, 1, 0.0, 2, prefix_ids=prefix, return_alignments=True
    )
    ids = result.ids[0, 0].tolist()
    length = ids.index(3) if 3 in ids else len(ids)
    assert ids[:3] == prefix
    found = log_probs_of(case, [[START, *ids]], sources)[0]
    expected = found[np.arange(3, length), ids[3:length]].sum()
    np.testing.assert_allclose(result.scores[0, 0], expected, atol=1e-4)
    assert result.alignments.shape == (1, 1, len(ids), 4)
    assert not result.alignments[0, 0, :, 1].any()  # the source's padding
    np.testing.assert_allclose(result.alignments.sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("start_is_padding", [False, True])
def test_translations_that_start_with_padding(start_is_padding):
    case = make_case("transformer", start_is_padding=start_is_padding)
    ids, log_probs = kt.decoding.generate(
        case.model, PROMPTS[:1], 3, start_id=0, return_log_probs=True
    )
    found = log_probs_of(case, [[0, *ids[0]]], PROMPTS[:1])[0, np.arange(3), ids[0]]
    np.testing.assert_allclose(log_probs[0], found, atol=1e-4)
