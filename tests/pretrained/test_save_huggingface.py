"""Models out: transformers opens the folder and gives our logits, and so does `load`."""

import json

import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

import keras_transformer as kt
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json
from tests.harness import make_decoder, normal, randomize, to_numpy, token_ids
from tests.parity.test_checkpoints import bert_reference, marian_reference
from tests.parity.weights import loaded
from tests.pretrained import folders
from tests.pretrained.tokenizers import awkward_texts, trained

V = 53
GPT_SIZE = {
    "vocabulary_size": V,
    "num_layers": 1,
    "num_heads": 3,
    "hidden_dim": 24,
    "intermediate_dim": 96,
    "max_length": 31,
}
MARIAN_SIZE = {
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "hidden_dim": 16,
    "intermediate_dim": 19,
}
BERT_SIZE = {**GPT_SIZE, "intermediate_dim": 19}
save = kt.pretrained.save_huggingface
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


def gpt(**more):
    return randomize(kt.models.gpt(**{**GPT_SIZE, **more}))


def marian(**more):
    return randomize(kt.models.transformer(**{"vocabulary_size": V, **MARIAN_SIZE, **more}))


def open_with_transformers(class_name, folder):
    return getattr(transformers, class_name).from_pretrained(folder).eval()


def ids_with_padding():
    ids = token_ids(3, 11, vocabulary_size=V)
    ids[0, 7:] = ids[2, 2:] = 0
    return ids


def weights_of(model):
    return {w.path: to_numpy(w) for w in model.weights if "seed" not in w.path}


def check_read_back(model, folder):
    """`load` gives the very same weights."""
    own, read = weights_of(model), weights_of(kt.pretrained.load(folder))
    assert own.keys() == read.keys()
    for path, array in own.items():
        np.testing.assert_array_equal(read[path], array)


def run(reference, **inputs):
    with torch.no_grad():
        return reference(**{name: torch.tensor(a).long() for name, a in inputs.items()})


# === The same logits there ===


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"activation": "silu", "layer_norm_epsilon": 1e-6, "padding_id": None},
        {"normalize_first": True, "intermediate_dim": 37, "num_layers": 2, "activation": "relu"},
    ],
)
def test_gpt(more, tmp_path):
    model = gpt(**more)
    save(model, None, tmp_path / "new")
    class_name = "GPT2LMHeadModel" if "normalize_first" in more else "OpenAIGPTLMHeadModel"
    ids = token_ids(3, 11, vocabulary_size=V)
    expected = run(open_with_transformers(class_name, tmp_path / "new"), input_ids=ids).logits
    np.testing.assert_allclose(to_numpy(model({"token_ids": ids})), expected, atol=1e-4)
    check_read_back(model, tmp_path / "new")


def check_marian(model, folder):
    save(model, None, folder)
    source, target = ids_with_padding(), token_ids(3, 5, vocabulary_size=V, seed=1)
    expected = run(
        open_with_transformers("MarianMTModel", folder),
        input_ids=source,
        attention_mask=source != 0,
        decoder_input_ids=target,
    ).logits
    for one in (model, kt.pretrained.load(folder)):
        actual = to_numpy(one({"source_ids": source, "target_ids": target}))
        np.testing.assert_allclose(actual, expected, atol=1e-4)


MARIAN_FORM = {"position_layout": "concatenated", "layer_norm_epsilon": 1e-5, "output_bias": True}


@pytest.mark.slow
def test_marian_as_it_is(tmp_path):
    model = marian(**MARIAN_FORM, target_vocabulary_size=61, activation="silu")
    check_marian(model, tmp_path / "new")
    check_read_back(model, tmp_path / "new")


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"use_attention_bias": False, "scale_embeddings": False, "activation": "gelu"},
        {"num_decoder_heads": 2, "decoder_intermediate_dim": 13},
    ],
)
def test_marian_in_another_form(more, tmp_path):
    """Interleaved sinusoids, another epsilon, biases that are not there."""
    check_marian(marian(**more), tmp_path / "new")


