"""Every tensor of a file is used, proven equal to what is used, or refused by its name."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file

import keras_transformer as kt
from keras_transformer.pretrained.audit import find_tensors
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.families.firefox import FIREFOX
from keras_transformer.pretrained.families.registry import FAMILIES
from keras_transformer.pretrained.load import _open
from keras_transformer.pretrained.mapping import assign
from tests.harness import to_numpy
from tests.parity import test_configurations as parity
from tests.pretrained.firefox import SETTINGS, random_tensors, to_bytes

WEIGHTS = "model.safetensors"
LEFT_OUT = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
# An early, unused table in some files.
T5_LEFT_OUT = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


def bert(name="BertForPreTraining", **more):
    config = transformers.BertConfig(**{**parity.BERT_SIZE, **more})
    return getattr(transformers, name)(config)


def double_heads(name):
    kind = {"gpt2": "GPT2", "openai-gpt": "OpenAIGPT"}[name]
    config = getattr(transformers, f"{kind}Config")(
        **parity.GPT_SIZE, bos_token_id=0, eos_token_id=0, summary_first_dropout=0.0
    )
    return getattr(transformers, f"{kind}DoubleHeadsModel")(config)


def marian(**more):
    return transformers.MarianMTModel(transformers.MarianConfig(**{**parity.MARIAN_SIZE, **more}))


def with_masks(model):
    tensors = parity.old_masks(parity.all_tied_names({}, model), model)
    return parity.old_positions(tensors, model) if "OpenAI" in type(model).__name__ else tensors


def with_sinusoids(model):
    return parity.old_sinusoids(parity.all_tied_names({}, model), model)


# Models, and all tensors that a file of theirs may hold.
FILES = {
    "gpt2": (lambda: parity.REFERENCES["gpt2"](), with_masks),
    "openai-gpt": (lambda: parity.REFERENCES["openai-gpt"](), with_masks),
    "gpt2_double_heads": (lambda: double_heads("gpt2"), with_masks),
    "gpt1_double_heads": (lambda: double_heads("openai-gpt"), with_masks),
    "bert": (bert, lambda m: parity.old_bert_positions(parity.all_tied_names({}, m), m)),
    "bert_body": (lambda: bert("BertModel"), lambda m: parity.all_tied_names({}, m)),
    "marian": (marian, with_sinusoids),
    "marian_two_vocabularies": (
        lambda: marian(share_encoder_decoder_embeddings=False, decoder_vocab_size=47),
        with_sinusoids,
    ),
    "vit": (lambda: parity.REFERENCES["vit"](), lambda m: parity.all_tied_names({}, m)),
}


def write(folder, model, tensors):
    model.save_pretrained(folder)
    save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / WEIGHTS)


def fill(folder, model=None):
    """What `load` does, with a model that is there already. Returns it."""
    family, config, files = _open(folder)
    rules = family.rules(config)
    names = find_tensors(family, config, {rule.source for rule in rules}, files)
    model = family.build(config) if model is None else model
    assign(model, rules, names, lambda name: files.read(names[name]))
    return model


def values_of(model):
    return [to_numpy(weight) for weight in model.weights if "seed" not in weight.path]


def changed(tensor):
    """The same tensor with one other number."""
    flat = tensor.detach().clone().flatten()
    flat[-1] = 0 if tensor.dtype == torch.uint8 else flat[-1] + 1
    return flat.reshape(tensor.shape)


@pytest.mark.parametrize("name", FILES)
def test_no_number_of_a_file_is_without_a_meaning(name, tmp_path):
    """Changed by one number, each tensor changes a weight, or is refused by its name."""
    make, every_tensor = FILES[name]
    reference = make()
    tensors = every_tensor(reference)
    write(tmp_path, reference, tensors)
    model = fill(tmp_path)
    before, refused, used = values_of(model), set(), set()
    for key, tensor in tensors.items():
        write_only(tmp_path, {**tensors, key: changed(tensor)})
        try:
            fill(tmp_path, model)
        except ValueError as error:
            assert repr(key) in str(error)
            refused.add(key)
            continue
        after = values_of(model)
        differs = any((x != y).any() for x, y in zip(before, after, strict=True))
        assert differs != (key in LEFT_OUT), key
        used.add(key)
    assert refused or name in ("bert_body", "vit")
    assert len(used) > 12


def write_only(folder, tensors):
    save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / WEIGHTS)


@pytest.mark.slow
def test_no_number_of_a_firefox_file_is_without_a_meaning(tmp_path):
    path, tensors = tmp_path / "model.xx.bin", random_tensors(SETTINGS)
    path.write_bytes(to_bytes(SETTINGS, tensors, in_8_bits=False))
    model = fill(tmp_path)
    before = values_of(model)
    for name, array in tensors.items():
        other = array.copy()
        other.flat[-1] += 1
        path.write_bytes(to_bytes(SETTINGS, {**tensors, name: other}, in_8_bits=False))
        after = values_of(fill(tmp_path, model))
        assert any((x != y).any() for x, y in zip(before, after, strict=True)), name


# === Tied tensors ===


def folder_with(tmp_path, model, change):
    tensors = parity.all_tied_names({}, model)
    write(tmp_path, model, {**tensors, **change(tensors)})
    return tmp_path


def refuse(folder, message):
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(folder)


def test_a_copy_of_another_shape(tmp_path):
    model = parity.REFERENCES["gpt2"]()
    folder_with(tmp_path, model, lambda tensors: {"lm_head.weight": torch.zeros(3, 12)})
    refuse(tmp_path, r"'lm_head.weight' must be equal, .* shapes \(43, 12\) and \(3, 12\)")


def test_a_copy_that_is_rounded(tmp_path):
    model = parity.REFERENCES["gpt2"]()
    name = "transformer.wte.weight"
    rounded = folder_with(tmp_path, model, lambda t: {"lm_head.weight": t[name].half()})
    refuse(rounded, r"'transformer.wte.weight' and 'lm_head.weight' must be equal.*difference of")


def test_a_copy_for_a_head_that_is_not_there(tmp_path):
    model = bert("BertModel")
    table = model.embeddings.word_embeddings.weight
    folder_with(tmp_path, model, lambda tensors: {"cls.predictions.decoder.weight": table})
    refuse(tmp_path, "Left over: cls.predictions.decoder.weight")


# === Tensors that are computed ===

SINUSOIDS = "model.decoder.embed_positions.weight"


def shifted(table, by):
    table = table.clone()
    table[3, 5] += by
    return table


@pytest.mark.parametrize(
    ("change", "is_fit"),
    [
        (lambda table: table.half(), True),
        (lambda table: table.half().float(), True),
        (lambda table: table.bfloat16(), True),
        (lambda table: table[:5], True),
        (lambda table: table.bfloat16().float(), False),
        (lambda table: shifted(table, 0.01), False),
        (lambda table: shifted(table, 0.002), False),
        (lambda table: table[1:], False),
        (lambda table: table[:, :6], False),
        (lambda table: table[:, [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]], False),
    ],
)
def test_sinusoids_in_a_file(change, is_fit, tmp_path):
    model = marian()
    table = model.model.decoder.embed_positions.weight.detach()
    folder_with(tmp_path, model, lambda tensors: {SINUSOIDS: change(table)})
    if is_fit:
        assert kt.pretrained.load(tmp_path)
    else:
        refuse(tmp_path, f"'{SINUSOIDS}' must contain the values that the model computes")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transformer.h.0.attn.bias", torch.ones(1, 1, 13, 13)),
        ("transformer.h.0.attn.bias", torch.ones(1, 1, 5, 5).tril()),
        ("transformer.h.0.attn.bias", torch.ones(13, 13).tril()),
        ("h.0.attn.masked_bias", torch.tensor(-1.0)),
        ("h.0.attn.masked_bias", torch.tensor([-1e4, -1e4])),
        ("transformer.position_ids", torch.arange(13).flip(0)),
        ("position_ids", torch.zeros(13, dtype=torch.int64)),
    ],
)
def test_buffers_that_hold_something_else(name, value, tmp_path):
    model = parity.REFERENCES["openai-gpt"]()
    folder_with(tmp_path, model, lambda tensors: {name: value})
    refuse(tmp_path, f"'{name}' must contain the values that the model computes")


# === Heads of other classes ===

HEADS = {
    "GPT2ForSequenceClassification": "score.weight",
    "GPT2ForTokenClassification": "classifier.weight",
    "GPT2ForQuestionAnswering": "qa_outputs.weight",
    "BertForSequenceClassification": "classifier.weight",
    "BertForTokenClassification": "classifier.weight",
    "BertForQuestionAnswering": "qa_outputs.weight",
    "ViTForMaskedImageModeling": "mask_token",
    "OpenAIGPTForSequenceClassification": "score.weight",
}
SIZES = {
    "GPT": parity.GPT_SIZE,
    "Bert": parity.BERT_SIZE,
    "ViT": {**parity.VIT_SIZE, "patch_size": 4, "encoder_stride": 4},
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_not_supported(name, tmp_path):
    kind = getattr(transformers, name)
    sizes = next(values for key, values in SIZES.items() if key in name)
    model = kind(kind.config_class(**sizes))
    model.save_pretrained(tmp_path)
    refuse(tmp_path, f"`architectures` in .*{name}")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": None}))
    refuse(tmp_path, f"Left over: .*{HEADS[name]}")


def test_the_next_sentence_head_alone_is_no_model(tmp_path):
    bert("BertForNextSentencePrediction").save_pretrained(tmp_path)
    refuse(tmp_path, "`architectures` in .*BertForNextSentencePrediction")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": None}))
    refuse(tmp_path, "Left over: cls.seq_relationship.bias, cls.seq_relationship.weight")


def test_what_is_left_out_is_listed():
    """The head that is dropped, a table that transformers ignores, and multipliers of 8 bits."""
    names = ["cls.predictions.transform.dense.weight"]
    config = Config("a file", {}, names)
    listed = {name: family.left_out(config) for name, family in FAMILIES.items()}
    assert {name for name, names in listed.items() if names} == {"bert", "t5", "mt5"}
    assert listed["t5"] == listed["mt5"] == T5_LEFT_OUT
    assert set(listed["bert"]) == LEFT_OUT
    values = {"enc-depth": 1, "dec-depth": 1, "dim-vocabs": [5, 5], "tied-embeddings-all": True}
    names = FIREFOX.left_out(Config("a file", values))
    assert all(name.endswith("_QuantMultA") for name in names)


def test_integers_are_refused(tmp_path):
    model = parity.REFERENCES["gpt2"]()
    name = "transformer.h.0.mlp.c_fc.bias"
    folder_with(tmp_path, model, lambda tensors: {name: tensors[name].to(torch.int32)})
    refuse(tmp_path, f"'{name}' must contain floating-point numbers. Received: int32")
