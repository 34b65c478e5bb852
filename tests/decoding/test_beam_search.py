"""Beam search against brute force, against a plain search, and what users may hand in."""

import itertools

import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import START, lively_case
from tests.harness import randomize, to_numpy
from tests.laws.models import V, make_case

END = 3
TINY_V, TINY_LENGTH = 5, 4
PENALTIES = [(0.0, "gnmt"), (0.6, "gnmt"), (2.5, "gnmt"), (-1.0, "gnmt")]
PENALTIES += [(0.5, "length"), (1.0, "length"), (2.0, "length"), (-0.7, "length")]


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def normalizer(length, penalty, normalization):
    return (length if normalization == "length" else (5 + length) / 6) ** penalty


@pytest.fixture(scope="module")
def tiny_model():
    model = kt.models.transformer(TINY_V, None, 1, 2, 8, 11, padding_id=None)
    return randomize(model, seed=5, stddev=0.7)


def all_hypotheses(model, source, penalty, normalization):
    """Every sequence that ends, or is as long as it may be, with its score; the best first."""
    sequences = np.array(list(itertools.product(range(TINY_V), repeat=TINY_LENGTH)), "int32")
    inputs = np.concatenate([np.full((len(sequences), 1), START), sequences[:, :-1]], axis=1)
    sources = np.tile(np.array([source], "int32"), (len(sequences), 1))
    logits = to_numpy(model({"source_ids": sources, "target_ids": inputs.astype("int32")}))
    chosen = np.take_along_axis(log_softmax(logits), sequences[..., None], axis=2)[..., 0]
    scores = {}
    for ids, log_probs in zip(sequences.tolist(), chosen, strict=True):
        length = ids.index(END) + 1 if END in ids else TINY_LENGTH
        scores[tuple(ids[:length])] = log_probs[:length].sum() / normalizer(
            length, penalty, normalization
        )
    return sorted(scores.items(), key=lambda item: -item[1])


@pytest.mark.slow
@pytest.mark.parametrize(("penalty", "normalization"), PENALTIES)
def test_enough_beams_find_what_brute_force_finds(tiny_model, penalty, normalization):
    sources = [[1, 4, 3], [2, 0, 4, 4, 3]]
    result = kt.decoding.beam_search(
        tiny_model,
        sources,
        num_beams=(TINY_V - 1) ** (TINY_LENGTH - 1),
        num_return=9,
        max_length=TINY_LENGTH,
        length_penalty=penalty,
        length_normalization=normalization,
    )
    for row, scores, source in zip(result.ids, result.scores, sources, strict=True):
        best = all_hypotheses(tiny_model, source, penalty, normalization)[:9]
        np.testing.assert_allclose(scores, [score for _, score in best], atol=1e-5)
        for ids, (expected, _) in zip(row.tolist(), best, strict=True):
            assert tuple(ids[: len(expected)]) == expected
            assert not any(ids[len(expected) :])
    assert not np.array_equal(result.ids[0], result.ids[1])  # the sources matter


class Plain:
    """The same search in plain Python: one source, no cache, each hypothesis by itself."""

    def __init__(self, case, source, prompt, **options):
        self.case, self.source, self.prompt = case, source, prompt
        self.beams = options["num_beams"]
        self.penalty = options.get("length_penalty", 0.6)
        self.normalization = options.get("length_normalization", "gnmt")
        self.limit = options["max_length"]
        self.banned = options.get("banned_ids", ())
        self.min_length = options.get("min_length", 0)
        self.ngram = options.get("no_repeat_ngram_size", 0)
        self.candidates = options.get("candidate_ids")
        self.early = options.get("early_stopping", False) or self.beams == 1
        self.count = options.get("num_return", 1)

    def logits(self, alive):
        """Those of the last token of each hypothesis, of which all have the same length."""
        rows = [[*self.prompt, *ids] for _, ids in alive]
        width = 40 if self.case.is_translator else 37
        padded = np.zeros((len(rows), width), "int32")
        padded[:, : len(rows[0])] = rows
        sources = [self.source] * len(rows) if self.case.is_translator else None
        return to_numpy(self.case(padded, sources))[:, len(rows[0]) - 1]

    def log_probs(self, ids, logits):
        row = [*self.prompt, *ids]
        if self.candidates is not None:
            outside = np.setdiff1d(np.arange(len(logits)), self.candidates)
            logits[outside] = -np.inf
        result = log_softmax(logits)
        result[list(self.banned)] = -np.inf
        if len(ids) < self.min_length:
            result[END] = -np.inf
        for end in range(self.ngram - 1, len(row)) if self.ngram else ():
            run = row[end - self.ngram + 1 : end]
            if run == row[len(row) - self.ngram + 1 :]:
                result[row[end]] = -np.inf
        return result

    def __call__(self):
        alive, finished = [(0.0, [])], []
        for length in range(1, self.limit + 1):
            options = []
            for (score, ids), logits in zip(alive, self.logits(alive), strict=True):
                for token, log_prob in enumerate(self.log_probs(ids, logits)):
                    if np.isfinite(log_prob):
                        options.append((score + log_prob, [*ids, token]))
            options = sorted(options, key=lambda option: -option[0])[: 2 * self.beams]
            alive = []
            for rank, (score, ids) in enumerate(options):
                if ids[-1] != END and length < self.limit:
                    alive.append((score, ids))
                elif rank < self.beams:
                    finished.append((score / self.lp(length), ids))
            alive = alive[: self.beams]
            finished = sorted(finished, key=lambda option: -option[0])[: self.beams]
            if self.is_done(alive, finished, length):
                break
        return finished[: self.count]

    def lp(self, length):
        return normalizer(length, self.penalty, self.normalization)

    def is_done(self, alive, finished, length):
        if not alive or len(finished) < (self.beams if self.early else self.count):
            return not alive
        best_length = self.limit if self.penalty > 0 else length + 1
        return self.early or finished[self.count - 1][0] >= alive[0][0] / self.lp(best_length)


