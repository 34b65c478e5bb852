"""Tokenizers of multilingual models: the ids of transformers' own, and of their languages."""

import json

import pytest
import sentencepiece
import transformers

import keras_transformer as kt
from keras_transformer.pretrained.tokenizers.language_codes import M2M100, NLLB, WMT21
from tests.pretrained import folders
from tests.pretrained.folders import MANY, MANY_AWKWARD, NLLB_LANGUAGES


def both(folder, **options):
    theirs = transformers.AutoTokenizer.from_pretrained(folder, **options)
    return kt.pretrained.load_tokenizer(folder), theirs


def check_ids_and_texts(ours, theirs, hidden=()):
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in MANY_AWKWARD]
    assert ours(MANY_AWKWARD) == expected
    texts = theirs.batch_decode(expected, skip_special_tokens=True)
    assert ours.detokenize(expected) == texts
    assert sum(len(row) for row in expected) > 700
    names = {"padding_id": "pad", "unknown_id": "unk", "end_id": "eos", "start_id": "eos"}
    for own, name in names.items():
        assert getattr(ours, own) == getattr(theirs, f"{name}_token_id")


# === M2M100 ===


@pytest.mark.parametrize("listed", [False, True], ids=["not_listed", "listed"])
def test_m2m_100(listed, tmp_path):
    """Languages that the folder lists are special tokens in a text, too."""
    ours, theirs = both(folders.m2m_100(tmp_path, listed))
    check_ids_and_texts(ours, theirs)
    assert ours.languages == theirs.lang_code_to_id
    assert len(ours.languages) == 100 and ours.language_form == "source_first"
    # Eight made-up words follow.
    assert ours.vocabulary_size() == max(ours.languages.values()) + 9
    (row,) = ours(["__fr__"])
    assert (row == [ours.languages["fr"]]) is listed


def test_languages_decode_to_nothing(tmp_path):
    ours = kt.pretrained.load_tokenizer(folders.m2m_100(tmp_path, listed=False))
    (row,) = ours(["the cat"])
    assert ours.detokenize([[2, ours.languages["fr"], *row, 2]]) == ["the cat"]
    assert ours([">>fra<< the cat"])[0][-2:] == row[-2:]  # no code of Marian's
    assert ours.token_to_id("__fr__") == ours.languages["fr"]


def test_what_transformers_saved_again(tmp_path):
    _, theirs = both(folders.m2m_100(tmp_path / "one"))
    theirs.save_pretrained(tmp_path / "two")
    folders.write_config(tmp_path / "two", "m2m_100")
    check_ids_and_texts(*both(tmp_path / "two"))


def test_the_languages_of_news(tmp_path):
    settings = {"language_codes": "wmt21", "num_madeup_words": 0}
    ours, theirs = both(folders.m2m_100(tmp_path, listed=False, settings=settings), src_lang="de")
    assert [*ours.languages] == WMT21
    assert ours.languages == theirs.lang_code_to_id
    check_ids_and_texts(ours, theirs)


def test_small_100(tmp_path):
    """The tokenizer of M2M100, and only the target language, before the source."""
    plain = kt.pretrained.load_tokenizer(folders.m2m_100(tmp_path / "m2m"))
    settings = {"tokenizer_class": "SMALL100Tokenizer"}
    ours = kt.pretrained.load_tokenizer(folders.m2m_100(tmp_path / "small", settings=settings))
    assert ours.language_form == "target_first"
    assert ours.languages == plain.languages
    assert ours(MANY_AWKWARD) == plain(MANY_AWKWARD)


# === NLLB ===


@pytest.mark.parametrize("name", ["NllbTokenizer", "NllbTokenizerFast"])
def test_nllb(name, tmp_path):
    folder = folders.nllb(tmp_path, tokenizer_class=name)
    ours, theirs = both(folder, src_lang="fra_Latn")
    check_ids_and_texts(ours, theirs)
    assert ours.languages == {c: theirs.convert_tokens_to_ids(c) for c in NLLB_LANGUAGES}
    assert ours.language_form == "source_first"
    assert ours.vocabulary_size() == len(theirs) + 2  # the model's
    assert type(ours) is kt.data.HuggingFaceTokenizer
    (row,) = ours(["the cat"])
    assert ours.detokenize([[ours.languages["tha_Thai"], *row, 2, 1]]) == ["the cat"]