M2M_FORM = {
    "normalize_first": True,
    "activation": "relu",
    "position_layout": "tensor2tensor",
    "first_position": 1,
    "layer_norm_epsilon": 1e-5,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"num_decoder_heads": 2, "decoder_intermediate_dim": 13, "activation": "silu"},
        {"padding_id": 4, "first_position": 5, "scale_embeddings": False},
        {"use_attention_bias": False, "num_layers": 3},
    ],
)
def test_m2m_100(more, tmp_path):
    model = marian(**{**M2M_FORM, **more})
    padding = model.get_layer("token_embedding").padding_id
    save(model, None, tmp_path / "new", start_id=2, end_id=3)
    source, target = ids_with_padding(), token_ids(3, 5, vocabulary_size=V, low=5, seed=1)
    source = np.where(source == 0, padding, np.where(source == padding, 7, source))
    expected = run(
        open_with_transformers("M2M100ForConditionalGeneration", tmp_path / "new"),
        input_ids=source,
        attention_mask=source != padding,
        decoder_input_ids=target,
    ).logits
    for one in (model, kt.pretrained.load(tmp_path / "new")):
        actual = to_numpy(one({"source_ids": source, "target_ids": target}))
        np.testing.assert_allclose(actual, expected, atol=1e-4)
    if "use_attention_bias" not in more:
        check_read_back(model, tmp_path / "new")
    settings = json.loads((tmp_path / "new" / "generation_config.json").read_text())
    assert settings["decoder_start_token_id"] == 2 and settings["eos_token_id"] == 3


@pytest.mark.slow
def test_a_pre_norm_translator_with_its_own_tokenizer(tmp_path):
    """Its tokenizer is Marian's, whatever the model: transformers asks the folder."""
    tokenizer = trained(120)
    model = marian(**M2M_FORM, vocabulary_size=120)
    save(model, tokenizer, tmp_path / "new")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    reference = open_with_transformers("M2M100ForConditionalGeneration", tmp_path / "new")
    translator = kt.Translator.from_pretrained(tmp_path / "new")
    texts = ["the cat sat on the mat", "a big dog"]
    with torch.no_grad():
        ids = reference.generate(
            **theirs(texts, return_tensors="pt", padding=True), num_beams=1, max_new_tokens=9
        )
    expected = theirs.batch_decode(ids, skip_special_tokens=True)
    assert translator.translate(texts, max_new_tokens=9) == expected
    own = kt.Translator(model, tokenizer)
    assert own.translate(texts, max_new_tokens=9) == expected


@pytest.mark.slow
@pytest.mark.parametrize("heads", [{"pooler": False}, {}, {"masked_lm": True}])
def test_bert(heads, tmp_path):
    model = randomize(kt.models.bert(**BERT_SIZE, num_segments=3, **heads))
    save(model, None, tmp_path / "new")
    class_name = "BertForMaskedLM" if "masked_lm" in heads else "BertModel"
    reference = open_with_transformers(class_name, tmp_path / "new")
    ids, segments = ids_with_padding(), token_ids(3, 11, vocabulary_size=3, seed=1, low=0)
    result = run(reference, input_ids=ids, token_type_ids=segments, attention_mask=ids != 0)
    actual = to_numpy(model({"token_ids": ids, "segment_ids": segments}))
    actual = actual if isinstance(actual, dict) else {"output": actual}
    pairs = {"output": "last_hidden_state"} if class_name == "BertModel" else {"logits": "logits"}
    if heads == {}:
        np.testing.assert_allclose(actual["pooled_output"], result.pooler_output, atol=1e-4)
    for own, theirs in pairs.items():
        expected = result[theirs].numpy()[ids != 0]
        np.testing.assert_allclose(actual[own][ids != 0], expected, atol=1e-4)
    check_read_back(model, tmp_path / "new")


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [7, None])
def test_vit(num_classes, tmp_path):
    pooler = num_classes is None
    model = kt.models.vit((8, 12), (2, 4), num_classes, 2, 3, 24, 19, pooler=pooler)
    randomize(model)
    save(model, None, tmp_path / "new")
    class_name = "ViTForImageClassification" if num_classes else "ViTModel"
    reference = open_with_transformers(class_name, tmp_path / "new")
    images = normal(2, 8, 12, 3)
    with torch.no_grad():
        result = reference(pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)))
    actual = to_numpy(model(images))
    actual = actual if num_classes else actual["pooled_output"]
    expected = result.logits if num_classes else result.pooler_output
    np.testing.assert_allclose(actual, expected.numpy(), atol=1e-4)
    check_read_back(model, tmp_path / "new")