SOURCES = [[5, 9, 3], [8, 8, 12, 4, 20, 7, 3], [17, 3]]
OPTIONS = {
    "one": {"num_beams": 1},
    "two": {"num_beams": 2, "length_penalty": 0.0},
    "three": {"num_beams": 3, "num_return": 3, "length_penalty": 1.5},
    "early": {"num_beams": 4, "num_return": 2, "early_stopping": True},
    "shorter": {"num_beams": 3, "length_penalty": -1.0, "length_normalization": "length"},
    "banned": {"num_beams": 3, "banned_ids": (0, 7, 11)},
    "long": {"num_beams": 3, "min_length": 6, "num_return": 2},
    "bigrams": {"num_beams": 3, "no_repeat_ngram_size": 2, "banned_ids": (0,)},
    "unigrams": {"num_beams": 2, "no_repeat_ngram_size": 1, "banned_ids": (0,)},
    "shortlist": {"num_beams": 3, "candidate_ids": (3, 5, 6, 9, 14, 21), "banned_ids": (6,)},
    "shortlist_bigrams": {
        "num_beams": 2,
        "candidate_ids": (3, 5, 9, 14),
        "no_repeat_ngram_size": 2,
        "min_length": 3,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, options) for name in ("transformer", "gpt") for options in OPTIONS),
        ("transformer_untied_grouped", "three"),
        ("transformer_untied_grouped", "shortlist_bigrams"),
        # Their hypotheses share a cache whose slots are no positions.
        ("transformer_relative_bias_in_a_window", "three"),
        ("transformer_relative_keys_gated", "early"),
        ("gpt_linear_bias_banded", "three"),
    ],
)
def test_a_plain_search_finds_the_same(name, options):
    case, options = lively_case(name), {"max_length": 9, **OPTIONS[options]}
    options.setdefault("banned_ids", (0,))  # a padding token would be masked
    result = kt.decoding.beam_search(case.model, SOURCES, **options)
    for index, source in enumerate(SOURCES):
        prompt = [START] if case.is_translator else source
        expected = Plain(case, source, prompt, **options)()
        np.testing.assert_allclose(result.scores[index], [s for s, _ in expected], atol=1e-4)
        for ids, (_, wanted) in zip(result.ids[index].tolist(), expected, strict=True):
            assert ids[: len(wanted)] == wanted and not any(ids[len(wanted) :])
    alone = kt.decoding.beam_search(case.model, SOURCES[1:2], **options).ids[0, 0]
    assert np.trim_zeros(alone).tolist() == np.trim_zeros(result.ids[1, 0]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "gpt"])
def test_one_beam_is_greedy(name):
    case = lively_case(name)
    greedy = kt.decoding.generate(
        case.model, SOURCES, max_new_tokens=9, stop_ids=(END,), banned_ids=(0,)
    )
    beams = kt.decoding.beam_search(
        case.model, SOURCES, num_beams=1, max_length=9, banned_ids=(0,), length_penalty=3.0
    ).ids[:, 0]
    for prompt, one, other in zip(SOURCES, greedy, beams, strict=True):
        start = 0 if case.is_translator else len(prompt)
        assert np.trim_zeros(one[start:]).tolist() == np.trim_zeros(other).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer_untied_grouped", "gpt"])
