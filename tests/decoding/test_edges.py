"""Arguments and numbers at their limits: right, or a ValueError that names them."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.decoding.reference import lively_case, uncached_greedy
from tests.harness import normal, to_numpy
from tests.laws.models import V, make_case

PROMPT = [[5, 9]]


def generate(name="gpt", max_new_tokens=3, **options):
    return kt.decoding.generate(lively_case(name).model, PROMPT, max_new_tokens, **options)


# === Filters ===


def kept(filtered):
    return (to_numpy(filtered) > -1e29).tolist()


def brute_force_top_p(logits, p):
    exponentials = np.exp(logits.astype("float64") - logits.max())
    probabilities = exponentials / exponentials.sum()
    found, total = np.zeros(len(logits), bool), 0.0
    for token in np.argsort(-probabilities, kind="stable"):
        if total >= p * (1.0 - 1e-6):
            break
        found[token] = True
        total += probabilities[token]
    return found.tolist()


ROWS = {
    "equal": np.zeros(50, "float32"),
    "all apart": normal(50),
    "few levels": np.round(normal(50, seed=1)),
    "one": np.float32([0.0] * 49 + [80.0]),
    "two": np.float32([1e30, 1e30, *[0.0] * 48]),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("p", [1e-9, 0.02, 0.5, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_fewest_and_of_equals_the_lower_ids(row, p):
    actual = kept(kt.decoding.keep_top_p(ops.convert_to_tensor(ROWS[row][None]), p))[0]
    assert actual == (brute_force_top_p(ROWS[row], p) if p < 1.0 else [True] * 50)
    if row == "equal" and p == 0.5:
        assert sum(actual) == 25


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("k", [1, 7, 49, 50, 1000])
def test_top_k_keeps_exactly_k(row, k):
    actual = kept(kt.decoding.keep_top_k(ops.convert_to_tensor(ROWS[row][None]), k))[0]
    order = np.argsort(-ROWS[row], kind="stable")[:k]
    assert actual == np.isin(np.arange(50), order).tolist()


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.3, 1.0])
def test_min_p_keeps_all_equals(p):
    for row in ROWS.values():
        actual = kept(kt.decoding.keep_min_p(ops.convert_to_tensor(row[None]), p))[0]
        probabilities = np.exp(row.astype("float64") - row.max())
        assert actual == (probabilities >= p * (1 - 1e-6)).tolist()


def test_as_in_transformers_where_nothing_is_equal():
    transformers = pytest.importorskip("transformers")
    import torch

    logits = normal(3, 40, seed=5) * 2
    chains = (
        (transformers.TopKLogitsWarper(7), lambda x: kt.decoding.keep_top_k(x, 7)),
        (transformers.TopPLogitsWarper(0.8), lambda x: kt.decoding.keep_top_p(x, 0.8)),
        (transformers.MinPLogitsWarper(0.1), lambda x: kt.decoding.keep_min_p(x, 0.1)),
        (
            transformers.TemperatureLogitsWarper(0.3),
            lambda x: kt.decoding.scale_temperature(x, 0.3),
        ),
    )
    theirs, ours = torch.tensor(logits), ops.convert_to_tensor(logits)
    for warper, filter_ in (*chains, *chains[::-1]):  # alone, and what comes of one after another
        assert kept(filter_(ops.convert_to_tensor(logits))) == kept(
            warper(None, torch.tensor(logits))
        )
        theirs, ours = warper(None, theirs), filter_(ours)
        assert kept(ours) == kept(theirs)


@pytest.mark.parametrize("temperature", [1e-45, 1e-6, 1.0, 1e6, 1e30])
def test_extreme_temperatures(temperature):
    logits = ops.convert_to_tensor([[3.0, 2.0, -4.0, 3.0, -1e30]])
    probabilities = to_numpy(ops.softmax(kt.decoding.scale_temperature(logits, temperature)))[0]
    exact = np.float64([3.0, 2.0, -4.0, 3.0, -np.inf]) - 3.0
    exact = np.exp(exact / temperature)
    np.testing.assert_allclose(probabilities, exact / exact.sum(), atol=1e-5)
    sampler = kt.decoding.RandomSampler(temperature)
    token = generate(sampler=sampler, max_new_tokens=1, seed=1, banned_ids=range(V - 1))[0, -1]
    assert token == V - 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kt.decoding.scale_temperature(x, 0.0), "`temperature` must be more than 0 and"),
        (lambda x: kt.decoding.scale_temperature(x, -1.0), "`temperature` .* temperature=-1.0"),
        (lambda x: kt.decoding.scale_temperature(x, np.inf), "`temperature` .* temperature=inf"),
        (lambda x: kt.decoding.scale_temperature(x, np.nan), "`temperature` .* temperature=nan"),
        (lambda x: kt.decoding.keep_top_k(x, 0), "`k` must be at least 1. Received: k=0"),
        (lambda x: kt.decoding.keep_top_p(x, 0.0), r"`p` must be in \(0, 1\]. Received: p=0.0"),
        (lambda x: kt.decoding.keep_top_p(x, 1.1), r"`p` must be in \(0, 1\]. Received: p=1.1"),
        (lambda x: kt.decoding.keep_min_p(x, -0.1), r"`p` must be in \[0, 1\]. Received: p=-0.1"),
        (lambda x: kt.decoding.ban_ids(x, [3]), r"`banned_ids` must be in the range \[0, 3\)"),
        (lambda x: kt.decoding.ban_ids(x, [-1]), r"`banned_ids` must be in the range \[0, 3\)"),
        (lambda x: kt.decoding.penalize_repetition(x, x > 0, np.inf), "`penalty` .* penalty=inf"),
        (lambda x: kt.decoding.RandomSampler(np.inf), "`temperature` .* temperature=inf"),
        (lambda x: kt.decoding.RandomSampler("hot"), "`temperature` .* temperature=hot"),
        (lambda x: kt.decoding.TopK(2.5), "`top_k` must be an integer. Received: top_k=2.5"),
        (lambda x: kt.decoding.TopP(np.nan), r"`top_p` must be in \(0, 1\]. Received: top_p=nan"),
        (lambda x: kt.decoding.get_sampler([]), r"`sampler` must be one of .* sampler=\[\]"),
    ],
)
def test_messages_of_filters(call, message):
    with pytest.raises(ValueError, match=message):
        call(ops.convert_to_tensor([[1.0, 2.0, 3.0]]))


@pytest.mark.slow
def test_numbers_of_other_kinds():
    sampler = kt.decoding.RandomSampler(
        np.float64(0.8), np.int64(5), np.float32(0.5), np.array(0.1)
    )
    plain = kt.decoding.RandomSampler(0.8, 5, 0.5, 0.1)
    assert sampler == plain and hash(sampler) == hash(plain)
    expected = generate(stop_ids=[3], banned_ids=[4], seed=2, sampler=plain)
    actual = generate(
        max_new_tokens=np.array(3),
        stop_ids=np.array([3]),
        banned_ids=ops.convert_to_tensor([4]),
        seed=np.uint8(2),
        sampler=sampler,
        repetition_penalty=np.float32(1.0),
        no_repeat_ngram_size=np.int8(0),
        min_new_tokens=np.array(0),
    )
    np.testing.assert_array_equal(actual, expected)
    options = {"max_length": np.int8(3), "num_beams": np.array(2), "length_penalty": np.array(0.5)}
    one = kt.decoding.beam_search(lively_case("gpt").model, PROMPT, end_id=np.int32(3), **options)
    two = kt.decoding.beam_search(
        lively_case("gpt").model, PROMPT, max_length=3, num_beams=2, length_penalty=0.5
    )
    np.testing.assert_array_equal(one.ids, two.ids)


# === generate ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"banned_ids": range(V)}, "`banned_ids` must leave each row an id"),
        (
            {"banned_ids": range(1, V), "stop_ids": [0], "min_new_tokens": 1},
            r"`banned_ids` must leave each row an id .* stop_ids=\(0,\)",
        ),
        ({"candidate_ids": [4, 5], "banned_ids": [4, 5]}, "`banned_ids` must leave each row an id"),
        ({"banned_ids": None}, "`banned_ids` must be a sequence of ids. Received: banned_ids=None"),
        ({"candidate_ids": 5}, "`candidate_ids` must be a list of ids. Received: candidate_ids=5"),
        ({"candidate_ids": []}, "`candidate_ids` must contain at least two ids"),
        ({"candidate_ids": [4.5, 5.5]}, "`candidate_ids` must contain integers"),
        ({"banned_ids": [4.5]}, "`banned_ids` must contain integers. Received: 4.5"),
        ({"stop_ids": [True]}, "`stop_ids` must contain integers. Received: True"),
        ({"repetition_penalty": np.inf}, "`repetition_penalty` .* repetition_penalty=inf"),
        ({"repetition_penalty": np.nan}, "`repetition_penalty` .* repetition_penalty=nan"),
        ({"seed": 0.5}, "`seed` must be an integer. Received: seed=0.5"),
    ],
)
def test_messages_of_generate(options, message):
    with pytest.raises(ValueError, match=message):
        generate(**options)


@pytest.mark.slow
def test_all_but_one_are_banned():
    banned = [token for token in range(V) if token != 7]
    for penalty in (1.0, 1e-30, 1e30, 1e38):
        ids = generate(banned_ids=banned, repetition_penalty=penalty)
        assert ids.tolist() == [[5, 9, 7, 7, 7]]
    candidates = generate(banned_ids=banned, candidate_ids=[7, 8])
    assert candidates.tolist() == [[5, 9, 7, 7, 7]]


@pytest.mark.slow
@pytest.mark.parametrize("candidate_ids", [None, [0, 4, 5, 6]])
def test_what_is_banned_never_comes_though_all_else_would_repeat(candidate_ids):
    options = {"no_repeat_ngram_size": 1, "banned_ids": [0], "candidate_ids": candidate_ids}
    for sampler in ("greedy", "random"):
        new = generate(max_new_tokens=30, sampler=sampler, seed=1, **options)[0, 2:]
        fresh = V - 3 if candidate_ids is None else 2  # but 0 and the prompt
        assert len(set(new[:fresh])) == fresh and 0 not in new
        assert candidate_ids is None or set(new) <= {4, 5, 6}


@pytest.mark.slow
def test_rules_that_never_come_to_bear():
    expected = generate()
    unused = next(token for token in range(V) if token not in expected)
    for options in (
        {"no_repeat_ngram_size": 40},
        {"min_new_tokens": 9, "stop_ids": [unused]},  # more than there are to come
        {"stop_ids": [unused], "banned_ids": [unused]},
        {"sampler": kt.decoding.TopK(1)},
        {"sampler": kt.decoding.TopP(1e-9)},
        {"sampler": kt.decoding.MinP(1.0)},
        {"sampler": kt.decoding.RandomSampler(1e-6)},
    ):
        np.testing.assert_array_equal(generate(**options), expected)
    many = generate(sampler=kt.decoding.TopK(1000), seed=1)
    np.testing.assert_array_equal(many, generate(sampler="random", seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_one_token_in_and_one_out(name):
    case = lively_case(name)
    rows, sources = ([[2]], [[5]]) if case.is_translator else ([[5]], None)
    expected = uncached_greedy(case, rows, 1, 3, sources)
    actual = kt.decoding.generate(case.model, [[5]], 1)
    assert actual[0, -1:].tolist() == expected[0]
    best = kt.decoding.beam_search(case.model, [[5]], num_beams=1, max_length=1)
    assert best.ids[0, 0].tolist() == expected[0]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_tiny_vocabularies(size):
    model = kt.models.gpt(size, 1, 2, hidden_dim=4, intermediate_dim=4, padding_id=None)
    ids = kt.decoding.generate(model, [[0]], 3, no_repeat_ngram_size=0)
    assert ids.shape == (1, 4) and ids.max() < size
    options = {"end_id": size - 1, "max_length": 3}
    if size == 1:
        with pytest.raises(ValueError, match="at least two ids .* vocabulary_size=1"):
            kt.decoding.beam_search(model, [[0]], num_beams=1, **options)
        return
    result = kt.decoding.beam_search(
        model, [[0]], num_beams=2, num_return=2, length_penalty=0.0, **options
    )
    # Every hypothesis that there is, by hand: [1], [0, 1], [0, 0, 1] and [0, 0, 0].
    logits = to_numpy(model({"token_ids": np.zeros((1, 3), "int32")}))[0].astype("float64")
    steps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    before = np.concatenate([[0.0], np.cumsum(steps[:, 0])])
    scores = sorted([*(before[:3] + steps[:, 1]), before[3]], reverse=True)
    np.testing.assert_allclose(result.scores[0], scores[:2], atol=1e-5)


def biased(values):
    """A translator whose logits have a bias."""
    model = make_case("transformer_untied_grouped").model
    bias = model.get_layer("logits").bias
    bias.assign(np.float32(values))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("extreme", [-np.inf, -1e30, 1e30, np.inf])
def test_infinite_logits(extreme):
    values = np.zeros(V)
    values[:] = -1e3
    values[[7, 8, 3]] = 0.0
    values[7] = extreme
    model = biased(values)
    for options in ({}, {"sampler": "random"}, {"sampler": "top_p"}, {"sampler": "min_p"}):
        ids = kt.decoding.generate(model, [[5, 6]], 4, seed=3, **options)
        assert (ids == 7).all() if extreme > 0 else np.isin(ids, [3, 8]).all()
    banned = [token for token in range(V) if token not in (3, 7)]
    result = kt.decoding.beam_search(
        model, [[5, 6]], num_beams=2, num_return=2, max_length=3, banned_ids=banned
    )
    assert not np.isnan(result.scores).any()
    if extreme < 0:  # no other hypothesis has a probability
        assert result.ids[0, 0].tolist()[0] == 3 and np.isneginf(result.scores[0, 1])
        assert not result.ids[0, 1].any()


# === beam_search ===


@pytest.mark.slow
def test_hypotheses_that_do_not_exist_hold_nothing():
    model = lively_case("transformer").model
    banned = [token for token in range(V) if token != 3]
    options = {"num_beams": 4, "max_length": 5, "num_return": 4, "banned_ids": banned}
    for prefix, first in ((None, [3]), ([6, 7], [6, 7, 3])):
        result = kt.decoding.beam_search(model, [[5, 6, 3]], prefix_ids=prefix, **options)
        assert result.ids[0, 0].tolist() == first
        assert not result.ids[0, 1:].any() and np.isneginf(result.scores[0, 1:]).all()
    none = kt.decoding.beam_search(model, [[5, 6, 3]], min_length=2, **options)
    assert not none.ids.any() and np.isneginf(none.scores).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": V + 1}, "`num_beams` must be at most the size of the vocabulary"),
        ({"num_return": 5}, "`num_return` must be at most `num_beams`"),
        ({"length_penalty": np.nan}, "`length_penalty` must be a number.* length_penalty=nan"),
        ({"length_penalty": np.inf}, "`length_penalty` must be a number.* length_penalty=inf"),
        ({"length_penalty": 1000.0}, "`length_penalty` must be a number.* length_penalty=1000"),
        ({"end_id": 3.0}, "`end_id` must be an integer. Received: end_id=3.0"),
        ({"max_length": 2.5}, "`max_length` must be an integer. Received: max_length=2.5"),
    ],
)
def test_messages_of_beam_search(options, message):
    with pytest.raises(ValueError, match=message):
        kt.decoding.beam_search(lively_case("gpt").model, PROMPT, **{"max_length": 4, **options})


@pytest.mark.parametrize("length_penalty", [-8.0, 0.0, 8.0])
def test_extreme_length_penalties(length_penalty):
    """The search is exhaustive: what it returns is the best of all that there are."""
    case = lively_case("gpt")
    options = {"num_beams": V, "num_return": V, "max_length": 2, "length_penalty": length_penalty}
    result = kt.decoding.beam_search(case.model, PROMPT, **options)
    logits = to_numpy(case([PROMPT[0] + [token] for token in range(V)])).astype("float64")
    steps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    first, second = steps[0, 1], steps[:, 2]
    divisors = ((5 + np.array([1, 2])) / 6) ** length_penalty
    totals = (first[:, None] + second) / divisors[1]
    totals[3] = -np.inf
    totals[3, 0] = first[3] / divisors[0]  # ended
    expected = np.sort(totals.ravel())[::-1][:1]
    np.testing.assert_allclose(result.scores[0, :1], expected, rtol=1e-4)


# === Dtypes of a whole model ===


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float16", 0.05), ("bfloat16", 0.3), ("float64", 1e-4)]
)
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_whole_policies(name, policy, tolerance):
    case = make_case(name, dtype=policy)
    result = kt.decoding.generate(case.model, [[5, 9, 4]], 3, return_log_probs=True)
    new = result.ids[0, -3:].tolist()
    read, source = ([2], [[5, 9, 4]]) if case.is_translator else ([5, 9, 4], None)

    def log_probs(ids):
        logits = to_numpy(ops.cast(case([read + ids], source), "float32"))[0].astype("float64")
        found = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return found[np.arange(len(read) - 1, len(read) - 1 + len(ids)), ids], found[
            len(read) - 1 :
        ]

    chosen, every = log_probs(new)
    np.testing.assert_allclose(result.log_probs[0, -3:], chosen, atol=tolerance)
    assert (chosen >= every[:3].max(axis=-1) - tolerance).all()
    best = kt.decoding.beam_search(
        case.model, [[5, 9, 4]], num_beams=2, max_length=3, length_penalty=0.0
    )
    ids = best.ids[0, 0].tolist()
    np.testing.assert_allclose(best.scores[0, 0], log_probs(ids)[0].sum(), atol=3 * tolerance)
    assert keras.backend.standardize_dtype(case.model.dtype_policy.compute_dtype)