@pytest.mark.slow
def test_a_loaded_bert_is_handed_on(tmp_path):
    reference = bert_reference("BertForPreTraining", {"pad_token_id": 7})
    model = loaded(reference, tmp_path / "theirs")
    save(model, None, tmp_path / "ours")
    check_read_back(model, tmp_path / "ours")


@pytest.mark.slow
def test_a_loaded_marian_is_handed_on_with_its_ids(tmp_path):
    model = loaded(marian_reference({"scale_embedding": True}), tmp_path / "theirs")
    with pytest.raises(ValueError, match="`start_id` must be an id .* Received: start_id=None"):
        save(model, None, tmp_path / "ours")
    save(model, None, tmp_path / "ours", start_id=52, end_id=0)
    check_read_back(model, tmp_path / "ours")
    content = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    assert content["bad_words_ids"] == [[52]]
    assert (content["decoder_start_token_id"], content["eos_token_id"]) == (52, 0)


# === Storage ===


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, tmp_path):
    model = gpt()
    save(model, None, tmp_path / "new", dtype=dtype)
    with safe_open(tmp_path / "new" / "model.safetensors", "pt") as file:
        kinds = {str(file.get_tensor(name).dtype) for name in file.keys()}  # noqa: SIM118
    assert kinds == {f"torch.{dtype}"}
    reference = open_with_transformers("OpenAIGPTLMHeadModel", tmp_path / "new")
    assert str(reference.dtype) == f"torch.{dtype}"
    for path, array in weights_of(kt.pretrained.load(tmp_path / "new")).items():
        expected = torch.tensor(weights_of(model)[path]).to(getattr(torch, dtype)).float()
        np.testing.assert_array_equal(array, expected.numpy())


def test_weights_that_float16_cannot_hold(tmp_path):
    model = gpt()
    model.get_layer("token_embedding").embeddings.assign(np.full((V, 24), 1e5, "float32"))
    with pytest.raises(ValueError, match="must be finite in `dtype`.*'float16'.*tokens_embed"):
        save(model, None, tmp_path / "new", dtype="float16")
    assert not list(tmp_path.iterdir())
    save(model, None, tmp_path / "new", dtype="bfloat16")


def test_a_model_of_bfloat16(tmp_path):
    save(gpt(dtype="bfloat16"), None, tmp_path / "new")
    assert weights_of(kt.pretrained.load(tmp_path / "new"))


# === What is refused ===


