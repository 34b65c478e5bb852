"""Folders of sentence-transformers, against transformers' models and pooling by hand in torch."""

import json

import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import randomize, to_numpy, token_ids
from tests.parity.weights import randomize_torch
from tests.pretrained import folders

V, D = 53, 12
MODULES = "sentence_transformers.models."
SIZE = {"vocab_size": V, "num_attention_heads": 3, "intermediate_size": 19}
SIZE |= {"hidden_size": D, "num_hidden_layers": 1, "max_position_embeddings": 31}
BODIES = {
    "bert": (transformers.BertModel, transformers.BertConfig(**SIZE)),
    "roberta": (transformers.RobertaModel, transformers.RobertaConfig(**SIZE, type_vocab_size=1)),
    "xlm-roberta": (
        transformers.XLMRobertaModel,
        transformers.XLMRobertaConfig(**SIZE, type_vocab_size=1),
    ),
    "distilbert": (
        transformers.DistilBertModel,
        transformers.DistilBertConfig(
            vocab_size=V, n_heads=3, hidden_dim=19, dim=D, n_layers=1, max_position_embeddings=31
        ),
    ),
}
FLAGS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
DENSE = {"in_features": D, "out_features": 5, "bias": True}
DENSE["activation_function"] = "torch.nn.modules.activation.Tanh"


def write(folder, name, content):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def make_folder(folder, family="bert", pooling="mean", kinds=("Normalize",), place="", dense=()):
    """A folder, and the torch model in it."""
    kind, config = BODIES[family]
    reference = randomize_torch(kind(config).eval())
    reference.save_pretrained(folder / place)
    modules = [("Transformer", place), ("Pooling", "1_Pooling")]
    modules += [(kind, f"{index}_{kind}") for index, kind in enumerate(kinds, 2)]
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": MODULES + kind}
        for index, (kind, path) in enumerate(modules)
    ]
    write(folder, "modules.json", listed)
    flags = {f"pooling_mode_{flag}": pooling == mode for mode, flag in FLAGS.items()}
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": D, **flags})
    write(folder, f"{place or '.'}/sentence_bert_config.json", {"max_seq_length": 9})
    if "Dense" in kinds:
        content = {**DENSE, **dict(dense)}
        write(folder, "2_Dense/config.json", content)
        torch.manual_seed(1)
        linear = torch.nn.Linear(D, content["out_features"], bias=content["bias"])
        tensors = {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()}
        save_file(tensors, folder / "2_Dense" / "model.safetensors")
    return reference


def expected_vectors(reference, ids, pooling, linear=None, activation=None, normalize=True):
    """What sentence-transformers does, by hand."""
    padding_id = reference.config.pad_token_id
    mask = torch.tensor(ids != padding_id)
    with torch.no_grad():
        hidden = reference(torch.tensor(ids).long(), attention_mask=mask).last_hidden_state
    if pooling == "mean":
        vectors = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    elif pooling == "max":
        vectors = hidden.masked_fill(~mask[..., None], float("-inf")).max(1).values
    else:
        places = mask.sum(1) - 1 if pooling == "lasttoken" else torch.zeros(len(ids)).long()
        vectors = hidden[torch.arange(len(ids)), places]
    if linear is not None:
        vectors = activation(torch.nn.functional.linear(vectors, *linear))
    vectors = torch.nn.functional.normalize(vectors) if normalize else vectors
    return vectors.numpy()


def ids_for(reference):
    ids = token_ids(4, 7, vocabulary_size=V, low=3)
    ids[0, 4:] = ids[2, 2:] = reference.config.pad_token_id
    return ids


def vectors_of(model, ids):
    return to_numpy(model({"token_ids": ids}))


