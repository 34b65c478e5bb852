"""Translators of many languages: transformers' translations, defaults, what is refused."""

import json

import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from keras_transformer.pipelines.languages import language_ids
from tests.parity.weights import randomize_torch
from tests.pretrained import folders

SENTENCES = ["the cat sat on the mat", "Où est le chat ?", "日本語 the text", "สวัสดี 😀", "a dog"]
MAKE = {
    "m2m_100": (folders.m2m_100, "en", "fr"),
    "nllb": (folders.nllb, "eng_Latn", "tha_Thai"),
    "nllb_last": (lambda f: folders.nllb(f, legacy_behaviour=True), "fra_Latn", "arb_Arab"),
}


def write_model(folder, seed, **settings):
    """Random weights of the size of a folder's tokenizer. Returns transformers' model."""
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = transformers.M2M100Config(
        vocab_size=size,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=2,
        encoder_ffn_dim=19,
        decoder_ffn_dim=11,
    )
    model = transformers.M2M100ForConditionalGeneration(config).eval()
    settings = {"bad_words_ids": [[1]], "max_length": 13, **settings}
    model.generation_config.update(**settings)
    return redraw(model, folder, seed)


def redraw(model, folder, seed):
    randomize_torch(model, seed)
    with torch.no_grad():
        model.model.shared.weight[2] *= 4.0  # the end comes soon in some
    model.save_pretrained(folder)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKE)
def test_translations_of_transformers(kind, tmp_path):
    make, source, target = MAKE[kind]
    folder = make(tmp_path)
    # Ids without a token, which they decode to "<unk>", and we to nothing.
    spare = range(max(kt.pretrained.load_tokenizer(folder).languages.values()) + 1, 1000)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    banned = [[1], *([token] for token in spare if token < size)]
    model = write_model(folder, 0, bad_words_ids=banned)
    theirs = transformers.AutoTokenizer.from_pretrained(folder, src_lang=source)
    translator, found = None, set()
    for seed in range(4):
        redraw(model, folder, seed)
        loaded = kt.Translator.from_pretrained(folder)
        if translator is None:
            translator = loaded
        else:  # what was compiled for the first serves the others
            translator.model.set_weights(loaded.model.get_weights())
        languages = {"source_language": source, "target_language": target}
        forced = translator.target_tokenizer.languages[target]
        batch = theirs(SENTENCES, return_tensors="pt", padding=True)
        for num_beams in (1, 4):
            options = (
                {"early_stopping": "never", "num_return_sequences": 4} if num_beams > 1 else {}
            )
            result = model.generate(
                **batch,
                num_beams=num_beams,
                forced_bos_token_id=forced,
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=True,
                **options,
            )
            expected = theirs.batch_decode(result.sequences, skip_special_tokens=True)
            if num_beams == 1:
                assert translator.translate(SENTENCES, **languages) == expected
                continue
            best = translator.translate(SENTENCES, num_beams=4, num_return=4, **languages)
            flat = [translation for row in best for translation in row]
            assert [one.text for one in flat] == expected
            scores = [one.score for one in flat]
            np.testing.assert_allclose(scores, result.sequences_scores.numpy(), atol=1e-4)
        found.update(expected)
    assert len({len(text) for text in found}) > 5


@pytest.fixture(scope="module")
def m2m(tmp_path_factory):
    folder = folders.m2m_100(tmp_path_factory.mktemp("foreign"))
    write_model(folder, 1)
    return folder


@pytest.fixture(scope="module")
def translator(m2m):
    return kt.Translator.from_pretrained(m2m)


@pytest.mark.slow
def test_the_languages_make_a_difference(translator):
    found = {
        tuple(translator.translate(SENTENCES, source_language=one, target_language=other))
        for one, other in (("en", "fr"), ("en", "de"), ("ja", "fr"))
    }
    assert len(found) == 3


@pytest.mark.slow
def test_default_languages_are_saved(translator, tmp_path):
    given = {"source_language": "en", "target_language": "fr"}
    expected = translator.translate(SENTENCES, **given)
    defaults = translator.defaults._replace(**given)
    own = kt.Translator(translator.model, translator.source_tokenizer, defaults=defaults)
    assert own.translate(SENTENCES) == expected
    own.save(tmp_path / "own")
    again = kt.Translator.load(tmp_path / "own")
    assert again.defaults == defaults
    assert again.target_tokenizer is again.source_tokenizer
    assert again.translate(SENTENCES) == expected
    german = again.translate(SENTENCES, target_language="de")
    assert german == translator.translate(SENTENCES, source_language="en", target_language="de")