def test_a_cache_that_is_reordered_finds_the_same(name, monkeypatch):
    """Decoders whose cache is more than slots get rows of their own for each hypothesis."""
    sources = [[4, 5, 6, 3], [7, 8, 9, 10, 11, 3], [12, 3]]
    results = []
    for shares_slots in (True, False):
        case = make_case(name)
        case.model.set_weights(lively_case(name).model.get_weights())
        decoder = case.model.get_layer("decoder")
        monkeypatch.setattr(type(decoder), "shares_slots", shares_slots)
        results.append(
            kt.decoding.beam_search(
                case.model, sources, num_beams=5, num_return=5, max_length=11, min_length=2
            )
        )
    np.testing.assert_array_equal(results[0].ids, results[1].ids)
    np.testing.assert_allclose(results[0].scores, results[1].scores, atol=1e-5)


@pytest.mark.slow
def test_a_forced_prefix():
    case = lively_case("transformer")
    options = {"num_beams": 3, "max_length": 7, "banned_ids": (0,)}
    prefixes = [[9], [], [4, 11]]
    result = kt.decoding.beam_search(case.model, SOURCES, prefix_ids=prefixes, **options)
    for index, (source, prefix) in enumerate(zip(SOURCES, prefixes, strict=True)):
        ((score, ids),) = Plain(case, source, [START, *prefix], **options)()
        expected = [*prefix, *ids]
        assert result.ids[index, 0, : len(expected)].tolist() == expected
        assert result.scores[index, 0] == pytest.approx(score, abs=1e-4)
    for prefix in ([9], 9):
        same = kt.decoding.beam_search(case.model, SOURCES, prefix_ids=prefix, **options)
        assert (same.ids[:, 0, 0] == 9).all()
    none = kt.decoding.beam_search(case.model, SOURCES, prefix_ids=[], **options)
    free = kt.decoding.beam_search(case.model, SOURCES, **options)
    np.testing.assert_array_equal(none.ids, free.ids)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["length", "gnmt"])
def test_a_prefix_that_counts_in_the_length(form):
    """The sums are the same, and divided by the penalty of a longer hypothesis."""
    case = lively_case("transformer")
    options = {"num_beams": 3, "max_length": 7, "num_return": 3, "prefix_ids": [9, 4]}
    options |= {"banned_ids": (0,), "length_normalization": form}
    sums = kt.decoding.beam_search(case.model, SOURCES, length_penalty=0.0, **options)
    found = kt.decoding.beam_search(
        case.model, SOURCES, length_penalty=1.5, count_prefix=True, **options
    )
    without = kt.decoding.beam_search(case.model, SOURCES, length_penalty=1.5, **options)
    compared = 0
    for rows, scores, plain_rows, plain in zip(
        found.ids.tolist(), found.scores, sums.ids.tolist(), sums.scores, strict=True
    ):
        for row, score in zip(rows, scores, strict=True):
            if row in plain_rows:
                length = len(np.trim_zeros(np.array(row)))
                base = length if form == "length" else (5 + length) / 6
                expected = plain[plain_rows.index(row)] / base**1.5
                assert score == pytest.approx(expected, abs=1e-4)
                compared += 1
    assert compared > 3
    assert (np.abs(without.scores - found.scores) > 1e-3).all()


def test_a_part_of_the_prefix_that_counts():
    """With `length_penalty` 1, a score times the length that counts is the sum."""
    case = lively_case("transformer")
    options = {"num_beams": 1, "max_length": 7, "prefix_ids": [[9, 4], [9], [9, 7, 7]]}
    options |= {"banned_ids": (0,), "length_normalization": "length"}
    sums = kt.decoding.beam_search(case.model, SOURCES, length_penalty=0.0, **options)
    found = kt.decoding.beam_search(
        case.model, SOURCES, length_penalty=1.0, count_prefix=1, **options
    )
    np.testing.assert_array_equal(found.ids, sums.ids)
    lengths = (sums.ids[:, 0] > 0).sum(axis=1) - np.array([2, 1, 3]) + 1
    np.testing.assert_allclose(found.scores[:, 0] * lengths, sums.scores[:, 0], rtol=1e-5)


@pytest.mark.slow
def test_more_room_than_at_first(monkeypatch):
    case = lively_case("transformer")
    options = {"num_beams": 2, "max_length": 40, "banned_ids": (0, END), "num_return": 2}
    expected = kt.decoding.beam_search(case.model, SOURCES, **options)
    monkeypatch.setitem(kt.decoding.beam_search.__globals__, "_FIRST_ROOM", 16)
    actual = kt.decoding.beam_search(case.model, SOURCES, **options)
    np.testing.assert_array_equal(actual.ids, expected.ids)
    assert expected.ids.shape[2] == 40