def test_nllb_as_transformers_saves_it_again(tmp_path):
    _, theirs = both(folders.nllb(tmp_path / "one", whole=False), src_lang="fra_Latn")
    theirs.save_pretrained(tmp_path / "two")
    folders.write_config(tmp_path / "two", "m2m_100")
    ours, theirs = both(tmp_path / "two")
    check_ids_and_texts(ours, theirs)
    assert ours.languages == {c: theirs.convert_tokens_to_ids(c) for c in NLLB_LANGUAGES}


def test_old_folders_put_the_language_last(tmp_path):
    ours, theirs = both(folders.nllb(tmp_path, legacy_behaviour=True), src_lang="fra_Latn")
    assert ours.language_form == "source_last"
    (row,) = kt.data.encode(ours, ["the cat"], end=True)
    assert theirs("the cat")["input_ids"] == [*row, ours.languages["fra_Latn"]]


@pytest.mark.parametrize("listed", [False, True])
def test_nllb_from_its_pieces(listed, tmp_path):
    """fairseq's ids: SentencePiece's plus one, then the languages, then the mask.

    Those of a tokenizer.json with the same pieces, made before transformers 5.
    """
    folder = folders.nllb(tmp_path / "pieces", whole=False)
    if not listed:
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NllbTokenizer"}')
    ours = kt.pretrained.load_tokenizer(folder)
    processor = sentencepiece.SentencePieceProcessor(str(folder / "sentencepiece.bpe.model"))
    texts = [text for text in MANY_AWKWARD if not any(x in text for x in ("<", "_Latn", "__"))]
    special = {0: 3, 1: 0, 2: 2}
    expected = [[special.get(i, i + 1) for i in row] for row in processor.encode(texts)]
    assert ours(texts) == expected
    assert ours.detokenize(ours(MANY[:5])) == processor.decode(processor.encode(MANY[:5]))
    first, codes = processor.get_piece_size() + 1, NLLB_LANGUAGES if listed else NLLB
    assert ours.languages == {code: first + index for index, code in enumerate(codes)}
    assert ours.token_to_id("<mask>") == first + len(codes)
    whole = kt.pretrained.load_tokenizer(folders.nllb(tmp_path / "whole"))
    assert listed is (whole.languages == ours.languages)
    plain = [text for text in MANY if "\t" not in text]
    assert whole(plain) == ours(plain)
    (row,) = ours(["the fra_Latn cat"])
    assert ours.languages["fra_Latn"] in row


def test_the_known_languages():
    assert (len(set(M2M100)), len(set(NLLB)), M2M100[0], NLLB[-1]) == (100, 202, "af", "zul_Latn")
    # As its published model has them, behind 256,001 ids.
    assert 256_001 + NLLB.index("eng_Latn") == 256_047


# === Saved, written, refused ===

KINDS = {
    "m2m_100": folders.m2m_100,
    "small_100": lambda folder: folders.m2m_100(
        folder, settings={"tokenizer_class": "SMALL100Tokenizer"}
    ),
    "nllb": folders.nllb,
    "nllb_last": lambda folder: folders.nllb(folder, legacy_behaviour=True),
    "nllb_pieces": lambda folder: folders.nllb(folder, whole=False),
}


def same(one, other):
    assert type(one) is type(other)
    assert one(MANY_AWKWARD) == other(MANY_AWKWARD)
    assert one.detokenize(one(MANY_AWKWARD)) == other.detokenize(one(MANY_AWKWARD))
    assert kt.data.special_ids(one) == kt.data.special_ids(other)
    assert one.languages == other.languages
    assert one.language_form == other.language_form
    assert one.vocabulary_size() == other.vocabulary_size()


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load(kind, tmp_path):
    original = kt.pretrained.load_tokenizer(KINDS[kind](tmp_path / "foreign"))
    kt.data.save_tokenizer(original, tmp_path / "ours")
    same(kt.data.load_tokenizer(tmp_path / "ours"), original)