def change(folder, name, **values):
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def test_what_a_folder_says_of_languages(tmp_path):
    folder = folders.m2m_100(tmp_path)
    write_model(folder, 0, min_length=4)
    defaults = kt.Translator.from_pretrained(folder).defaults
    assert (defaults.source_language, defaults.target_language) == (None, None)
    # Of their 13 ids and at least 4, the start and the language are no new ones here.
    assert (defaults.max_new_tokens, defaults.min_new_tokens) == (11, 2)
    assert (defaults.length_normalization, defaults.banned_ids) == ("length", (1,))
    change(folder, "tokenizer_config.json", src_lang="de", tgt_lang="ja")
    defaults = kt.Translator.from_pretrained(folder).defaults
    assert (defaults.source_language, defaults.target_language) == ("de", "ja")
    tokenizer = kt.pretrained.load_tokenizer(folder)
    change(folder, "generation_config.json", forced_bos_token_id=tokenizer.languages["fr"])
    assert kt.Translator.from_pretrained(folder).defaults.target_language == "fr"
    change(folder, "generation_config.json", forced_bos_token_id=9)
    with pytest.raises(ValueError, match="`forced_bos_token_id` must be the id of a language.*=9"):
        kt.Translator.from_pretrained(folder)


def test_ids_of_each_form(tmp_path):
    def ids(folder, **languages):
        tokenizer = kt.pretrained.load_tokenizer(folder)
        given = kt.DecodingDefaults(**languages)
        return tokenizer.languages, language_ids(tokenizer, tokenizer, given)

    languages, found = ids(
        folders.m2m_100(tmp_path / "first"), source_language="en", target_language="fr"
    )
    en, fr = languages["en"], languages["fr"]
    assert found == ((en,), (), (fr,))
    assert found.sources([[5, 2], [2]]) == [[en, 5, 2], [en, 2]]
    languages, found = ids(
        folders.nllb(tmp_path / "last", legacy_behaviour=True),
        source_language="eng_Latn",
        target_language="fra_Latn",
    )
    assert found.sources([[5, 2]]) == [[5, 2, languages["eng_Latn"]]]
    assert found.prefix == (languages["fra_Latn"],)
    small = folders.m2m_100(tmp_path / "s", settings={"tokenizer_class": "SMALL100Tokenizer"})
    languages, found = ids(small, target_language="fr")
    assert found == ((languages["fr"],), (), ())
    with pytest.raises(ValueError, match="`source_language` must be None, because the model reads"):
        ids(small, source_language="en", target_language="fr")


@pytest.mark.slow
def test_small_100(tmp_path):
    """The target language stands before the source, and the first token is chosen freely."""
    settings = {"tokenizer_class": "SMALL100Tokenizer"}
    folder = folders.m2m_100(tmp_path, settings=settings)
    model = write_model(folder, 2)
    translator = kt.Translator.from_pretrained(folder)
    assert translator.defaults.max_new_tokens == 12
    tokenizer = translator.source_tokenizer
    rows = [[tokenizer.languages["fr"], *row, 2] for row in tokenizer(SENTENCES)]
    expected = []
    for row in rows:
        ids = model.generate(torch.tensor([row]), do_sample=False, num_beams=4, early_stopping=True)
        expected += tokenizer.detokenize(ids[:, 1:].tolist())
    options = {"num_beams": 4, "early_stopping": True, "target_language": "fr"}
    assert translator.translate(SENTENCES, **options) == expected


# === What is refused ===


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({}, "`source_language` must be given, .* the model is multilingual"),
        ({"source_language": "en"}, "`target_language` must be given, in the call or in `transl"),
        ({"target_language": "fr"}, "`source_language` must be given"),
        (
            {"source_language": "eng", "target_language": "fr"},
            r"`source_language` must be one of the 100 languages .*\['en'.*='eng'",
        ),
        (
            {"source_language": "en", "target_language": "fra_Latn"},
            r"`target_language` must be one of .* such as \['fr'\]. Received: .*='fra_Latn'",
        ),
        ({"source_language": "en", "target_language": 5}, "`target_language` must be .*Rec.*=5"),
    ],
)
def test_languages_that_are_wrong(translator, languages, message):
    with pytest.raises(ValueError, match=message):
        translator.translate(["the cat"], **languages)


