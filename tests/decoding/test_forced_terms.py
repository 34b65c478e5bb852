"""Forced terms in beam search: against brute force, against a plain search, on every model."""

import itertools

import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import START, lively_case
from tests.decoding.test_beam_search import END, SOURCES, Plain, log_softmax, normalizer
from tests.harness import randomize, to_numpy
from tests.laws.models import NAMES, V

TINY_V, TINY_LENGTH = 5, 5
SEVERAL = (TINY_V - 1) ** (TINY_LENGTH - 1)  # beams for every hypothesis
AnyOf = kt.decoding.AnyOf

TERMS = {
    "one": [[4, 1]],
    "overlapping": [[0, 1], [1, 4]],
    "overlapping_in_a_ring": [[0, 1], [1, 0]],
    "given_twice": [[1, 4], [1, 4]],
    "prefix_of_another": [[0, 1], [0, 1, 4]],
    "inside_another": [[1], [0, 1, 4]],
    "common_prefix": [[0, 1], [0, 4, 4]],
    "same_id_twice": [[4, 4, 0]],
    "falls_back": [[0, 1, 0, 4]],
    "falls_back_into_another": [[4, 4, 0], [4, 1]],
    "as_long_as_allowed": [[0, 0], [1], [4, 4]],
    "alternatives": [AnyOf([[4, 4, 0], [1]]), [0]],
    "alternatives_that_overlap": [AnyOf([[0, 1], [1, 4]]), AnyOf([[1, 4], [4, 4]])],
}


def alternatives_of(term):
    return [list(ids) for ids in (term.alternatives if isinstance(term, AnyOf) else [term])]


def contains(ids, part):
    return any(list(ids[i : i + len(part)]) == part for i in range(len(ids)))


def contains_all(ids, terms):
    return all(any(contains(ids, part) for part in alternatives_of(term)) for term in terms)


def next_of_missing(ids, terms):
    """The tokens that continue, or begin, the terms that a hypothesis does not contain."""
    found = set()
    for term in terms:
        for part in alternatives_of(term) if not contains_all(ids, [term]) else ():
            fits = (n for n in range(len(part)) if n == 0 or list(ids[-n:]) == part[:n])
            found.add(part[max(fits)])
    return found


def is_allowed(prompt, ids, options):
    """Whether the other constraints of the search allow a hypothesis."""
    size, terms = options.get("no_repeat_ngram_size", 0), options["forced_terms"]
    if END in ids[: options.get("min_length", 0)] or set(ids) & set(options.get("banned_ids", ())):
        return False
    whole, prefix = [*prompt, *ids], list(options.get("prefix_ids", ()))
    for end in range(len(prompt), len(whole)) if size else ():
        grams = [whole[i : i + size] for i in range(end - size + 1)]
        translated = [*prefix, *whole[len(prompt) : end]]
        is_free = whole[end] in next_of_missing(translated, terms)
        if whole[end - size + 1 : end + 1] in grams and not is_free:
            return False
    return True


@pytest.fixture(scope="module")
def tiny_models():
    return {
        "transformer": kt.models.transformer(TINY_V, None, 1, 2, 8, 11, padding_id=None),
        "gpt": kt.models.gpt(
            TINY_V, 1, 2, 8, 11, max_length=None, relative_positions="alibi", padding_id=None
        ),
    }


def all_hypotheses(model, source, options):
    """Every allowed sequence with all terms, with its score; the best first."""
    sequences = np.array(list(itertools.product(range(TINY_V), repeat=TINY_LENGTH)), "int32")
    is_translator = model.name == "transformer"
    prompt = [START, *options.get("prefix_ids", ())] if is_translator else source
    prompts = np.tile(np.array([prompt], "int32"), (len(sequences), 1))
    inputs = np.concatenate([prompts, sequences[:, :-1]], axis=1)
    feed = {"token_ids": inputs}
    if is_translator:
        sources = np.tile(np.array([source], "int32"), (len(sequences), 1))
        feed = {"source_ids": sources, "target_ids": inputs}
    logits = to_numpy(model(feed))[:, len(prompt) - 1 :]
    outside = np.setdiff1d(np.arange(TINY_V), options.get("candidate_ids", range(TINY_V)))
    logits[..., outside] = -1e9
    chosen = np.take_along_axis(log_softmax(logits), sequences[..., None], axis=2)[..., 0]
    form = options.get("length_penalty", 0.6), options.get("length_normalization", "gnmt")
    prefix, scores = list(options.get("prefix_ids", ())), {}
    for ids, log_probs in zip(sequences.tolist(), chosen, strict=True):
        ids = ids[: ids.index(END) + 1] if END in ids else ids
        whole = [*prefix, *ids]
        if set(ids) & set(outside) or not contains_all(whole, options["forced_terms"]):
            continue
        if is_allowed(prompt, ids, options):
            scores[tuple(whole)] = log_probs[: len(ids)].sum() / normalizer(len(ids), *form)
    return sorted(scores.items(), key=lambda item: -item[1])