def small_model(tokenizer):
    return kt.models.transformer(
        tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=5,
        activation="relu",
        normalize_first=True,
        layer_norm_epsilon=1e-5,
        position_layout="tensor2tensor",
        first_position=2,
        padding_id=1,
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nllb_pieces"])
def test_a_loaded_tokenizer_is_handed_on(kind, tmp_path):
    original = kt.pretrained.load_tokenizer(KINDS[kind](tmp_path / "foreign"))
    kt.pretrained.save_huggingface(small_model(original), original, tmp_path / "new")
    same(kt.pretrained.load_tokenizer(tmp_path / "new"), original)
    if kind == "small_100":  # whose class is not part of transformers
        return
    language = [*original.languages][3]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new", src_lang=language)
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in MANY_AWKWARD]
    assert original(MANY_AWKWARD) == expected
    row = theirs("the cat")["input_ids"]
    place = -1 if kind == "nllb_last" else 0
    assert row[place] == original.languages[language]


def test_languages_that_no_class_has(tmp_path):
    original = kt.pretrained.load_tokenizer(folders.nllb(tmp_path / "foreign", whole=False))
    with pytest.raises(ValueError, match="must have the language tokens of M2M100 .* 6 languages"):
        kt.pretrained.save_huggingface(small_model(original), original, tmp_path / "new")
    pair = (original, kt.pretrained.load_tokenizer(tmp_path / "foreign"))
    with pytest.raises(ValueError, match="must be a single tokenizer for a multilingual"):
        kt.pretrained.save_huggingface(small_model(original), pair, tmp_path / "new")


def refuse(folder, message):
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer"}', "`tokenizer_class` in .*"
         "must be one of .*'M2M100Tokenizer'.* for m2m_100. Received: 'BertTokenizer'"),
        ("tokenizer_config.json", '{"language_codes": "all"}', "`language_codes` in .*Rec.*'all'"),
        ("tokenizer_config.json", '{"sp_model_kwargs": {"alpha": 1}}', "`sp_model_kwargs` in "),
        ("vocab.json", '{"<s>": 0}', "vocab.json` must contain '<unk>'. Received: no such"),
        ("vocab.json", '{"<s>": -1}', "must map tokens to ids"),
        ("sentencepiece.bpe.model", "", "must describe a tokenizer"),
        ("special_tokens_map.json", '{"pad_token": {"content": "<pad>", "lstrip": true}}',
         "must not strip spaces"),
    ],
)  # fmt: skip
def test_damaged_folders_of_m2m_100(name, content, message, tmp_path):
    folder = folders.m2m_100(tmp_path)
    (folder / name).write_text(content)
    refuse(folder, message)


def test_missing_files(tmp_path):
    folder = folders.m2m_100(tmp_path / "m2m")
    (folder / "sentencepiece.bpe.model").unlink()
    refuse(folder, "`folder` must contain the file sentencepiece.bpe.model")
    folder = folders.nllb(tmp_path / "nllb")
    (folder / "tokenizer.json").unlink()
    refuse(folder, "`folder` must contain the file sentencepiece.bpe.model")


def test_a_tokenizer_json_of_another_kind(tmp_path):
    folder = folders.nllb(tmp_path)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["fuse_unk"] = False
    path.write_text(json.dumps(content))
    refuse(folder, "The model in .* must be that of a NllbTokenizer")


def test_language_tokens_of_ones_own():
    trained = kt.data.train_tokenizer(MANY, 120, symbols=["__xx__"])
    vocabulary = {token: index for index, token in enumerate(trained.get_vocabulary())}
    special = {"unknown_id": 1, "end_id": 3, "special_tokens": ["</s>"]}

    def make(**options):
        return kt.data.MarianTokenizer(trained.proto, vocabulary, **special, **options)

    tokenizer = make(language_tokens=["__xx__"], language_form="source_last")
    assert tokenizer.languages == {"xx": vocabulary["__xx__"]}
    with pytest.raises(ValueError, match=r"must contain all `language_tokens`.*no \['__yy__'\]"):
        make(language_tokens=["__yy__"])
    with pytest.raises(ValueError, match="`language_tokens` must be a sequence of strings"):
        make(language_tokens="__xx__")
    with pytest.raises(ValueError, match="`language_form` must be one of .*'first'"):
        make(language_tokens=["__xx__"], language_form="first")
