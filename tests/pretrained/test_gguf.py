"""GGUF files: their tokenizers, and files that are wrong."""

import io
import json
import struct
import sys

import gguf
import numpy as np
import pytest
import sentencepiece
import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers.integrations.gguf.gguf_tokenizer_mapping import _LLAMA3_SPLIT, _QWEN2_SPLIT

import keras_transformer as kt
from keras_transformer.pretrained.gguf_file import GGUFFile
from tests.parity.test_llama import reference_of
from tests.pretrained.folders import AWKWARD, CORPUS
from tests.pretrained.gguf_files import write_gguf

TEXTS = [
    *AWKWARD,
    "<|im_start|>user\nWhat is 12 + 345?<|im_end|>\n<|im_start|>assistant\n",
    "<tool>{'a': 1}</tool> x<tool>",
    "สวัสดีชาวโลก ๑๒๓๔๕",
    "مرحبا بالعالم ١٢٣٤",
    "日本語の文章です。１２３",
    "👩‍👩‍👧 🇯🇵 1️⃣",
    "\r\n\r\n  \t x\n\n\ny  ",
]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool>", "</tool>"]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"


def by_pattern(pattern):
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    return [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


WORDS = {
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "smollm": [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "llama-bpe": by_pattern(_LLAMA3_SPLIT),
    "qwen2": by_pattern(_QWEN2_SPLIT),
}


def trained(pre):
    """A tokenizer of transformers, from the parts of a tokenizer.json."""
    inner = tokenizers.Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(WORDS[pre])
    inner.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        inner.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=CONTROL,
        show_progress=False,
    )
    inner.train_from_iterator([*CORPUS, *TEXTS, "2024 2025 1234 12345"] * 2, trainer)
    inner.add_tokens([tokenizers.AddedToken(t, normalized=False) for t in USER_DEFINED])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=CONTROL[1],
        eos_token=CONTROL[2],
        pad_token=CONTROL[0],
        clean_up_tokenization_spaces=False,
    )


def settings_of(theirs, pre):
    tokens = [token for token, _ in sorted(theirs.get_vocab().items(), key=lambda item: item[1])]
    kinds = [3 if t in CONTROL else 4 if t in USER_DEFINED else 1 for t in tokens]
    merges = json.loads(theirs.backend_tokenizer.to_str())["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": theirs.bos_token_id,
        "tokenizer.ggml.eos_token_id": theirs.eos_token_id,
        "tokenizer.ggml.padding_token_id": theirs.pad_token_id,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


@pytest.fixture(scope="module")
def model():
    return reference_of("llama", {"num_hidden_layers": 1})


@pytest.mark.parametrize("pre", WORDS)
def test_ids_and_texts_are_those_of_transformers(pre, model, tmp_path):
    theirs = trained(pre)
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings_of(theirs, pre))
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    ours = kt.pretrained.load_tokenizer(path)
    assert ours(TEXTS) == expected
    assert ours.detokenize(expected) == theirs.batch_decode(expected, skip_special_tokens=True)
    assert kt.data.special_ids(ours) == (theirs.pad_token_id, None, 1, 2)
    assert ours.vocabulary_size() == len(theirs)
    assert ours.chat_template == TEMPLATE
    names = {"bos_token": CONTROL[1], "eos_token": CONTROL[2], "pad_token": CONTROL[0]}
    assert ours.template_tokens == names
    kt.data.save_tokenizer(ours, tmp_path / "saved")
    again = kt.data.load_tokenizer(tmp_path / "saved")
    assert again(TEXTS) == expected
    assert (again.chat_template, again.template_tokens) == (TEMPLATE, names)