def refuse(model, folder, message, tokenizer=None, **options):
    with pytest.raises(ValueError, match=message):
        save(model, tokenizer, folder / "new", **options)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"num_key_value_heads": 2},
            "`encoder.block.num_key_value_heads` must be None.*Received: 2",
        ),
        (
            {"decoder_recurrence": "ssru"},
            "`decoder.block.recurrence` must be None.*'ssru'",
        ),
        ({"relative_positions": "shaw"}, "`encoder.block.relative_positions` must be None.*'shaw'"),
        ({"window": 3}, "`encoder.block.window` must be None.*Received: 3"),
        ({"gated": True}, "`encoder.block.gated` must be False.*Received: True"),
        ({"position_layout": None}, "`position"),
        ({"position_layout": "tensor2tensor"}, '`position_layout` must be "interleaved" or'),
        ({"share_embeddings": False}, "`share_embeddings` must be True: a Marian model has no"),
        ({"layer_norm_epsilon": 0.1}, "`layer_norm_epsilon` must be close to Marian's 1e-5"),
        (
            {"activation": "selu"},
            "`activation` must be one of .*selu.* in the layer 'encoder/block_0'",
        ),
        ({"padding_id": None}, "`padding_id` must be an id for a Marian model."),
    ],
)
def test_settings_that_marian_does_not_have(more, message, tmp_path):
    refuse(marian(**more), tmp_path, message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"position_layout": "interleaved"},
            "`encoder.positional_encoding.layout` must be 'tensor2tensor' in Hugging Face's m2m_10",
        ),
        (
            {"first_position": 0},
            "`encoder.positional_encoding.first_position` must be 1 .*Received: 0",
        ),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon` must be 1e-05 .*Received: 1e-06"),
        ({"output_bias": True}, "`token_embedding.output_bias` must be False.*Received: True"),
        ({"share_embeddings": False}, "`share_embeddings` must be True, with a single vocabulary"),
        ({"target_vocabulary_size": 61}, "`share_embeddings` must be True, with a single vocabul"),
        ({"padding_id": None}, "`padding_id` must be an id for an M2M100 model"),
        ({"padding_id": 2, "first_position": 3}, "`decoder_start_token_id` in .* must differ from"),
        ({"norm": "rms"}, "`encoder.block.norm` must be 'layer'"),
        ({"gated": True}, "`encoder.block.gated` must be False"),
    ],
)
def test_settings_that_m2m_100_does_not_have(more, message, tmp_path):
    refuse(marian(**{**M2M_FORM, **more}), tmp_path, message, start_id=2, end_id=3)


def test_a_start_that_the_model_hides(tmp_path):
    message = "`start_is_padding` must be True .*padding_id=2, start_id=2"
    refuse(marian(padding_id=2), tmp_path, message, start_id=2, end_id=3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"num_key_value_heads": 1},
            "`decoder.block.num_key_value_heads` must be None in Hugging Face",
        ),
        ({"window": 2}, "`decoder.block.window` must be None in Hugging Face's openai-gpt"),
        (
            {"window": (None, 2)},
            "`block` must be one block for all layers.*Received: 2 alternating blocks",
        ),
        ({"max_length": None, "rotary": True}, "`positional_encoding` must be a LearnedPos"),
        ({"intermediate_dim": 19}, "`decoder.block.intermediate_dim` must be 96 in .*Received: 19"),
        ({"activation": "gelu"}, "`activation` must be one of"),
    ],
)
def test_settings_that_gpt1_does_not_have(more, message, tmp_path):
    refuse(gpt(**more), tmp_path, message)


def gpt_of(decoder):
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    embedding = kt.layers.TokenEmbedding(V, 24, scale=False, name="token_embedding")
    logits = embedding(decoder(embedding(ids)), reverse=True)
    return keras.Model({"token_ids": ids}, logits)


@pytest.mark.slow
def test_models_of_ones_own(tmp_path):
    size = {"num_layers": 1, "num_heads": 3, "intermediate_dim": 96, "cross_attention": False}
    size |= {"layer_norm_epsilon": 1e-5, "name": "decoder", "activation": "gelu_approximate"}
    layer = kt.layers.LearnedPositionalEmbedding(31, name="positional_encoding")
    positions = {"positional_encoding": layer}
    rotary = make_decoder(rotary=True, **size)
    refuse(gpt_of(rotary), tmp_path, "`positional_encoding` must be a LearnedPositionalEmbedding")
    rotary = make_decoder(rotary=True, **size, **positions)
    refuse(
        gpt_of(rotary),
        tmp_path,
        "`decoder.block.rotary` must be False in Hugging Face's openai-gpt",
    )
    own = gpt_of(make_decoder(**size, **positions))
    save(own, None, tmp_path / "new")
    check_read_back(own, tmp_path / "new")
    more = keras.Model(own.input, keras.layers.Activation("relu")(own.output))
    refuse(more, tmp_path / "more", r"must have the layers of .*openai-gpt.*many: \['Activation'\]")
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    refuse(dense, tmp_path / "more", "`model` must be one of kt.models.bert, gpt, transformer or")
    recurrent = kt.models.recurrent_seq2seq(13, hidden_dim=8)
    refuse(recurrent, tmp_path / "more", "`model` must be one of kt.models.bert, gpt, transformer")


def test_a_folder_that_holds_something(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="`folder` must be new or empty. Received: folder="):
        save(gpt(), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_an_unknown_dtype(tmp_path):
    refuse(gpt(), tmp_path, "`dtype` must be one of .*'int8'", dtype="int8")


# === Tokenizers ===


@pytest.mark.slow
def test_tokenizers_that_do_not_fit(tmp_path):
    tokenizer = trained()
    refuse(gpt(), tmp_path, "must not have more ids than the model.*120 ids.*of 53", tokenizer)
    message = "`tokenizer` must be one tokenizer, or a pair for the source and the target of a"
    refuse(gpt(), tmp_path, message, (tokenizer, tokenizer))
    two = marian(vocabulary_size=130, target_vocabulary_size=53)
    refuse(two, tmp_path, "120 ids for a vocabulary of 53", (tokenizer, tokenizer))
    refuse(two, tmp_path, "120 ids for a vocabulary of 53", tokenizer)
    vit = kt.models.vit(8, 4, 7, 1, 3, 24, 19)
    refuse(vit, tmp_path, "`tokenizer` must be None for vit", tokenizer)
    import keras_hub

    words = keras_hub.tokenizers.WordPieceTokenizer(["[UNK]", "a", "b"], dtype="int32")
    refuse(gpt(), tmp_path, "must be a SentencePieceTokenizer.*Received: a WordPiece", words)
    adding = keras_hub.tokenizers.SentencePieceTokenizer(tokenizer.proto, add_eos=True)
    wide = gpt(vocabulary_size=130)
    refuse(wide, tmp_path, "must not add ids or padding itself. Received: add_eos=True", adding)


TOKENIZERS = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "unigram_symbols": {"symbols": ("<unk>", "<x>")},
    "bpe_lossless_symbols": {"model_type": "bpe", "symbols": ("<unk>",), "lossless": True},
    "bpe_lossless": {"model_type": "bpe", "lossless": True},
}


def as_json(tokenizer, folder):
    """Only the tokenizer, as it is written for a model."""
    config = Config(folder, {"model_type": "gpt2"})
    write_tokenizer_json((tokenizer,), config, folder)
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizer_json_gives_the_same_ids(name, tmp_path):
    tokenizer = trained(**TOKENIZERS[name])
    theirs = as_json(tokenizer, tmp_path)
    texts = awkward_texts()
    assert len(texts) > 200
    rows = kt.data.encode(tokenizer, texts)
    assert [theirs(text)["input_ids"] for text in texts] == rows
    known = [row for row in rows if 1 not in row]
    assert theirs.batch_decode(known) == kt.data.decode(tokenizer, known)
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id) == (0, 2, 3)
    assert (theirs.unk_token_id, len(theirs)) == (1, tokenizer.vocabulary_size())


@pytest.mark.slow
def test_equally_likely_cuts_are_the_only_difference_of_a_lossless_unigram(tmp_path):
    tokenizer = trained(lossless=True)
    theirs = as_json(tokenizer, tmp_path)
    for text in awkward_texts():
        ids, (row,) = theirs(text)["input_ids"], kt.data.encode(tokenizer, [text])
        assert ids == row or sorted(ids) == sorted(row), text


def test_a_tokenizer_that_tokenizers_cannot_be_is_refused(monkeypatch, tmp_path):
    from keras_transformer.pretrained.tokenizers import sentencepiece_pieces

    monkeypatch.setattr(sentencepiece_pieces, "_normalizers", lambda tokenizers, proto: [])
    message = "must give the same ids as its conversion to a tokenizer.json.*`tokenizer=None`"
    refuse(gpt(vocabulary_size=130), tmp_path, message, trained())


def test_text_generation_there(tmp_path):
    tokenizer = trained()
    model = gpt(vocabulary_size=130)
    save(model, tokenizer, tmp_path / "new")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    reference = open_with_transformers("OpenAIGPTLMHeadModel", tmp_path / "new")
    ids = reference.generate(
        **theirs("the cat", return_tensors="pt"), max_new_tokens=9, do_sample=False
    )
    ours = kt.decoding.generate(
        model, kt.data.encode(tokenizer, ["the cat"]), 9, stop_ids=(3,), banned_ids=(0,)
    )
    assert ids.tolist() == ours.tolist()


@pytest.mark.slow
def test_translation_there(tmp_path):
    source, target = trained(), trained(110, "bpe")
    model = marian(vocabulary_size=120, target_vocabulary_size=110)
    save(model, (source, target), tmp_path / "new")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    assert type(theirs).__name__ == "MarianTokenizer"
    texts = awkward_texts()
    rows = [theirs(text)["input_ids"] for text in texts]
    assert rows == kt.data.encode(source, texts, end=True)
    rows = [theirs(text_target=text)["input_ids"] for text in texts]
    assert rows == kt.data.encode(target, texts, end=True)
    texts = ["the cat sat", "a dog", "what is said is seen, so it is"]
    reference = open_with_transformers("MarianMTModel", tmp_path / "new")
    ids = reference.generate(
        **theirs(texts, return_tensors="pt", padding=True), max_new_tokens=9, do_sample=False
    )
    translator = kt.Translator(model, source, target)
    expected = translator.translate(texts, max_new_tokens=9)
    assert theirs.batch_decode(ids, skip_special_tokens=True) == expected


@pytest.mark.slow
def test_special_pieces_must_be_the_same_on_both_sides(tmp_path):
    pair = (trained(), trained(symbols=("<unk>",)))
    message = "source and target must have the same special pieces. Received: unk_token='<<unk>>'"
    refuse(marian(vocabulary_size=125, target_vocabulary_size=125), tmp_path, message, pair)


# === Tokenizers of foreign folders ===


def check_again(tokenizer, again, theirs, texts):
    """The ids and the text of an exported tokenizer, here and there."""
    rows = tokenizer(texts)
    assert again(texts) == rows
    assert again.detokenize(rows) == tokenizer.detokenize(rows)
    assert kt.data.special_ids(again) == kt.data.special_ids(tokenizer)
    assert [theirs(text, add_special_tokens=False)["input_ids"] for text in texts] == rows


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt1", "gpt2", "bert"])
def test_a_loaded_tokenizer_is_handed_on(kind, tmp_path):
    tokenizer = kt.pretrained.load_tokenizer(getattr(folders, kind)(tmp_path / "theirs"))
    size = {"vocabulary_size": tokenizer.vocabulary_size(), "padding_id": tokenizer.padding_id}
    if kind == "bert":
        model = kt.models.bert(**{**BERT_SIZE, **size})
    else:
        model = gpt(normalize_first=kind == "gpt2", **size)
    save(model, tokenizer, tmp_path / "ours")
    again = kt.pretrained.load_tokenizer(tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    check_again(tokenizer, again, theirs, folders.AWKWARD)


@pytest.mark.slow
def test_loaded_tokenizers_of_marian_are_handed_on(tmp_path):
    folder = folders.marian(tmp_path / "theirs")
    pair = [kt.pretrained.load_tokenizer(folder, target=target) for target in (False, True)]
    model = marian(
        vocabulary_size=pair[0].vocabulary_size(),
        padding_id=pair[0].padding_id,
        start_is_padding=True,
        **MARIAN_FORM,
    )
    save(model, pair, tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    again = kt.pretrained.load_tokenizer(tmp_path / "ours")
    check_again(pair[0], again, theirs, folders.AWKWARD)
    again = kt.pretrained.load_tokenizer(tmp_path / "ours", target=True)
    assert again(folders.AWKWARD) == pair[1](folders.AWKWARD)
    check_read_back(model, tmp_path / "ours")
