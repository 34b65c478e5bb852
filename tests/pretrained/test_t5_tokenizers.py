"""T5's tokenizers: the ids of transformers' own, sentinels, MADLAD-400's languages."""

import json

import pytest
import sentencepiece
import transformers

import keras_transformer as kt
from tests.harness import randomize
from tests.pretrained import folders
from tests.pretrained.folders import MANY, MANY_AWKWARD, SENTINELS

TEXTS = [*MANY_AWKWARD, *SENTINELS, *(f"summarize: {text}" for text in folders.LETTERS)]
SETTINGS = {
    "none": {},
    "named": {"tokenizer_class": "T5Tokenizer", "extra_ids": 100},
    "fast": {"tokenizer_class": "T5TokenizerFast", "eos_token": "</s>", "pad_token": "<pad>"},
    "fewer": {"tokenizer_class": "T5Tokenizer", "extra_ids": 8},
    "no_sentinels": {"tokenizer_class": "T5Tokenizer", "extra_ids": 0},
}


def check(folder):
    ours = kt.pretrained.load_tokenizer(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert ours(TEXTS) == expected
    assert sum(len(row) for row in expected) > 1500
    texts = theirs.batch_decode(expected, skip_special_tokens=True)
    assert ours.detokenize(expected) == texts
    ended = [theirs(text)["input_ids"] for text in TEXTS]
    assert kt.data.encode(ours, TEXTS, end=True) == ended
    assert kt.data.special_ids(ours) == (0, 2, 0, 1)
    return ours, theirs


@pytest.mark.parametrize("name", SETTINGS)
def test_pieces(name, tmp_path):
    folder = folders.t5(tmp_path, **SETTINGS[name])
    ours, theirs = check(folder)
    assert ours.vocabulary_size() == len(theirs) + 28  # the model's
    assert ours.languages == {}
    number = SETTINGS[name].get("extra_ids", 100)
    if number:
        assert ours(["<extra_id_0>"]) == [[len(theirs) - 1]]
        assert ours.token_to_id(f"<extra_id_{number - 1}>") == len(theirs) - number


def test_a_tokenizer_json_of_older_versions(tmp_path):
    ours, _ = check(folders.t5(tmp_path / "whole", whole=True))
    assert ours(TEXTS) == kt.pretrained.load_tokenizer(folders.t5(tmp_path / "pieces"))(TEXTS)


def test_as_transformers_saves_it_again(tmp_path):
    _, theirs = check(folders.t5(tmp_path / "one"))
    theirs.save_pretrained(tmp_path / "two")
    folders.write_config(tmp_path / "two", "mt5", vocab_size=400)
    check(tmp_path / "two")


def test_source_and_target_have_one_tokenizer(tmp_path):
    folder = folders.t5(tmp_path)
    one, other = (kt.pretrained.load_tokenizer(folder, target=side) for side in (False, True))
    assert one(TEXTS) == other(TEXTS)


def test_the_start_of_generation_counts(tmp_path):
    folder = folders.t5(tmp_path)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"decoder_start_token_id": 2, "eos_token_id": 1}))
    assert kt.pretrained.load_tokenizer(folder).start_id == 2


# === MADLAD-400 ===


def test_target_languages(tmp_path):
    """The ids of SentencePiece, with a language in front or somewhere else."""
    folder = folders.madlad(tmp_path)
    ours = kt.pretrained.load_tokenizer(folder)
    processor = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    assert ours(MANY) == [processor.encode(" ".join(text.split())) for text in MANY]
    assert kt.data.special_ids(ours) == (1, 0, 0, 2)
    assert ours.languages == {"de": 3, "ja": 4, "zh_Hant": 5}
    assert ours.language_form == "target_first"
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("<2de> The cat sat.", "<2zh_Hant> the mat", "The <2ja> cat"):
        assert ours([text]) == [theirs(text, add_special_tokens=False)["input_ids"]]
    (row,) = ours(["The cat sat."])
    assert ours(["<2de> The cat sat."]) == [[3, *row]]
    assert ours.detokenize([[3, *row, 2, 1]]) == ["The cat sat."]


def small_model(tokenizer, padding_id=0, **more):
    model = kt.models.transformer(
        tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=5,
        dropout=0.0,
        normalize_first=True,
        norm="rms",
        position_layout=None,
        relative_positions="t5",
        share_relative_positions=True,
        attention_scale=1.0,
        use_attention_bias=False,
        use_feed_forward_bias=False,
        scale_embeddings=False,
        padding_id=padding_id,
        **more,
    )
    return randomize(model)