def check_against_brute_force(model, source, **options):
    result = kt.decoding.beam_search(
        model, [source], num_beams=SEVERAL, num_return=5, max_length=TINY_LENGTH, **options
    )
    best = all_hypotheses(model, source, options)[:5]
    assert best
    scores = [score for _, score in best] + [-np.inf] * (5 - len(best))
    np.testing.assert_allclose(result.scores[0], scores, atol=1e-4)
    for ids, (expected, _) in zip(result.ids[0].tolist(), best, strict=False):
        assert tuple(ids[: len(expected)]) == expected and not any(ids[len(expected) :])


@pytest.mark.slow
@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("kind", ["transformer", "gpt"])
def test_enough_beams_find_what_brute_force_finds(tiny_models, kind, name):
    for seed in range(5):
        model = randomize(tiny_models[kind], seed=seed, stddev=0.7)
        check_against_brute_force(model, [1, 4, 0, 4, 3], forced_terms=TERMS[name])


OPTIONS = {
    "sums": {"length_penalty": 0.0},
    "mean": {"length_penalty": 1.0, "length_normalization": "length"},
    "shorter": {"length_penalty": -1.0},
    "long": {"min_length": 3},
    "banned": {"banned_ids": (2,)},
    "unigrams": {"no_repeat_ngram_size": 1},
    "bigrams": {"no_repeat_ngram_size": 2},
    "shortlist": {"candidate_ids": (2, 3, 4, 0, 1)},
    "small_shortlist_bigrams": {"candidate_ids": (0, 1, 3, 4), "no_repeat_ngram_size": 1},
    "prefix": {"prefix_ids": [0, 4]},
    "prefix_that_begins_a_term": {"prefix_ids": [2, 4, 4]},
    "prefix_with_a_term": {"prefix_ids": [4, 1, 0]},
}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_other_options(tiny_models, option):
    for seed, terms in enumerate(([[4, 4, 0], [4, 1]], [[0, 1], [0, 4]], [[1, 1]])):
        model = randomize(tiny_models["transformer"], seed=seed, stddev=0.7)
        check_against_brute_force(model, [2, 0, 4, 3], forced_terms=terms, **OPTIONS[option])


class PlainWithTerms(Plain):
    """The plain search with forced terms, from their definition instead of an automaton."""

    def __init__(self, case, source, prompt, terms, **options):
        super().__init__(case, source, prompt, **options)
        self.terms = [alternatives_of(term) for term in terms]

    def missing(self, ids):
        """The tokens that complete the missing terms: the most advanced one, then the others."""
        whole, gains = 0, [0]
        for term in self.terms:
            if any(contains(ids, part) for part in term):
                continue
            lefts = []
            for part in term:
                fits = (n for n in range(len(part)) if n == 0 or ids[-n:] == part[:n])
                lefts.append(len(part) - max(fits))
            fewest = min(map(len, term))
            whole += fewest
            gains.append(fewest - min(lefts))
        return whole - max(gains)

    def __call__(self):
        alive, finished = [(0.0, [])], []
        for length in range(1, self.limit + 1):
            options = []
            for (score, ids), logits in zip(alive, self.logits(alive), strict=True):
                options += self.continuations(score, ids, logits)
            options = sorted(options, key=lambda option: -option[0])
            rivals = [option for option in options if not self.missing(option[1])][: self.beams]
            done = [(s, ids) for s, ids in rivals if ids[-1] == END or length == self.limit]
            finished += [(score / self.lp(length), ids) for score, ids in done]
            finished = sorted(finished, key=lambda option: -option[0])[: self.beams]
            options = [(s, ids) for s, ids in options if ids[-1] != END and length < self.limit]
            alive = self.shared(options, self.limit - length)
            if self.is_done(alive, finished, length):
                break
        return finished[: self.count]

    def continuations(self, score, ids, logits):
        """The best tokens, as many as the search considers, and the next ones of the terms."""
        log_probs = self.log_probs(ids, logits)
        order = np.argsort(-log_probs, kind="stable")[: 2 * self.beams + len(self.banned) + 1]
        tokens = {*order.tolist(), *next_of_missing(ids, [AnyOf(term) for term in self.terms])}
        return [
            (score + log_probs[token], [*ids, token])
            for token in tokens
            if np.isfinite(log_probs[token])
        ]

    def shared(self, options, room):
        """K options: the best of each number of missing tokens, then the second best, ..."""
        turns, keyed = {}, []
        for score, ids in options:
            missing = self.missing(ids)
            turn = turns[missing] = turns.get(missing, -1) + 1
            keyed.append(((missing > room, turn, missing), score, ids))
        chosen = [(score, ids) for _, score, ids in sorted(keyed)[: self.beams]]
        return sorted(chosen, key=lambda option: -option[0])