@pytest.fixture(scope="module")
def pieces():
    """A SentencePiece model with the settings of Llama 2."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*CORPUS, *TEXTS, "2024 2025 1234 12345"] * 2),
        model_writer=content,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=0.98,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())


def settings_of_pieces(pieces):
    every = range(pieces.get_piece_size())
    kinds = [
        2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1
        for i in every
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [pieces.id_to_piece(index) for index in every],
        "tokenizer.ggml.scores": [pieces.get_score(index) for index in every],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": pieces.bos_id(),
        "tokenizer.ggml.eos_token_id": pieces.eos_id(),
        "tokenizer.ggml.unknown_token_id": pieces.unk_id(),
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": TEMPLATE,
    }


def test_ids_and_texts_are_those_of_sentencepiece(pieces, model, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings_of_pieces(pieces))
    ours = kt.pretrained.load_tokenizer(path)
    # Names of special tokens become these tokens, as in the other tokenizers.
    texts = [t for t in TEXTS if not any(name in t for name in ("<s>", "</s>", "<unk>"))]
    assert len(TEXTS) - 5 < len(texts) < len(TEXTS)
    expected = pieces.encode(texts)
    assert {kind for ids in expected for kind in map(pieces.is_byte, ids)} == {True, False}
    assert ours(texts) == expected
    assert ours.detokenize(expected) == pieces.decode(expected)
    assert kt.data.special_ids(ours) == (None, 0, 1, 2)
    assert ours.vocabulary_size() == pieces.get_piece_size()
    assert (ours.chat_template, ours.add_start) == (TEMPLATE, True)
    assert ours(["a</s> b"])[0] == [*pieces.encode("a"), 2, *pieces.encode(" b")]
    kt.data.save_tokenizer(ours, tmp_path / "saved")
    assert kt.data.load_tokenizer(tmp_path / "saved")(texts) == expected


def test_pieces_without_a_space_in_front(pieces, model, tmp_path):
    settings = settings_of_pieces(pieces) | {"tokenizer.ggml.add_space_prefix": False}
    settings["tokenizer.ggml.token_type"][-1] = 4  # user-defined
    token = settings["tokenizer.ggml.tokens"][-1]
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings)
    ours = kt.pretrained.load_tokenizer(path)
    text = f"one{token}two"
    assert len(settings["tokenizer.ggml.tokens"]) - 1 in ours([text])[0]
    assert ours.detokenize(ours([text, " a b"])) == [text, " a b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.scores": None}, "`tokenizer.ggml.scores` .* 0 scores for"),
        ({"tokenizer.ggml.scores": [0.5]}, "`tokenizer.ggml.scores` .* 1 scores for"),
        ({"tokenizer.ggml.remove_extra_whitespaces": True}, "extra_whitespaces` .* absent or"),
        ({"tokenizer.ggml.token_type": 9}, r"types of SentencePiece. Received: \[9\]"),
        ({"tokenizer.ggml.token_type": 1}, "one token as unknown, with 2. Received: 0"),
    ],
)
def test_pieces_that_are_refused(changes, message, pieces, model, tmp_path):
    settings = {**settings_of_pieces(pieces), **changes}
    kinds = settings["tokenizer.ggml.token_type"]
    if isinstance(kinds, int):
        settings["tokenizer.ggml.token_type"] = [kinds] * pieces.get_piece_size()
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load_tokenizer(path)


def test_words_of_the_kinds_differ():
    """The texts tell the pre-tokenizers apart."""
    split = {
        pre: pre_tokenizers.Sequence(steps).pre_tokenize_str(" ".join(TEXTS))
        for pre, steps in WORDS.items()
    }
    assert len({str(words) for words in split.values()}) == len(WORDS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "t5"}, r"`tokenizer.ggml.model` .*'gpt2', 'llama'\]. .*'t5'"),
        ({"tokenizer.ggml.model": None}, "`tokenizer.ggml.model` .* None"),
        ({"tokenizer.ggml.pre": "tekken"}, "`tokenizer.ggml.pre` .*'tekken'"),
        ({"tokenizer.ggml.pre": None}, "`tokenizer.ggml.pre` .* None"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "`tokenizer.ggml.tokens` .* distinct"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "`tokenizer.ggml.tokens` .* texts"),
        ({"tokenizer.ggml.tokens": None}, "`tokenizer.ggml.tokens` .* texts"),
        ({"tokenizer.ggml.token_type": [1]}, "`tokenizer.ggml.token_type`"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "`tokenizer.ggml.merges` .*'a b c'"),
        ({"tokenizer.ggml.merges": ["b nothing"]}, "`tokenizer.ggml.merges` .*'b nothing'"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, "`tokenizer.ggml.eos_token_id` .* 1000000"),
        ({"tokenizer.ggml.add_space_prefix": True}, "`tokenizer.ggml.add_space_prefix`"),
        ({"tokenizer.chat_template": 3}, "`tokenizer.chat_template` .* str"),
    ],
)
def test_tokenizers_that_are_refused(changes, message, model, tmp_path):
    settings = {**settings_of(trained("smollm"), "smollm"), **changes}
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load_tokenizer(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.architecture": None, "llama.block_count": None}, "`llama.block_count` must be"),
        ({"llama.block_count": 3}, "Missing: model.layers.1"),
        ({"llama.block_count": "two"}, "`llama.block_count` .* type int. Received: 'two'"),
        ({"llama.attention.head_count": 0}, "`llama.attention.head_count` .* at least 1"),
        ({"llama.attention.head_count": [6, 6]}, "`llama.attention.head_count` .* type int"),
        ({"llama.attention.value_length": 3}, "`llama.attention.value_length` .* must be 4"),
        ({"llama.rope.dimension_count": 2}, "`llama.rope.dimension_count` .* must be 4"),
        ({"llama.vocab_size": 52}, "`llama.vocab_size` .* must be 53"),
        ({"llama.rope.scaling.type": "yarn"}, "`llama.rope.scaling.type` .*'yarn'"),
        ({"llama.rope.scaling.type": "linear"}, "`factor`"),
        ({"llama.rope.freq_base": True}, "`llama.rope.freq_base` .* type float"),
        ({"llama.expert_count": 8}, "`llama.expert_count` .* missing or 0.*: 8"),
        ({"llama.attention.sliding_window": 8}, "`llama.attention.sliding_window` .* missing"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon` must be in"),
        ({"split.count": 2}, "`split.count` .* must be 1"),
    ],
)
def test_settings_that_are_refused(changes, message, model, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", model, **changes)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(path)


def test_another_architecture(model, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", model)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"llama", b"gemma", 1))
    with pytest.raises(ValueError, match=r"`general.architecture` .*model.gguf .*'gemma'"):
        kt.pretrained.load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"token_embd.weight": None}, "must contain the tensor 'token_embd.weight'"),
        ({"blk.0.attn_q.weight": None}, "Missing: model.layers.0.self_attn.q_proj.weight"),
        ({"blk.0.attn_q.bias": np.zeros(24, "float32")}, "Missing: .*k_proj.bias"),
        ({"blk.0.other.weight": np.zeros((2, 3), "float32")}, "Left over: blk.0.other.weight"),
        ({"blk.0.attn_k.weight": np.zeros((24, 24), "float32")}, r"k_proj.weight' must have"),
        ({"output_norm.weight": np.zeros(24, "int32")}, "'output_norm.weight' .* I32"),
    ],
)
def test_tensors_that_are_refused(tensors, message, model, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", model, tensors=tensors)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(path)


# === Damaged files ===


def patched(content, place, values):
    return content[:place] + values + content[place + len(values) :]


def first_type(content):
    """The place of the type of the first tensor."""
    return content.index(b"token_embd.weight") + len(b"token_embd.weight") + 4 + 2 * 8


DAMAGE = {
    "magic": (lambda c: b"GGML" + c[4:], "first bytes b'GGML'"),
    "empty": (lambda c: b"", "0 bytes"),
    "version": (lambda c: patched(c, 4, struct.pack("<I", 9)), "version 9"),
    "older": (lambda c: patched(c, 4, struct.pack("<I", 1)), "version 1"),
    "one_tensor_more": (lambda c: patched(c, 8, struct.pack("<Q", 13)), "tensor"),
    "one_tensor_less": (lambda c: patched(c, 8, struct.pack("<Q", 11)), "tensor"),
    "many_tensors": (lambda c: patched(c, 8, struct.pack("<Q", 2**60)), "bytes|unknown type"),
    "no_tensors": (lambda c: patched(c, 8, struct.pack("<Q", 0)), "at least one"),
    "one_setting_more": (lambda c: patched(c, 16, struct.pack("<Q", 99)), "GGUF|UTF-8"),
    "one_setting_less": (lambda c: patched(c, 16, struct.pack("<Q", 3)), "unknown type|bytes"),
    "cut_in_the_values": (lambda c: c[:-40], "end with its last tensor"),
    "cut_in_the_header": (lambda c: c[:200], "more are needed"),
    "cut_in_the_magic": (lambda c: c[:3], "more are needed"),
    "more_at_the_end": (lambda c: c + bytes(64), "end with its last tensor"),
    "long_name": (lambda c: patched(c, 24, struct.pack("<Q", 2**62)), "more are needed"),
    "no_utf8": (lambda c: patched(c, 32, b"\xff"), "not in UTF-8"),
    "type_of_setting": (lambda c: patched(c, 52, struct.pack("<I", 77)), "unknown type 77"),
    "type_of_tensor": (
        lambda c: patched(c, first_type(c), struct.pack("<I", 999)),
        "unknown type 999 of the tensor 'token_embd.weight'",
    ),
    "other_type_of_tensor": (
        lambda c: patched(c, first_type(c), struct.pack("<I", 3)),
        "the tensor 'token_embd.weight' of type Q4_1 with the shape",
    ),
    "place_of_tensor": (
        lambda c: patched(c, first_type(c) + 4, struct.pack("<Q", 32)),
        "one after the other",
    ),
    "axis_of_none": (
        lambda c: patched(c, first_type(c) - 8, struct.pack("<Q", 0)),
        "the tensor 'token_embd.weight' of type .* with the shape",
    ),
}


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    path = write_gguf(tmp_path_factory.mktemp("whole") / "model.gguf", model)
    assert len(list(GGUFFile(path).names())) == 12
    return path.read_bytes()


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files(name, content, tmp_path):
    change, message = DAMAGE[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(change(content))
    with pytest.raises(ValueError, match=rf"model.gguf.*{message}|{message}.*model.gguf"):
        kt.pretrained.load(path)


def test_arrays_of_an_unknown_type(model, tmp_path):
    writer_setting = {"tokenizer.ggml.tokens": ["a", "b"]}
    path = write_gguf(tmp_path / "model.gguf", model, **writer_setting)
    content = path.read_bytes()
    place = content.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 4
    path.write_bytes(patched(content, place, struct.pack("<I", 9)))
    with pytest.raises(ValueError, match="an array of the unknown type 9"):
        kt.pretrained.load(path)


def test_settings_are_those_of_the_package(model, tmp_path):
    """Each kind of number, texts and arrays, as the package gguf reads them."""
    own = {
        "llama.a": [1, 2, 300],
        "x.floats": [0.5, -1.5],
        "x.text": "naïve 日本",
        "x.texts": ["a", "", "日本"],
        "x.flag": True,
        "x.number": 2.5,
    }
    path = write_gguf(tmp_path / "model.gguf", model, **own)
    file, theirs = GGUFFile(path), gguf.GGUFReader(path)
    names = {name for name in theirs.fields if not name.startswith("GGUF.")}
    assert set(file.settings()) == names
    for name in names:
        assert file.setting(name, object) == theirs.fields[name].contents()
    for tensor in theirs.tensors:
        np.testing.assert_array_equal(file.read(tensor.name), tensor.data)


def test_several_files(model, tmp_path):
    write_gguf(tmp_path / "one.gguf", model)
    write_gguf(tmp_path / "two.gguf", model)
    with pytest.raises(ValueError, match=r"one GGUF file.*\['one.gguf', 'two.gguf'\]"):
        kt.pretrained.load(tmp_path)
    with pytest.raises(ValueError, match="one GGUF file"):
        kt.pretrained.load_tokenizer(tmp_path)
    assert kt.pretrained.load(tmp_path / "two.gguf").name == "llama"


def test_a_folder_of_hugging_face_may_hold_one_too(model, tmp_path):
    """Its config.json says what to read."""
    model.save_pretrained(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"nothing")
    assert kt.pretrained.load(tmp_path).name == "llama"


def test_without_the_package(model, tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "model.gguf", model)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match="model.gguf requires the package gguf: `pip install"):
        kt.pretrained.load(path)
