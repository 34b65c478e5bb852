"""Foreign tokenizers: the ids of transformers' own, text back, folders that are wrong."""

import json
import warnings

import pytest
import transformers

import keras_transformer as kt
from tests.pretrained import folders
from tests.pretrained.folders import AWKWARD

REFERENCES = {
    "gpt1": transformers.OpenAIGPTTokenizer,
    "gpt2": transformers.GPT2Tokenizer,
    "bert": transformers.BertTokenizer,
    "distilbert": transformers.DistilBertTokenizer,
    "roberta": transformers.RobertaTokenizer,
    "xlm_roberta": transformers.XLMRobertaTokenizer,
    "marian": transformers.MarianTokenizer,
}
ENCODERS = ("bert", "distilbert", "roberta", "xlm_roberta")


def reference(folder, family):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends a package that it does not use
        return REFERENCES[family].from_pretrained(folder)


def same_ids_and_texts(folder, family, texts=AWKWARD):
    theirs = reference(folder, family)
    ours = kt.pretrained.load_tokenizer(folder)
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert ours(texts) == expected
    assert ours.detokenize(expected) == theirs.batch_decode(expected, skip_special_tokens=True)
    assert sum(len(row) for row in expected) > 300
    return ours, theirs


# === The same ids ===


@pytest.mark.parametrize("whole", [False, True], ids=["old_files", "tokenizer_json"])
@pytest.mark.parametrize("family", ["gpt1", "gpt2", *ENCODERS])
def test_ids_and_texts_are_those_of_transformers(family, whole, tmp_path):
    folder = getattr(folders, family)(tmp_path, whole=whole)
    ours, theirs = same_ids_and_texts(folder, family)
    assert ours.vocabulary_size() == len(theirs)
    assert ours.unknown_id == theirs.unk_token_id
    assert ours.padding_id == theirs.pad_token_id
    if family in ENCODERS:
        assert (ours.start_id, ours.end_id) == (theirs.cls_token_id, theirs.sep_token_id)
        row = kt.data.encode(ours, AWKWARD[:1], start=True, end=True)
        assert row == [theirs(AWKWARD[0])["input_ids"]]
    else:
        assert (ours.start_id, ours.end_id) == (theirs.bos_token_id, theirs.eos_token_id)


@pytest.mark.parametrize(
    "settings",
    [
        {"lowercase": False},
        {"lowercase": True, "strip_accents": False},
        {"lowercase": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
        {"clean_up_tokenization_spaces": True},
        {"unk_token": {"__type": "AddedToken", "content": "[UNK]", "lstrip": True}},
        {"additional_special_tokens": ["the dog", "☃"]},
        {
            "added_tokens_decoder": {
                "2": {"content": "[CLS]", "special": True, "normalized": False, "lstrip": True},
                "200": {"content": "Flags", "special": False, "normalized": True},
            }
        },
    ],
    ids=lambda settings: "-".join(settings),
)
def test_settings_of_bert(settings, tmp_path):
    folder = folders.bert(tmp_path, vocabulary_size=200, **settings)
    same_ids_and_texts(folder, "bert")


def test_older_added_tokens(tmp_path):
    folder = folders.gpt2(tmp_path)
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": "<pad>", "eos_token": {"content": "<|endoftext|>"}})
    )
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": 401, "sat": 400}))
    ours, _ = same_ids_and_texts(folder, "gpt2")
    assert ours.padding_id == 401