@pytest.mark.parametrize("place", ["", "0_Transformer"])
@pytest.mark.parametrize("pooling", FLAGS)
@pytest.mark.parametrize("family", BODIES)
def test_vectors(family, pooling, place, tmp_path):
    reference = make_folder(tmp_path, family, pooling, place=place)
    model, ids = kt.pretrained.load(tmp_path), ids_for(reference)
    expected = expected_vectors(reference, ids, pooling)
    np.testing.assert_allclose(vectors_of(model, ids), expected, atol=1e-5)
    assert model.name == f"{family.replace('-', '_')}_sentence_encoder"


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("dense", "activation"),
    [
        ({}, torch.tanh),
        ({"activation_function": "torch.nn.modules.linear.Identity", "bias": False}, lambda x: x),
        ({"activation_function": "torch.nn.modules.activation.GELU"}, torch.nn.functional.gelu),
        ({"activation_function": "torch.nn.modules.activation.ReLU"}, torch.relu),
        ({"activation_function": "torch.nn.modules.activation.Sigmoid"}, torch.sigmoid),
        ({"activation_function": "torch.nn.modules.activation.SiLU"}, torch.nn.functional.silu),
    ],
)
def test_a_dense_module(dense, activation, normalize, tmp_path):
    kinds = ("Dense", "Normalize") if normalize else ("Dense",)
    reference = make_folder(tmp_path, kinds=kinds, dense=dense)
    tensors = load_file(tmp_path / "2_Dense" / "model.safetensors")
    linear = [tensors[name] for name in ("linear.weight", "linear.bias") if name in tensors]
    ids = ids_for(reference)
    expected = expected_vectors(reference, ids, "mean", linear, activation, normalize)
    actual = vectors_of(kt.pretrained.load(tmp_path), ids)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_forms_of_newer_versions(tmp_path):
    reference = make_folder(tmp_path, pooling="max")
    types = {
        "Transformer": "base.modules.transformer.Transformer",
        "Pooling": "sentence_transformer.modules.pooling.Pooling",
        "Normalize": "base.modules.normalize.Normalize",
    }
    listed = json.loads((tmp_path / "modules.json").read_text())
    for one in listed:
        one["type"] = f"sentence_transformers.{types[one['type'].rpartition('.')[2]]}"
    write(tmp_path, "modules.json", listed)
    pooling = {"embedding_dimension": D, "pooling_mode": "max", "include_prompt": True}
    write(tmp_path, "1_Pooling/config.json", pooling)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    settings = {"transformer_task": "feature-extraction", "modality_config": {"text": text}}
    settings |= {"module_output_name": "token_embeddings", "unpad_inputs": True}
    write(tmp_path, "sentence_bert_config.json", settings)
    write(tmp_path, "2_Normalize/config.json", {"module_input_name": "sentence_embedding"})
    ids = ids_for(reference)
    actual = vectors_of(kt.pretrained.load(tmp_path), ids)
    np.testing.assert_allclose(actual, expected_vectors(reference, ids, "max"), atol=1e-5)


def test_the_mean_where_nothing_is_chosen(tmp_path):
    reference = make_folder(tmp_path, pooling=None)
    ids = ids_for(reference)
    actual = vectors_of(kt.pretrained.load(tmp_path), ids)
    np.testing.assert_allclose(actual, expected_vectors(reference, ids, "mean"), atol=1e-5)


def test_a_plain_checkpoint_stays_one(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "modules.json").unlink()
    assert set(kt.pretrained.load(tmp_path).output) == {"output", "pooled_output"}


# === Tokenizers ===


@pytest.mark.parametrize("place", ["", "0_Transformer"])
def test_the_tokenizer(place, tmp_path):
    make_folder(tmp_path, place=place)
    folder = folders.bert(tmp_path / place, lowercase=False)
    theirs = transformers.BertTokenizer.from_pretrained(folder)
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in folders.AWKWARD]
    assert kt.pretrained.load_tokenizer(tmp_path)(folders.AWKWARD) == expected


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "sentence_roberta_config.json"])
def test_texts_in_lowercase(file, tmp_path):
    make_folder(tmp_path)
    (tmp_path / "sentence_bert_config.json").unlink()
    write(tmp_path, file, {"max_seq_length": 9, "do_lower_case": True})
    folder = folders.bert(tmp_path, lowercase=False)
    theirs = transformers.BertTokenizer.from_pretrained(folder)
    texts = ["THE Cat sat", "Où EST le Chat", "日本語 Ⅷ"]
    expected = [theirs(text.lower(), add_special_tokens=False)["input_ids"] for text in texts]
    plain = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert kt.pretrained.load_tokenizer(tmp_path)(texts) == expected != plain


# === Refusals ===


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", {"a": 1}, "`.*modules.json` must contain a JSON list. Received: dict"),
        ("modules.json", [], r"must list the modules Transformer, Pooling.* Received: \[\]"),
        ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "`pooling_mode` .*weightedm"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            r"`pooling_mode` in .* must be one of .*lasttoken.* Received: \['max', 'mean'\]",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_sqrt_len_tokens": True},
            r"`pooling_mode` in .* Received: \['mean_sqrt_len_tokens'\]",
        ),
        ("1_Pooling/config.json", {"include_prompt": False}, "`include_prompt` in .* must be True"),
        (
            "1_Pooling/config.json",
            {"word_embedding_dimension": 13},
            "dimension of the pooling in .* must be the hidden dimension 12. Received: 13",
        ),
        ("2_Dense/config.json", {**DENSE, "in_features": 13}, "`in_features` in .* 12. .*: 13"),
        ("2_Dense/config.json", {**DENSE, "use_residual": True}, "`use_residual` in .* be False"),
        ("2_Dense/config.json", {**DENSE, "module_input_name": "x"}, "`module_input_name` in"),
        (
            "2_Dense/config.json",
            {**DENSE, "activation_function": "os.system"},
            "`activation_function` in .* must be one of .*Tanh.* Received: 'os.system'",
        ),
        (
            "2_Dense/config.json",
            {**DENSE, "out_features": 6},
            "'linear.weight' must have the shape",
        ),
        ("2_Dense/config.json", {**DENSE, "bias": False}, "Left over: linear.bias"),
        ("3_Normalize/config.json", {"module_input_name": "x"}, "`module_input_name` in"),
        ("sentence_bert_config.json", {"do_lower_case": 1}, "`do_lower_case` in .* type bool"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "`transformer_task` in"),
        ("sentence_bert_config.json", {"model_args": {"x": 1}}, "`model_args` in .* must be None"),
    ],
)
def test_settings_that_are_refused(file, content, message, tmp_path):
    make_folder(tmp_path, kinds=("Dense", "Normalize"))
    write(tmp_path, file, content)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (["Transformer"], r"must list the modules .* Received: \['Transformer'\]"),
        (["Pooling", "Transformer"], "in this order. Received: .*'Pooling', 'Transformer'"),
        (["Transformer", "Pooling", "Normalize", "Dense"], "in this order. Received"),
        (["Transformer", "Pooling", "Pooling"], "in this order. Received"),
        (["Transformer", "WordWeights", "Pooling"], "Received: .*'WordWeights'"),
        (["Transformer", "Pooling", "LayerNorm"], "Received: .*'LayerNorm'"),
        (["my_module.Transformer", "Pooling"], "must list modules of sentence_transformers. .*my"),
    ],
)
def test_modules_that_are_refused(modules, message, tmp_path):
    make_folder(tmp_path)
    listed = [
        {"path": "1_Pooling" if kind == "Pooling" else "", "type": kind}
        if "." in kind
        else {"path": "1_Pooling" if kind == "Pooling" else "", "type": MODULES + kind}
        for kind in modules
    ]
    write(tmp_path, "modules.json", listed)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