MORE_TERMS = [[[7, 7, 9], [7, 4]], [], [AnyOf([[20, 21, 22], [11, 4]]), [12, 9]]]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [2, 5])
@pytest.mark.parametrize("name", ["transformer", "gpt"])
def test_a_plain_search_finds_the_same(name, beams):
    case = lively_case(name)
    options = {"num_beams": beams, "num_return": 2, "max_length": 8, "banned_ids": (0,)}
    result = kt.decoding.beam_search(case.model, SOURCES, forced_terms=MORE_TERMS, **options)
    for index, (source, terms) in enumerate(zip(SOURCES, MORE_TERMS, strict=True)):
        prompt = [START] if case.is_translator else source
        expected = PlainWithTerms(case, source, prompt, terms, **options)()
        assert expected
        for (score, wanted), ids, found in zip(
            expected, result.ids[index].tolist(), result.scores[index], strict=False
        ):
            assert ids[: len(wanted)] == wanted and not any(ids[len(wanted) :])
            assert found == pytest.approx(score, abs=1e-4)
    plain = kt.decoding.beam_search(case.model, SOURCES, **options)
    width = plain.ids.shape[2]
    np.testing.assert_array_equal(plain.ids[1], result.ids[1, :, :width])  # it has no terms


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_model_gives_all_terms(name):
    """Even if they take all of the room, and with the scores of the model."""
    case = lively_case(name)
    for max_length in (5, 17):
        options = {"num_beams": 3, "max_length": max_length, "length_penalty": 0.0}
        options |= {"forced_terms": MORE_TERMS, "num_return": 3, "banned_ids": (0,)}
        result = kt.decoding.beam_search(case.model, SOURCES, **options)
        for terms, best in zip(MORE_TERMS, result.ids.tolist(), strict=True):
            for ids in [best[0], *(ids for ids in best[1:] if any(ids))]:
                assert contains_all(ids, terms)
        targets = [np.trim_zeros(best[0], "b") for best in result.ids]
        name_of_inputs = "source_ids" if case.is_translator else "prompt_ids"
        inputs = {name_of_inputs: SOURCES, "target_ids": targets}
        scores = kt.decoding.score(case.model, inputs)
        np.testing.assert_allclose(result.scores[:, 0], scores, atol=1e-3)


@pytest.mark.slow
def test_terms_join_the_candidates_of_their_source():
    case = lively_case("transformer")
    options = {"num_beams": 4, "max_length": 9, "banned_ids": (0,)}
    terms = [[[20, 21]], [], [[22]]]
    given = kt.decoding.beam_search(
        case.model, SOURCES, candidate_ids=[3, 5, 6], forced_terms=terms, **options
    )
    same = kt.decoding.beam_search(
        case.model,
        SOURCES,
        candidate_ids=[[3, 5, 6, 20, 21], [3, 5, 6], [3, 5, 6, 22]],
        forced_terms=terms,
        **options,
    )
    np.testing.assert_array_equal(given.ids, same.ids)
    np.testing.assert_array_equal(given.scores, same.scores)
    assert contains_all(given.ids[0, 0].tolist(), terms[0]) and 22 in given.ids[2, 0]
    assert set(given.ids[1, 0].tolist()) <= {0, 3, 5, 6}