def test_a_prefix_space(tmp_path):
    folder = folders.gpt2(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": True}))
    same_ids_and_texts(folder, "gpt2")


@pytest.mark.parametrize("separate", [False, True])
def test_marian(separate, tmp_path):
    folder = folders.marian(tmp_path, separate=separate)
    theirs = reference(folder, "marian")
    for target in (False, True):
        ours = kt.pretrained.load_tokenizer(folder, target=target)
        name = "text_target" if target else "text"
        expected = [theirs(**{name: text})["input_ids"] for text in AWKWARD]
        assert kt.data.encode(ours, AWKWARD, end=True) == expected
        if target:
            texts = theirs.batch_decode(expected, skip_special_tokens=True)
            assert kt.data.decode(ours, expected, end_id=None) == texts
        assert ours.token_to_id("</s>") == ours.end_id == 0
        assert ours.id_to_token(ours.padding_id) == "<pad>"


def test_language_codes_are_one_token(tmp_path):
    ours = kt.pretrained.load_tokenizer(folders.marian(tmp_path))
    with_code, without = ours([">>fra<< the cat", " the cat"])
    assert with_code == [ours.token_to_id(">>fra<<"), *without]
    assert ours([">>unknown<<"]) == [[ours.unknown_id]]


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.model", "tokenizer.model"])
def test_a_plain_sentence_piece_model(name, tmp_path):
    proto = folders.sentence_piece(folders.CORPUS, 90)
    (tmp_path / name).write_bytes(proto)
    folders.write_config(tmp_path, "gpt2", vocab_size=97, eos_token_id=2, bos_token_id=1)
    ours = kt.pretrained.load_tokenizer(tmp_path)
    assert type(ours) is kt.data.SentencePieceTokenizer
    assert ours(AWKWARD) == kt.data.SentencePieceTokenizer(proto)(AWKWARD)
    assert (ours.end_id, ours.vocabulary_size()) == (2, 97)


# === Special ids ===


def test_the_generation_settings_say_what_ends_a_text(tmp_path):
    folder = folders.gpt2(tmp_path)
    folders.write_config(folder, "gpt2", eos_token_id=7, vocab_size=450)
    ours = kt.pretrained.load_tokenizer(folder)
    assert (ours.end_id, ours.vocabulary_size()) == (7, 450)
    assert ours.detokenize([[449, *ours(["the cat"])[0]]]) == ["the cat"]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [9]}))
    assert kt.pretrained.load_tokenizer(folder).end_id == 9
    folders.write_config(folder, "gpt2", eos_token_id=50256)  # which nothing can be
    (folder / "generation_config.json").unlink()
    assert kt.pretrained.load_tokenizer(folder).end_id is None


@pytest.mark.parametrize("family", ["gpt1", "gpt2", "marian", *ENCODERS])
def test_save_and_load(family, tmp_path):
    folder = getattr(folders, family)(tmp_path / "foreign")
    original = kt.pretrained.load_tokenizer(folder)
    kt.data.save_tokenizer(original, tmp_path / "ours")
    loaded = kt.data.load_tokenizer(tmp_path / "ours")
    assert type(loaded) is type(original)
    assert loaded(AWKWARD) == original(AWKWARD)
    assert loaded.detokenize(original(AWKWARD)) == original.detokenize(original(AWKWARD))
    assert kt.data.special_ids(loaded) == kt.data.special_ids(original)
    assert loaded.vocabulary_size() == original.vocabulary_size()


def test_the_hub_gives_no_weights_for_a_tokenizer(monkeypatch, tmp_path):
    folder, asked = folders.gpt2(tmp_path), []

    def download(name, allow_patterns):
        asked.append((name, tuple(allow_patterns)))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert kt.pretrained.load_tokenizer("someone/some-gpt2")(["the cat"])
    ((name, patterns),) = asked
    assert name == "someone/some-gpt2"
    assert "*.json" in patterns and not any("safetensors" in p or "bin" in p for p in patterns)


# === Bad folders ===


def refuse(folder, message, **arguments):
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load_tokenizer(folder, **arguments)


def test_no_such_folder(tmp_path):
    refuse(tmp_path / "nothing", "`folder` must be a folder, or a name on the Hugging Face hub")


def test_no_text(tmp_path):
    folders.write_config(tmp_path, "vit")
    refuse(tmp_path, r"`model_type` in .* must be one of \['bert', .* Received: 'vit'")


def test_no_files(tmp_path):
    folders.write_config(tmp_path, "openai-gpt")
    refuse(tmp_path, "must contain tokenizer.json, or vocab.json and merges.txt, or one of spiece")
    folders.write_config(tmp_path, "marian")
    refuse(tmp_path, "`folder` must contain the file vocab.json")


def test_a_target_where_there_is_none(tmp_path):
    refuse(folders.gpt2(tmp_path), "`target` must be False, except for Marian", target=True)