@pytest.mark.slow
def test_alignments_are_the_cross_attention_of_the_tokens():
    case = lively_case("transformer_untied_grouped")
    result = kt.decoding.beam_search(
        case.model, SOURCES, max_length=6, num_return=2, return_alignments=True, banned_ids=(0,)
    )
    assert result.alignments.shape == (*result.ids.shape, 7)
    for source, ids, alignments in zip(SOURCES, result.ids, result.alignments, strict=True):
        for row, alignment in zip(ids, alignments, strict=True):
            length = len(np.trim_zeros(row))
            np.testing.assert_allclose(alignment[:length].sum(1), 1.0, atol=1e-5)
            assert not alignment[length:].any() and not alignment[:, len(source) :].any()
    parts = kt.decoding.DecodingModel(case.model)
    source = np.array(SOURCES[:1], "int32")
    target = np.concatenate([[[START]], result.ids[0, :1, :-1]], axis=1).astype("int32")
    whole = parts.decode(
        target,
        encoded=parts.encode(source, np.ones(source.shape, bool)),
        return_attention_scores=True,
    )
    expected = to_numpy(whole["cross_attention_scores"][-1])[0].mean(0)
    length = len(np.trim_zeros(result.ids[0, 0]))
    np.testing.assert_allclose(
        result.alignments[0, 0, :length, : source.shape[1]], expected[:length], atol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_beams": 0}, "`num_beams` must be at least 1. Received: num_beams=0"),
        ({"num_beams": V + 1}, f"must be at most the size of the vocabulary. .*num_beams={V + 1}"),
        ({"num_return": 5}, "`num_return` must be at most `num_beams`. Received: num_return=5"),
        ({"max_length": 0}, "`max_length` must be at least 1. Received: max_length=0"),
        ({"end_id": V}, rf"`end_id` must be in the range \[0, {V}\). Received: end_id={V}"),
        ({"banned_ids": [-1]}, "`banned_ids` must contain ids in the range"),
        ({"length_normalization": "x"}, "`length_normalization` must be one of .*='x'"),
        ({"candidate_ids": [5, 6]}, "`candidate_ids` must contain at least `end_id`"),
        ({"prefix_ids": [[5]] * 2}, "`prefix_ids` must be one row .* 2 rows for 3 sources"),
        (
            {"prefix_ids": [V]},
            rf"`prefix_ids` must contain ids in the range \[0, {V}\). Received: {V}",
        ),
        (
            {"prefix_ids": [[5], [5], []], "count_prefix": True},
            r"`count_prefix` must be False or a number for prefixes of diff.*\[0, 1\]",
        ),
        (
            {"prefix_ids": [[5], [5], [5, 6]], "count_prefix": 2},
            r"`count_prefix` must be at most the length of each .*count_prefix=2, lengths \[1, 2\]",
        ),
        ({"prefix_ids": [5], "count_prefix": -1}, "`count_prefix` must be at least 0"),
        ({"prefix_ids": [[5.5]] * 3}, "`prefix_ids` must contain integers. Received: 5.5"),
        ({"source_ids": 5}, "`source_ids` must be a list of rows .* Received: source_ids=5"),
        ({"source_ids": []}, "`source_ids` must contain at least one row"),
        ({"source_ids": [[]]}, "`source_ids` must not have empty rows. Received: row 0 is empty"),
    ],
)
def test_messages(arguments, message):
    case = lively_case("transformer")
    with pytest.raises(ValueError, match=message):
        kt.decoding.beam_search(case.model, **{"source_ids": SOURCES, **arguments})


def test_messages_for_language_models():
    case = lively_case("gpt")
    message = "`source_ids` and `max_length` must fit the model's positions.*max_length=37, for 37"
    with pytest.raises(ValueError, match=message):
        kt.decoding.beam_search(case.model, SOURCES, max_length=37)
    with pytest.raises(ValueError, match="`source_ids` must fit the model's positions.*length 38"):
        kt.decoding.beam_search(case.model, [[5] * 38], max_length=1)
    with pytest.raises(ValueError, match=r"`source_ids` must have the shape .*shape=\(2,\)"):
        kt.decoding.beam_search(case.model, np.array([5, 6]))
    with pytest.raises(ValueError, match="`prefix_ids` requires a translator"):
        kt.decoding.beam_search(case.model, SOURCES, max_length=5, prefix_ids=[4])
    with pytest.raises(ValueError, match="`return_alignments` requires a translator"):
        kt.decoding.beam_search(case.model, SOURCES, max_length=5, return_alignments=True)