def test_a_translator_with_target_languages(tmp_path):
    """The language of a call does what the same token in the text does there."""
    tokenizer = kt.pretrained.load_tokenizer(folders.madlad(tmp_path / "theirs"))
    model = small_model(tokenizer, padding_id=1)
    kt.pretrained.save_huggingface(model, tokenizer, tmp_path / "new")
    translator = kt.Translator.from_pretrained(tmp_path / "new")
    assert translator.source_tokenizer.languages == tokenizer.languages
    options = {"max_new_tokens": 7, "num_beams": 1}
    texts = {
        code: translator.translate(["The cat sat."], target_language=code, **options)
        for code in ("de", "ja")
    }
    assert texts["de"] != texts["ja"]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    reference = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "new").eval()
    for code, text in texts.items():
        inputs = theirs(f"<2{code}> The cat sat.", return_tensors="pt")
        ids = reference.generate(
            inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=7
        )
        assert theirs.batch_decode(ids, skip_special_tokens=True) == text
    with pytest.raises(ValueError, match="`target_language` must be given"):
        translator.translate(["The cat sat."])
    with pytest.raises(ValueError, match="`target_language` must be one of the 3 lang.*'fr'"):
        translator.translate(["The cat sat."], target_language="fr")


# === Texts in, texts out ===


@pytest.mark.parametrize("kind", ["loaded", "trained"])
def test_a_translator_there_and_back(kind, tmp_path):
    if kind == "loaded":
        tokenizer = kt.pretrained.load_tokenizer(folders.t5(tmp_path / "theirs"))
        model = small_model(tokenizer, start_is_padding=True, scale_logits=True)
    else:
        tokenizer = kt.data.train_tokenizer(MANY, 150)
        model = small_model(tokenizer, scale_logits=True)
    kt.pretrained.save_huggingface(model, tokenizer, tmp_path / "new")
    translator = kt.Translator.from_pretrained(tmp_path / "new")
    text = "translate English to German: The cat sat on the mat."
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    assert theirs(text)["input_ids"] == kt.data.encode(tokenizer, [text], end=True)[0]
    assert theirs.bos_token is None
    reference = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "new").eval()
    inputs = theirs(text, return_tensors="pt")
    assert inputs["input_ids"][0, -1] == kt.data.special_ids(tokenizer).end
    for num_beams in (1, 4):
        ids = reference.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=11,
            num_beams=num_beams,
            early_stopping="never" if num_beams > 1 else False,
        )
        (expected,) = theirs.batch_decode(ids, skip_special_tokens=True)
        assert expected
        found = translator.translate([text], num_beams=num_beams, max_new_tokens=11)
        assert found == [expected]


def test_our_own_folder(tmp_path):
    tokenizer = kt.pretrained.load_tokenizer(folders.t5(tmp_path / "theirs"))
    model = small_model(tokenizer, start_is_padding=True)
    translator = kt.Translator(model, tokenizer, tokenizer)
    expected = translator.translate(MANY[:3], num_beams=2, max_new_tokens=5)
    translator.save(tmp_path / "ours")
    again = kt.Translator.load(tmp_path / "ours")
    assert again.translate(MANY[:3], num_beams=2, max_new_tokens=5) == expected


# === What is refused ===


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", '{"extra_ids": -1}', "`extra_ids` in .* Received: -1"),
        ("tokenizer_config.json", '{"extra_ids": true}', "`extra_ids` in .* Received: True"),
        ("tokenizer_config.json", '{"tokenizer_class": "Own"}', "`tokenizer_class` .*T5.*'Own'"),
        ("spiece.model", "no model", "must be a SentencePiece model"),
    ],
)
def test_damaged_folders(name, content, message, tmp_path):
    folder = folders.t5(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load_tokenizer(folder)


def test_other_models(tmp_path):
    folder = folders.t5(tmp_path)
    proto = folders.sentence_piece(MANY, 220, model_type="bpe", character_coverage=1.0)
    (folder / "spiece.model").write_bytes(proto)
    with pytest.raises(ValueError, match="must be a unigram model"):
        kt.pretrained.load_tokenizer(folder)
    (folder / "spiece.model").unlink()
    with pytest.raises(ValueError, match="must contain tokenizer.json, or spiece.model"):
        kt.pretrained.load_tokenizer(folder)


def test_a_tokenizer_json_of_another_kind(tmp_path):
    folder = folders.t5(tmp_path, whole=True)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must be a character map, as in T5Tokenizer"):
        kt.pretrained.load_tokenizer(folder)


def test_two_tokenizers(tmp_path):
    pair = [kt.pretrained.load_tokenizer(folders.t5(tmp_path / name)) for name in "ab"]
    model = small_model(pair[0], start_is_padding=True)
    with pytest.raises(ValueError, match="`tokenizer` must be a single tokenizer for a T5 model"):
        kt.pretrained.save_huggingface(model, pair, tmp_path / "new")
