"""Samplers and filters: the distributions they claim, and the same draws on every backend."""

import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.decoding.random_numbers import RandomNumbers
from tests.decoding.reference import lively_case
from tests.harness import normal, to_numpy

V = 11
LOGITS = 0.8 * normal(1, V, seed=3)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def plain_top_k(probabilities, k):
    kept = np.argsort(-probabilities)[:k]
    return np.where(np.isin(np.arange(len(probabilities)), kept), probabilities, 0.0)


def plain_top_p(probabilities, p):
    kept, total = [], 0.0
    for token in np.argsort(-probabilities):
        if total >= p:
            break
        kept.append(token)
        total += probabilities[token]
    return np.where(np.isin(np.arange(len(probabilities)), kept), probabilities, 0.0)


def plain_min_p(probabilities, p):
    return np.where(probabilities >= p * probabilities.max(), probabilities, 0.0)


def expected_distribution(temperature=1.0, top_k=None, top_p=None, min_p=None):
    probabilities = softmax(LOGITS[0].astype("float64") / temperature)
    for plain, value in ((plain_top_k, top_k), (plain_top_p, top_p), (plain_min_p, min_p)):
        if value is not None:
            probabilities = plain(probabilities, value)
            probabilities = probabilities / probabilities.sum()
    return probabilities