@pytest.mark.slow
def test_scores_after_renormalization():
    """Probabilities that add up to 1 never exceed 1, even of tokens that repeat an n-gram."""
    case = lively_case("transformer")
    result = kt.decoding.beam_search(
        case.model,
        SOURCES,
        max_length=9,
        forced_terms=[[7, 7, 7]],
        no_repeat_ngram_size=1,
        renormalize=True,
        length_penalty=0.0,
        num_return=4,
    )
    assert (result.scores[:, 0] > -np.inf).all() and (result.scores <= 0).all()


@pytest.mark.slow
def test_more_room_than_at_first(monkeypatch):
    case = lively_case("transformer")
    options = {"num_beams": 3, "max_length": 37, "banned_ids": (0,), "min_length": 33}
    options["forced_terms"] = MORE_TERMS
    expected = kt.decoding.beam_search(case.model, SOURCES, **options)
    monkeypatch.setitem(kt.decoding.beam_search.__globals__, "_FIRST_ROOM", 16)
    actual = kt.decoding.beam_search(case.model, SOURCES, **options)
    np.testing.assert_array_equal(actual.ids, expected.ids)


def test_no_terms_are_the_search_without_them():
    case = lively_case("transformer")
    options = {"num_beams": 2, "max_length": 4}
    expected = kt.decoding.beam_search(case.model, SOURCES, **options)
    for none in ([], [[], [], []]):
        found = kt.decoding.beam_search(case.model, SOURCES, forced_terms=none, **options)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.slow
def test_arrays_and_lists_are_the_same():
    case = lively_case("transformer")
    options = {"num_beams": 3, "max_length": 7}
    forms = ([[5, 7]], [[[5, 7]]] * 3, np.array([[5, 7]]), np.full((3, 1, 2), [5, 7]), ((5, 7),))
    found = [
        kt.decoding.beam_search(case.model, SOURCES, forced_terms=form, **options) for form in forms
    ]
    for result in found[1:]:
        np.testing.assert_array_equal(result.ids, found[0].ids)


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        (5, {}, "`forced_terms` must be a list of terms.*Received: forced_terms=5"),
        ([5], {}, "`forced_terms` must be a sequence of ids. Received: forced_terms=5"),
        ([[5], []], {}, r"`forced_terms` must not contain empty terms. Received: \[\]"),
        ([[[5], []], [], []], {}, r"`forced_terms` must not contain empty terms. Received: \[\]"),
        ([AnyOf([])], {}, "`forced_terms` must not contain empty terms"),
        ([AnyOf([[5], []])], {}, "`forced_terms` must not contain empty terms"),
        ([[5], [[6]]], {}, r"`forced_terms` must contain integers. Received: \[6\]"),
        ([[[5]], [[6]]], {}, "`forced_terms` must be .*one list of terms per.*2 lists for 3 sou"),
        ([[5, V]], {}, rf"`forced_terms` must contain ids in the range \[0, {V}\).*: {V}"),
        ([[5, END]], {}, r"`forced_terms` must not contain `end_id`.*id 3 in the term \[5, 3\]"),
        ([[0, 5]], {}, r"must not contain the padding id of `model`.*id 0 in the term \[0, 5\]"),
        (
            [[5, 8, 7]],
            {"banned_ids": (7, 8)},
            r"`forced_terms` must not contain `banned_ids`.*id 8 in the term \[5, 8, 7\]",
        ),
        ([[5]], {"num_beams": 1}, "`num_beams` must be at least 2 with `forced_terms`.*=1"),
        (
            [[[5, 6, 7], [8, 8]], [[5, 6, 5], [7, 8], [8, 6]], []],
            {"max_length": 6},
            "`forced_terms` must fit `max_length`.*7 tokens for source 1, max_length=6",
        ),
    ],
)
def test_messages(terms, options, message):
    case = lively_case("transformer")
    with pytest.raises(ValueError, match=message):
        kt.decoding.beam_search(case.model, SOURCES, forced_terms=terms, **options)
