"""Options of `translate`: prefixes, scores, repetition, lengths; against `kt.decoding`."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import enliven
from tests.pipelines.test_languages import write_model
from tests.pipelines.test_translator import SENTENCES, make_model, tokenizer  # noqa: F401
from tests.pretrained import folders

BANNED = (0, 1, 2)
PREFIXES = ["the cat", "", "a house is", "the", "on the hill"]


@pytest.fixture(scope="module")
def translator(tokenizer):  # noqa: F811
    return kt.Translator(enliven(make_model()), tokenizer)


@pytest.fixture(scope="module")
def sources(translator):
    return kt.data.encode(translator.source_tokenizer, SENTENCES, end=True)


def texts_of(translator, rows):
    return kt.data.decode(translator.target_tokenizer, rows)


def search(translator, sources, **options):
    return kt.decoding.beam_search(translator.model, sources, banned_ids=BANNED, **options)


def greedy(translator, sources, **options):
    options = {"stop_ids": (3,), "banned_ids": BANNED, "max_new_tokens": 9, **options}
    return texts_of(translator, kt.decoding.generate(translator.model, sources, **options))


@pytest.mark.slow
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_prefix_for_each_sentence(translator, sources, num_beams):
    options = {"max_new_tokens": 9, "num_beams": num_beams}
    found = translator.translate(SENTENCES, target_prefix=PREFIXES, **options)
    ids = kt.data.encode(translator.target_tokenizer, PREFIXES)
    if num_beams == 1:
        expected = greedy(translator, sources, prefix_ids=ids)
    else:
        result = search(translator, sources, num_beams=3, max_length=9, prefix_ids=ids)
        expected = texts_of(translator, result.ids[:, 0])
    assert found == expected
    assert all(text.startswith(prefix) for text, prefix in zip(found, PREFIXES, strict=True))
    free = translator.translate(SENTENCES, **options)
    assert found[1] == free[1] and found[0] != free[0]
    alone = [
        translator.translate(text, target_prefix=prefix, **options)
        for text, prefix in zip(SENTENCES, PREFIXES, strict=True)
    ]
    assert translator.translate(SENTENCES, target_prefix=PREFIXES, batch_size=2, **options) == alone
    assert alone == found


def test_one_prefix_for_all(translator):
    found = translator.translate(SENTENCES, 5, target_prefix="the dog")
    assert found == translator.translate(SENTENCES, 5, target_prefix=["the dog"] * 5)
    assert all(text.startswith("the dog") for text in found)
    assert translator.translate(SENTENCES, 5, target_prefix="") == translator.translate(
        SENTENCES, 5
    )


@pytest.mark.slow
def test_repetition_and_length_as_in_decoding(translator, sources):
    def texts_with(**options):
        beams = translator.translate(SENTENCES, 9, num_beams=3, **options)
        return translator.translate(SENTENCES, 9, **options), beams

    greedy_texts, beams = texts_with(no_repeat_ngram_size=1)
    assert greedy_texts == greedy(translator, sources, no_repeat_ngram_size=1)
    result = search(translator, sources, num_beams=3, max_length=9, no_repeat_ngram_size=1)
    assert beams == texts_of(translator, result.ids[:, 0])
    assert (greedy_texts, beams) != texts_with()
    greedy_texts, beams = texts_with(min_new_tokens=8)
    assert greedy_texts == greedy(translator, sources, min_new_tokens=8)
    result = search(translator, sources, num_beams=3, max_length=9, min_length=8)
    assert beams == texts_of(translator, result.ids[:, 0])
    assert (greedy_texts, beams) != texts_with()


def test_the_call_wins_over_the_defaults(translator):
    defaults = kt.DecodingDefaults(no_repeat_ngram_size=1, min_new_tokens=8)
    own = kt.Translator(translator.model, translator.source_tokenizer, defaults=defaults)
    given = translator.translate(SENTENCES, 9, no_repeat_ngram_size=1, min_new_tokens=8)
    assert own.translate(SENTENCES, 9) == given
    free = own.translate(SENTENCES, 9, no_repeat_ngram_size=0, min_new_tokens=0)
    assert free == translator.translate(SENTENCES, 9) != given


@pytest.mark.slow
@pytest.mark.parametrize("num_beams", [1, 3])
def test_scores(translator, sources, num_beams):
    """A score changes no text, and is that of the beam search."""
    options = {"max_new_tokens": 9, "num_beams": num_beams, "target_prefix": PREFIXES}
    options |= {"length_penalty": 1.3, "length_normalization": "length"}
    texts = translator.translate(SENTENCES, **options)
    found = translator.translate(SENTENCES, return_scores=True, batch_size=3, **options)
    assert all(isinstance(one, kt.Translation) for one in found)
    assert [one.text for one in found] == texts
    result = search(
        translator,
        sources,
        num_beams=num_beams,
        max_length=9,
        prefix_ids=kt.data.encode(translator.target_tokenizer, PREFIXES),
        length_penalty=1.3,
        length_normalization="length",
    )
    np.testing.assert_allclose([one.score for one in found], result.scores[:, 0], atol=1e-5)
    several = translator.translate(SENTENCES, num_return=1, return_scores=True, **options)
    assert [best[0].text for best in several] == texts
    single = translator.translate(SENTENCES[0], return_scores=True, num_beams=num_beams)
    assert isinstance(single, kt.Translation)


@pytest.mark.slow
def test_scores_of_greedy_translations_with_limits_of_their_own(translator, sources):
    """By the log-probabilities of the model for the ids that are returned."""
    defaults = kt.DecodingDefaults(max_length_factor=1.0, repetition_penalty=1.5)
    own = kt.Translator(translator.model, translator.source_tokenizer, defaults=defaults)
    limits = [len(source) for source in sources]
    assert len(set(limits)) > 2
    found = own.translate(SENTENCES, return_scores=True, length_penalty=0.6)
    assert [one.text for one in found] == own.translate(SENTENCES)
    for one, source, limit in zip(found, sources, limits, strict=True):
        options = {"stop_ids": (3,), "banned_ids": BANNED, "repetition_penalty": 1.5}
        (ids,) = kt.decoding.generate(own.model, [source], limit, **options)
        targets = {"source_ids": [source], "target_ids": [ids]}
        (total,) = kt.decoding.score(own.model, targets)
        assert one.score == pytest.approx(total / ((5 + len(ids)) / 6) ** 0.6, abs=1e-4)


# === Languages ===


@pytest.mark.slow
def test_a_prefix_behind_the_language(tmp_path):
    folder = folders.m2m_100(tmp_path)
    write_model(folder, 3)
    translator = kt.Translator.from_pretrained(folder)
    languages = {"source_language": "en", "target_language": "fr"}
    texts, prefixes = ["the cat sat", "a dog", "the mat"], ["a dog", "", "the text the"]
    rows, language = translator.encode_sources(texts, **languages)
    ids = [[*language, *row] for row in kt.data.encode(translator.target_tokenizer, prefixes)]
    defaults, options = translator.defaults, {**languages, "target_prefix": prefixes}
    found = translator.translate(texts, return_scores=True, max_new_tokens=8, **options)
    beams = translator.translate(texts, num_return=2, num_beams=3, max_new_tokens=8, **options)
    common = {"start_id": 2, "banned_ids": defaults.banned_ids, "prefix_ids": ids}
    expected = kt.decoding.generate(
        translator.model, rows, max_new_tokens=8, stop_ids=(2,), **common
    )
    assert [one.text for one in found] == kt.data.decode(
        translator.target_tokenizer, expected, start_id=None
    )
    for num_beams, best in ((1, [[one] for one in found]), (3, beams)):
        result = kt.decoding.beam_search(
            translator.model,
            rows,
            end_id=2,
            num_beams=num_beams,
            num_return=min(num_beams, 2),
            max_length=8,
            length_penalty=defaults.length_penalty,
            length_normalization="length",
            count_prefix=1,
            **common,
        )
        scores = [[one.score for one in row] for row in best]
        np.testing.assert_allclose(scores, result.scores, atol=1e-5)
        flat = result.ids.reshape(-1, result.ids.shape[-1])
        decoded = kt.data.decode(translator.target_tokenizer, flat, start_id=None)
        assert [one.text for row in best for one in row] == decoded
    for one, prefix in zip(found, prefixes, strict=True):
        assert one.text.startswith(prefix)
    with pytest.raises(ValueError, match="`target_prefix` must not contain .*='__fr__ the'"):
        translator.translate("a dog", **{**options, "target_prefix": "__fr__ the"})


# === Positions ===


@pytest.fixture(scope="module")
def short(tokenizer):  # noqa: F811
    model = kt.models.transformer(
        40, None, 1, 2, 16, 32, position_layout="learned", max_length=37, dropout=0.0
    )
    return kt.Translator(enliven(model), tokenizer)


def test_the_default_length_fits_the_positions(short):
    rows = [
        len(kt.data.encode(short.target_tokenizer, [text])[0])
        for text in short.translate(["the cat"] * 2, target_prefix=["", "the cat"])
    ]
    assert max(rows) <= 37
    best = short.translate("the cat", num_beams=2, num_return=2, min_new_tokens=30)
    assert len(best) == 2


@pytest.mark.parametrize("num_beams", [1, 2])
def test_positions_that_do_not_suffice(short, num_beams):
    message = "`max_new_tokens` and `target_prefix` must fit .*=36 and a prefix of 2 ids, for 37"
    prefix = short.target_tokenizer.detokenize([[4, 5]])[0]
    (ids,) = kt.data.encode(short.target_tokenizer, [prefix])
    message = message.replace("2 ids", f"{len(ids)} ids")
    with pytest.raises(ValueError, match=message):
        short.translate("the cat", 36, target_prefix=prefix, num_beams=num_beams)
    with pytest.raises(ValueError, match="`max_new_tokens` and `target_prefix` must .* of 0 ids"):
        short.translate("the cat", 38, num_beams=num_beams)


# === What is refused ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_prefix": ["a", "b"]}, "`target_prefix` must be .* per text.*2 strings for 5 te"),
        ({"target_prefix": 3}, "`target_prefix` must be a string, or .* Received: target_prefix=3"),
        ({"target_prefix": [None] * 5}, "`target_prefix` must be a string, or a list with one"),
        ({"target_prefix": "東"}, "`target_prefix` must not contain characters.*prefix='東'"),
        (
            {"target_prefix": ["", "a", "a 東", "", ""]},
            r"`target_prefix` must not contain.*target_prefix\[2\]='a 東'",
        ),
        ({"no_repeat_ngram_size": -1}, "`no_repeat_ngram_size` must be an integer >= 0.*=-1"),
        ({"min_new_tokens": 1.5}, "`min_new_tokens` must be an integer >= 0. .*=1.5"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be a positive integer.*=0"),
        ({"return_scores": 1}, "`return_scores` must be True or False. Received: return_scores=1"),
        ({"length_penalty": "x"}, "`length_penalty` must be a number"),
        ({"length_penalty": 99.0, "return_scores": True}, "`length_penalty` must be a number from"),
    ],
)
def test_messages(translator, options, message):
    with pytest.raises(ValueError, match=message):
        translator.translate(SENTENCES, **options)