SAMPLERS = {
    "random": (kt.decoding.RandomSampler(), {}),
    "hot": (kt.decoding.RandomSampler(1.8), {"temperature": 1.8}),
    "top_k": (kt.decoding.TopK(4), {"top_k": 4}),
    "top_k_cold": (kt.decoding.TopK(6, temperature=0.5), {"top_k": 6, "temperature": 0.5}),
    "top_p": (kt.decoding.TopP(0.7), {"top_p": 0.7}),
    "top_p_hot": (kt.decoding.TopP(0.8, temperature=2.0), {"top_p": 0.8, "temperature": 2.0}),
    "min_p": (kt.decoding.MinP(0.2), {"min_p": 0.2}),
    "all": (
        kt.decoding.RandomSampler(1.3, top_k=8, top_p=0.9, min_p=0.05),
        {"temperature": 1.3, "top_k": 8, "top_p": 0.9, "min_p": 0.05},
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_follow_the_distribution(name):
    """Chi-square: at these seeds, the statistic of a right sampler passes at 0.1 %."""
    from scipy import stats

    sampler, arguments = SAMPLERS[name]
    expected = expected_distribution(**arguments)
    count = 4000
    uniform = RandomNumbers(7, range(count)).first(1)[:, 0]
    tokens = to_numpy(sampler(ops.tile(LOGITS, (count, 1)), ops.convert_to_tensor(uniform)))
    observed = np.bincount(tokens, minlength=V)
    assert not observed[expected == 0].any()
    possible = expected > 0
    assert 1 < possible.sum()
    p_value = stats.chisquare(observed[possible], count * expected[possible]).pvalue
    assert p_value > 0.001
    others = np.roll(expected[possible], 1)  # the test does notice another distribution
    assert stats.chisquare(observed[possible], count * others).pvalue < 0.001


def test_draw_reaches_the_last_token_and_no_further():
    logits = ops.log(ops.convert_to_tensor([[0.25, 0.25, 0.5]] * 4))
    uniform = ops.convert_to_tensor(np.float32([0.0, 0.24, 0.51, 1 - 2.0**-23]))
    assert to_numpy(kt.decoding.draw(logits, uniform)).tolist() == [0, 0, 2, 2]
    flat = ops.zeros((1, 4001))
    assert int(kt.decoding.draw(flat, ops.convert_to_tensor([np.float32(1 - 2.0**-23)]))[0]) < 4001


def test_repetition_penalty():
    logits = ops.convert_to_tensor([[2.0, -2.0, 1.0, -1.0]])
    seen = kt.decoding.used_ids(ops.convert_to_tensor([[0, 1, -1, 0]]), 4)
    assert to_numpy(seen).tolist() == [[True, True, False, False]]
    actual = to_numpy(kt.decoding.penalize_repetition(logits, seen, 4.0))
    np.testing.assert_allclose(actual, [[0.5, -8.0, 1.0, -1.0]])


@pytest.mark.parametrize(
    ("size", "history", "length", "banned"),
    [
        (2, [1, 2, 3, 1, 0, 0], 4, [2]),
        (2, [1, 2, 1, 3, 1, 0], 5, [2, 3]),
        (3, [1, 2, 3, 1, 2, 0], 5, [3]),
        (3, [1, 2, 3, 4, 2, 0], 5, []),
        (1, [4, 2, 0, 0, 0, 0], 2, [2, 4]),
        (4, [1, 2, 0, 0, 0, 0], 2, []),
        (2, [-1, -1, 4, 4, 0, 0], 4, [4]),
        (2, [-1, -1, 4, 0, 0, 0], 3, []),
        (0, [1, 1, 1, 1, 1, 1], 6, []),
    ],
)
def test_repeated_ngrams(size, history, length, banned):
    logits = ops.zeros((2, 5))
    rows = ops.convert_to_tensor(np.array([history, [-1] * 6], "int32"))
    for count in (length, ops.convert_to_tensor(length)):
        result = to_numpy(kt.decoding.ban_repeated_ngrams(logits, rows, count, size))
        assert np.flatnonzero(result[0] < -1e29).tolist() == banned
        assert not result[1].any()


# === In generate ===

PROMPTS = [[5, 9], [8, 8, 12, 4, 20, 7], [17]]
SAMPLER = kt.decoding.TopP(0.95, temperature=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "gpt"])
def test_a_seed_gives_the_same_text_alone_and_in_a_batch(name):
    case = lively_case(name)
    options = {"max_new_tokens": 9, "sampler": SAMPLER}
    batch = kt.decoding.generate(case.model, PROMPTS, seed=3, **options)
    again = kt.decoding.generate(case.model, PROMPTS, seed=3, **options)
    np.testing.assert_array_equal(batch, again)
    other = kt.decoding.generate(case.model, PROMPTS, seed=4, **options)
    assert not np.array_equal(batch, other)
    alone = kt.decoding.generate(case.model, PROMPTS[:1], seed=3, **options)
    np.testing.assert_array_equal(alone[0], batch[0, : alone.shape[1]])


@pytest.mark.slow
def test_several_sequences_of_a_prompt():
    case = lively_case("gpt")
    options = {"max_new_tokens": 5, "sampler": SAMPLER, "seed": 1}
    several = kt.decoding.generate(case.model, PROMPTS, num_return=3, **options)
    assert several.shape == (3, 3, 11)
    for prompt, rows in zip(PROMPTS, several, strict=True):
        assert (rows[:, : len(prompt)] == prompt).all()
        assert len({tuple(row) for row in rows.tolist()}) > 1
    greedy = kt.decoding.generate(case.model, PROMPTS, max_new_tokens=5, num_return=2)
    np.testing.assert_array_equal(greedy[:, 0], greedy[:, 1])
    translations = kt.decoding.generate(
        lively_case("transformer").model, PROMPTS, num_return=2, **options
    )
    assert translations.shape == (3, 2, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "gpt"])
def test_log_probs_are_the_models_own(name):
    case = lively_case(name)
    result = kt.decoding.generate(
        case.model,
        PROMPTS,
        max_new_tokens=4,
        sampler=SAMPLER,
        seed=2,
        banned_ids=(0,),
        return_log_probs=True,
    )
    for prompt, ids, log_probs in zip(PROMPTS, result.ids, result.log_probs, strict=True):
        row = np.array([[2, *ids[:4]]]) if case.is_translator else ids[None, : len(prompt) + 4]
        logits = to_numpy(case(row, [prompt]))[0]
        expected = np.log(softmax(logits))[np.arange(row.shape[1] - 1), row[0, 1:]][-4:]
        start = 0 if case.is_translator else len(prompt)
        np.testing.assert_allclose(log_probs[start : start + 4], expected, atol=1e-4)
        assert not log_probs[:start].any() and not log_probs[start + 4 :].any()