@pytest.mark.parametrize(
    ("family", "name", "content", "message"),
    [
        ("gpt1", "vocab.json", "{", "vocab.json` must be a JSON file"),
        ("gpt1", "vocab.json", '{"a": "b"}', "must map tokens to ids.*Received: 'a': 'b'"),
        ("gpt1", "vocab.json", '{"a": 1}', "merges.txt` must describe a tokenizer"),
        ("gpt2", "merges.txt", "a b c", "merges.txt` must contain pairs. Received: 'a b c'"),
        ("gpt2", "merges.txt", b"\xff", "merges.txt` must be a file of UTF-8 text"),
        ("gpt2", "tokenizer.json", "{}", "tokenizer.json` must describe a tokenizer"),
        ("gpt2", "tokenizer_config.json", "[]", "must contain a JSON object"),
        ("gpt2", "tokenizer_config.json", '{"eos_token": 3}', "must be strings. Received: 3"),
        (
            "gpt2",
            "tokenizer_config.json",
            '{"extra_special_tokens": 5}',
            "`extra_special_tokens` in .* must be a list of tokens. Received: 5",
        ),
        ("gpt2", "config.json", '{"model_type": "gpt2", "eos_token_id": [1, "2"]}', "be one id"),
        ("bert", "vocab.txt", "a\nb", r"vocab.txt` must contain '\[UNK\]'. Received: 2 others"),
        ("bert", "tokenizer_config.json", '{"do_lower_case": 1}', "must be true or false.*: 1"),
        (
            "bert",
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"7": {"content": "[CLS]", "special": true}}}',
            r"must have the ids in its files. Received: id 7 for '\[CLS\]'",
        ),
        (
            "bert",
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"x": "[CLS]"}}',
            "`added_tokens_decoder` in .* must map ids to tokens",
        ),
        ("bert", "added_tokens.json", '{"x": "y"}', "must map tokens to ids. Received: 'y'"),
        ("marian", "vocab.json", '{"</s>": 0, "<pad>": 1}', "must contain '<unk>'"),
        ("marian", "vocab.json", '{"</s>": 0, "<pad>": 1, "<unk>": 1}', "a distinct id"),
        ("marian", "source.spm", b"hello", "must describe a tokenizer. .*proto=b'hello'"),
        (
            "marian",
            "added_tokens.json",
            '{"cat": 5}',
            "must be special and must not strip spaces. Received: 'cat'",
        ),
        (
            "marian",
            "generation_config.json",
            '{"bad_words_ids": [[1, 2]]}',
            r"must contain only single ids. Received: \[1, 2\]",
        ),
    ],
)
def test_damaged_files(family, name, content, message, tmp_path):
    folder = getattr(folders, family)(tmp_path)
    content = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(content)
    refuse(folder, message)


def test_a_tampered_folder_of_ours(tmp_path):
    original = kt.pretrained.load_tokenizer(folders.marian(tmp_path / "foreign"))
    folder = tmp_path / "ours"

    def refuse(name, content, message):
        kt.data.save_tokenizer(original, folder)
        (folder / name).write_text(content)
        with pytest.raises(ValueError, match=message):
            kt.data.load_tokenizer(folder)

    kt.data.save_tokenizer(original, folder)
    saved = json.loads((folder / "config.json").read_text())

    def edited(**changes):
        return json.dumps({**saved, "config": {**saved["config"], **changes}})

    refuse("config.json", edited(proto="x"), "with unknown or invalid options")
    refuse("config.json", edited(unknown_id="x"), "`unknown_id` must be an integer or None")
    refuse("config.json", edited(special_tokens="</s>"), "`special_tokens` must be a sequence")
    refuse("config.json", edited(end_id=10**6), "`end_id` must be .* below the vocabulary size")
    refuse("vocabulary.json", "[]", "vocabulary.json` must contain a JSON object. Received: list")
    refuse("vocabulary.json", '{"a": -1}', "a distinct id, an integer >= 0")
    refuse("vocabulary.spm", "hello", "which is not a SentencePiece model")
    name = json.dumps({**saved, "class_name": "keras_transformer.os.system"})
    refuse("config.json", name, "does not describe a known tokenizer")