@pytest.mark.parametrize("path", ["../1_Pooling", "/etc"])
def test_modules_elsewhere(path, tmp_path):
    make_folder(tmp_path)
    listed = json.loads((tmp_path / "modules.json").read_text())
    listed[1]["path"] = path
    write(tmp_path, "modules.json", listed)
    with pytest.raises(ValueError, match=f"must name folders inside its own. .*path='{path}'"):
        kt.pretrained.load(tmp_path)


# === The way back ===


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [(), ("Normalize",), ("Dense",), ("Dense", "Normalize")])
@pytest.mark.parametrize("family", BODIES)
def test_saved_again(family, kinds, tmp_path):
    pooling = [*FLAGS][len(family) % 4]
    reference = make_folder(tmp_path / "theirs", family, pooling, kinds)
    model, ids = kt.pretrained.load(tmp_path / "theirs"), ids_for(reference)
    kt.pretrained.save_huggingface(model, None, tmp_path / "ours")
    again = kt.pretrained.load(tmp_path / "ours")
    assert again.name == model.name
    expected = vectors_of(model, ids)
    np.testing.assert_array_equal(vectors_of(again, ids), expected)
    # The checkpoint in it is one that transformers opens.
    body = transformers.AutoModel.from_pretrained(tmp_path / "ours").eval()
    assert body.config.model_type == family
    linear = activation = None
    if "Dense" in kinds:
        tensors = load_file(tmp_path / "ours" / "2_Dense" / "model.safetensors")
        linear, activation = [tensors["linear.weight"], tensors["linear.bias"]], torch.tanh
    theirs = expected_vectors(body, ids, pooling, linear, activation, "Normalize" in kinds)
    np.testing.assert_allclose(expected, theirs, atol=1e-5)
    for name in ("modules.json", "1_Pooling/config.json"):
        first, second = (
            json.loads((tmp_path / one / name).read_text()) for one in ("theirs", "ours")
        )
        if isinstance(first, dict):
            first = {key: value for key, value in first.items() if value}
            second = {key: value for key, value in second.items() if value}
            first["include_prompt"] = True
        assert first == second


@pytest.mark.slow
def test_a_trained_encoder_with_its_tokenizer(tmp_path):
    tokenizer = kt.pretrained.load_tokenizer(folders.bert(tmp_path / "tokenizer"))
    body = kt.models.bert(tokenizer.vocabulary_size(), 1, 3, D, 19, 31)
    dense = keras.layers.Dense(5, "relu", use_bias=False)
    encoder = randomize(kt.models.sentence_encoder(body, "first", projection=dense))
    kt.pretrained.save_huggingface(encoder, tokenizer, tmp_path / "ours", dtype="bfloat16")
    settings = json.loads((tmp_path / "ours" / "sentence_bert_config.json").read_text())
    assert settings == {"max_seq_length": 31, "do_lower_case": False}
    again = kt.pretrained.load(tmp_path / "ours")
    ids = token_ids(4, 7, vocabulary_size=V, low=3)
    np.testing.assert_allclose(vectors_of(again, ids), vectors_of(encoder, ids), atol=0.05)
    texts = folders.AWKWARD
    assert kt.pretrained.load_tokenizer(tmp_path / "ours")(texts) == tokenizer(texts)


def test_encoders_that_it_cannot_hold(tmp_path):
    body = kt.models.bert(V, 1, 3, D, 19, 31)

    def refuse(message, **arguments):
        encoder = kt.models.sentence_encoder(body, **arguments)
        with pytest.raises(ValueError, match=message):
            kt.pretrained.save_huggingface(encoder, None, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    refuse("too many: .*LayerNormalization", projection=keras.layers.LayerNormalization())
    refuse("`activation` must be one of", projection=keras.layers.Dense(3, "softmax"))