@pytest.mark.slow
def test_options_that_avoid():
    case = lively_case("gpt")
    options = {"max_new_tokens": 12, "banned_ids": (0,)}
    free = kt.decoding.generate(case.model, PROMPTS, **options)
    unlike = kt.decoding.generate(case.model, PROMPTS, no_repeat_ngram_size=1, **options)
    for prompt, row in zip(PROMPTS, unlike, strict=True):
        new = np.trim_zeros(row)[len(prompt) :]
        assert len(set(new)) == len(new) == 12 and not set(new) & set(prompt)
    penalized = kt.decoding.generate(case.model, PROMPTS, repetition_penalty=5.0, **options)
    assert not np.array_equal(penalized, free)
    stop = int(free[0, len(PROMPTS[0])])  # what comes first
    options |= {"stop_ids": (stop,)}
    assert len(np.trim_zeros(kt.decoding.generate(case.model, PROMPTS[:1], **options)[0])) == 3
    later = kt.decoding.generate(case.model, PROMPTS[:1], min_new_tokens=4, **options)[0]
    assert stop not in later[2:6] and len(np.trim_zeros(later)) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "gpt"])
def test_streaming_gives_what_generate_gives(name):
    case = lively_case(name)
    options = {"max_new_tokens": 9, "sampler": SAMPLER, "seed": 3, "stop_ids": (7, 3, 9)}
    whole = kt.decoding.generate(case.model, PROMPTS, **options)
    pieces = np.stack(list(kt.decoding.stream(case.model, PROMPTS, **options)), axis=1)
    for prompt, row, new in zip(PROMPTS, whole, pieces, strict=True):
        start = 0 if case.is_translator else len(prompt)
        wanted = np.pad(row[start:], (0, 9))[: len(new)]
        np.testing.assert_array_equal(new, wanted)


def test_a_stream_checks_its_arguments_at_once():
    with pytest.raises(ValueError, match="`max_new_tokens` must be at least 1"):
        kt.decoding.stream(lively_case("gpt").model, PROMPTS, max_new_tokens=0)


@pytest.mark.parametrize("option", [{"num_return": 2}, {"return_log_probs": True}])
def test_a_stream_yields_one_sequence_per_prompt_without_log_probs(option):
    (name,) = option
    with pytest.raises(TypeError, match=rf"stream\(\) got an unexpected keyword argument '{name}'"):
        kt.decoding.stream(lively_case("gpt").model, PROMPTS, **option)


def test_more_room_than_at_first(monkeypatch):
    case = lively_case("gpt")
    options = {"max_new_tokens": 30, "sampler": SAMPLER, "seed": 3}
    expected = kt.decoding.generate(case.model, PROMPTS, **options)
    loop = kt.decoding.generate.__globals__["GenerationRun"].advance.__globals__
    monkeypatch.setitem(loop, "_FIRST_ROOM", 4)
    np.testing.assert_array_equal(kt.decoding.generate(case.model, PROMPTS, **options), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "nucleus"}, r"one of \['greedy', 'min_p', 'random', 'top_k', 'top_p'\] or"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` must be more than 0"),
        ({"no_repeat_ngram_size": -1}, "`no_repeat_ngram_size` must be at least 0"),
        ({"min_new_tokens": -1}, "`min_new_tokens` must be at least 0"),
        ({"num_return": 0}, "`num_return` must be at least 1"),
    ],
)
def test_messages(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.decoding.generate(lively_case("gpt").model, PROMPTS, **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kt.decoding.RandomSampler(0.0), "`temperature` must be more than 0"),
        (lambda: kt.decoding.TopK(0), "`top_k` must be at least 1. Received: top_k=0"),
        (lambda: kt.decoding.TopP(1.5), r"`top_p` must be in \(0, 1\]"),
        (lambda: kt.decoding.MinP(-0.1), r"`min_p` must be in \[0, 1\]"),
    ],
)
def test_messages_of_samplers(make, message):
    with pytest.raises(ValueError, match=message):
        make()