def test_near_languages_of_nllb(tmp_path):
    folder = folders.nllb(tmp_path)
    write_model(folder, 0)
    translator = kt.Translator.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"such as \['eng_Latn'\]. Received: .*='en'"):
        translator.translate(["a"], source_language="en", target_language="fra_Latn")
    with pytest.raises(ValueError, match=r"such as \['arb_Arab'.*\]. Received: .*='arb'"):
        translator.translate(["a"], source_language="eng_Latn", target_language="arb")


def test_a_default_that_is_no_language(translator):
    defaults = kt.DecodingDefaults(target_language="xx")
    with pytest.raises(ValueError, match="`target_language` must be one of the 100 .*='xx'"):
        kt.Translator(translator.model, translator.source_tokenizer, defaults=defaults)


def test_a_translator_of_two_languages(translator):
    tokenizer = kt.data.train_tokenizer(folders.MANY, 120)
    own = kt.Translator(translator.model, tokenizer)
    message = "`target_language` must be None, because the tokenizers have no languages.*='fr'"
    with pytest.raises(ValueError, match=message):
        own.translate(["the cat"], target_language="fr")
    with pytest.raises(ValueError, match="`source_language` must be None, because the tokenizers"):
        own.translate(["the cat"], source_language="en")


def test_export_of_many_languages(translator, tmp_path):
    with pytest.raises(ValueError, match="`tokenizer` must have no languages|TensorFlow backend"):
        translator.export(tmp_path / "served")
    assert not (tmp_path / "served").exists()


# === Pictures ===


@pytest.mark.slow
def test_pictures_show_the_languages(translator):
    languages = {"source_language": "en", "target_language": "fr"}
    rows, prefix = translator.encode_sources(["the cat"], **languages)
    ids = translator.source_tokenizer.languages
    assert (rows[0][0], rows[0][-1], prefix) == (ids["en"], 2, [ids["fr"]])
    options = {"num_beams": 2, "max_new_tokens": 4}
    figure = kt.visualize.beam_tree(translator, "the cat", **options, **languages)
    assert figure.data["source"][0] == "__en__"
    expected = translator.translate("the cat", num_return=1, **options, **languages)[0]
    assert figure.data["hypotheses"][0]["text"].strip() == expected.text
    assert figure.data["hypotheses"][0]["score"] == pytest.approx(expected.score, abs=1e-5)
    given = translator.defaults._replace(**languages)
    own = kt.Translator(translator.model, translator.source_tokenizer, defaults=given)
    figure = kt.visualize.alignment(own, ("the cat", "le chat"))
    text = json.dumps(figure.data, default=str, ensure_ascii=False)
    assert "__en__" in text and "__fr__" in text


def test_the_explorer_shows_two_languages(m2m):
    pytest.importorskip("starlette")
    from keras_transformer.explorer.opened_model import open_model

    with pytest.raises(ValueError, match="`model` must be a translator of one language pair.*100"):
        open_model(m2m)


@pytest.mark.slow
def test_languages_of_corpora_scores_and_evaluations(translator):
    texts = SENTENCES[:3]
    languages = {"source_language": "en", "target_language": "fr"}
    expected = translator.translate(texts, **languages)
    assert kt.translate_corpus(translator, texts, verbose=0, **languages) == expected
    evaluation = kt.training.TranslationEvaluation(translator, texts, texts, **languages)
    evaluation.evaluate()
    assert evaluation.translations == expected
    with pytest.raises(ValueError, match="`target_language` must be one of"):
        kt.training.TranslationEvaluation(translator, texts, texts, target_language="xx")
    # The language token is given, so the mean leaves it out.
    sources, (language,) = translator.encode_sources(texts, **languages)
    rows = kt.data.encode(translator.target_tokenizer, texts, end=True)
    pairs = {"source_ids": sources, "target_ids": [[language, *row] for row in rows]}
    start_id = translator.target_tokenizer.start_id
    values = kt.decoding.score(translator.model, pairs, start_id, per_token=True)
    found = kt.score_translations(translator, texts, texts, **languages)
    np.testing.assert_allclose(found, [value[1:].mean() for value in values], rtol=1e-5)
    other = kt.score_translations(
        translator, texts, texts, source_language="en", target_language="de"
    )
    assert np.abs(found - other).max() > 1e-3
