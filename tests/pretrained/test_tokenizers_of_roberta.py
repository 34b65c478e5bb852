"""Tokenizers of RoBERTa and XLM-RoBERTa: pairs, settings, models that are wrong, the way back."""

import json

import pytest
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2

import keras_transformer as kt
from tests.pretrained import folders
from tests.pretrained.test_tokenizer_settings import edit, settle
from tests.pretrained.test_tokenizers import ENCODERS, reference, refuse, same_ids_and_texts

FAMILIES = ("roberta", "xlm_roberta")


@pytest.mark.parametrize("family", FAMILIES)
def test_special_ids_are_those_of_fairseq(family, tmp_path):
    folder = getattr(folders, family)(tmp_path)
    tokenizer = kt.pretrained.load_tokenizer(folder)
    assert kt.data.special_ids(tokenizer) == (1, 3, 0, 2)
    assert tokenizer.token_to_id("<mask>") == (
        4 if family == "roberta" else tokenizer.vocabulary_size() - 1
    )
    # Two texts in one row: no segments, two separators.
    one, other = tokenizer([folders.CORPUS[0], folders.LETTERS[0]])
    pair = reference(folder, family)(folders.CORPUS[0], folders.LETTERS[0])
    assert [0, *one, 2, 2, *other, 2] == pair["input_ids"]


def test_pieces_move_up_by_one(tmp_path):
    folder = folders.xlm_roberta(tmp_path)
    proto = (folder / "sentencepiece.bpe.model").read_bytes()
    text = folders.CORPUS[0]
    (expected,) = kt.data.SentencePieceTokenizer(proto)([text])
    assert kt.pretrained.load_tokenizer(folder)([text]) == [[index + 1 for index in expected]]
    assert min(expected) > 2


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_space_in_front_of_a_text(family, value, whole, tmp_path):
    folder = getattr(folders, family)(tmp_path, whole=whole)
    settle(folder, add_prefix_space=value)
    same_ids_and_texts(folder, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_that_takes_the_space_before_it(family, tmp_path):
    """As the published files have it."""
    folder = getattr(folders, family)(tmp_path, whole=True)
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True}
    settle(folder, mask_token=mask, model_max_length=512)
    texts = [*folders.AWKWARD, "the <mask> dog", "the<mask>", " <mask>"]
    same_ids_and_texts(folder, family, texts)


def test_a_bert_with_the_tokenizer_of_xlm_roberta(tmp_path):
    """As the multilingual MiniLMs."""
    folder = folders.xlm_roberta(tmp_path)
    folders.write_config(folder, "bert", tokenizer_class="XLMRobertaTokenizer")
    same_ids_and_texts(folder, "xlm_roberta")


@pytest.mark.parametrize("family", ENCODERS)
def test_the_way_back(family, tmp_path):
    tokenizer = kt.pretrained.load_tokenizer(getattr(folders, family)(tmp_path / "theirs"))
    name = "bert" if family == "bert" else family
    model = kt.models.bert(
        tokenizer.vocabulary_size(), 1, 1, 4, 5, 7, num_segments=1, padding_id=1, name=name
    )
    if family == "distilbert":
        model = kt.models.bert(
            tokenizer.vocabulary_size(), 1, 1, 4, 5, 7, num_segments=None, pooler=False
        )
    kt.pretrained.save_huggingface(model, tokenizer, tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["model_type"] == family.replace("_", "-")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    again = kt.pretrained.load_tokenizer(tmp_path / "ours")
    rows = tokenizer(folders.AWKWARD)
    assert [theirs(t, add_special_tokens=False)["input_ids"] for t in folders.AWKWARD] == rows
    assert again(folders.AWKWARD) == rows
    assert kt.data.special_ids(again) == kt.data.special_ids(tokenizer)
    named = (theirs.cls_token_id, theirs.sep_token_id, theirs.pad_token_id, theirs.unk_token_id)
    ids = kt.data.special_ids(tokenizer)
    assert named == (ids.start, ids.end, ids.padding, ids.unknown)
    assert theirs.mask_token_id == tokenizer.token_to_id(theirs.mask_token) is not None
    # A call adds what belongs around one text and between two.
    one, other = rows[0], rows[len(folders.CORPUS)]
    assert theirs(folders.AWKWARD[0])["input_ids"] == [ids.start, *one, ids.end]
    pair = theirs(folders.AWKWARD[0], folders.LETTERS[0])
    middle = [ids.end] * (2 if "roberta" in family else 1)
    assert pair["input_ids"] == [ids.start, *one, *middle, *other, ids.end]
    if family == "bert":
        assert pair["token_type_ids"] == [0] * (len(one) + 2) + [1] * (len(other) + 1)
    else:
        assert set(pair) == {"input_ids", "attention_mask"}


# === Refusals ===


def test_sentence_piece_models_that_are_refused(tmp_path):
    def check(message, **options):
        proto = folders.sentence_piece(folders.CORPUS, 120, **options)
        (tmp_path / "sentencepiece.bpe.model").write_bytes(proto)
        refuse(tmp_path, message)

    folders.write_config(tmp_path, "xlm-roberta")
    check("must be a unigram model", model_type="bpe")
    check("must not define symbols. Received: .*<here>", user_defined_symbols=["<here>"])
    check(
        "must begin with the pieces .* Received: .*'<pad>'", pad_id=0, unk_id=1, bos_id=2, eos_id=3
    )
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"hello")
    refuse(tmp_path, "sentencepiece.bpe.model` must be a SentencePiece model")


def test_a_model_whose_ids_would_be_others(tmp_path):
    """A SentencePiece model by another name does not say that its ids must move."""
    folders.write_config(tmp_path, "xlm-roberta")
    (tmp_path / "tokenizer.model").write_bytes(folders.sentence_piece(folders.CORPUS, 90))
    refuse(tmp_path, "must contain tokenizer.json, or sentencepiece.bpe.model. Received")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("normalizer", tokenizers.normalizers.Lowercase(), "The normalizer in .* Lowercase"),
        ("normalizer", tokenizers.normalizers.Replace("a", "b"), "The normalizer .* Replace"),
        ("pre_tokenizer", tokenizers.pre_tokenizers.ByteLevel(), "The pre_tokenizer .*ByteLevel"),
        ("pre_tokenizer", tokenizers.pre_tokenizers.Metaspace("_"), "The pre_tokenizer .*Metasp"),
    ],
)
def test_parts_that_are_refused(part, value, message, tmp_path):
    folder = folders.xlm_roberta(tmp_path, whole=True)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    setattr(tokenizer, part, value)
    tokenizer.save(str(folder / "tokenizer.json"))
    refuse(folder, message)


def test_another_unknown_id_is_refused(tmp_path):
    folder = folders.xlm_roberta(tmp_path, whole=True)
    edit(folder, lambda content: content["model"].update(unk_id=0))
    refuse(folder, "The model in .* must be that of a XLMRobertaTokenizer")


def test_a_model_without_a_map_of_letters(tmp_path):
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(
        folders.sentence_piece(folders.CORPUS, 120, normalization_rule_name="identity")
    )
    assert not proto.normalizer_spec.precompiled_charsmap
    (tmp_path / "sentencepiece.bpe.model").write_bytes(proto.SerializeToString())
    folders.write_config(tmp_path, "xlm-roberta")
    same_ids_and_texts(tmp_path, "xlm_roberta")
