"""Law 7 for RoBERTa and XLM-RoBERTa: loaded and saved with the outputs of transformers."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import randomize, to_numpy, token_ids
from tests.parity.weights import check_agreement, loaded, randomize_torch

V, T, D = 53, 11, 24
SIZE = {
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 19,
    "max_position_embeddings": 31,
    "type_vocab_size": 1,
}
CONFIGURATIONS = {
    "plain": {},
    "relu": {"hidden_act": "relu", "num_hidden_layers": 3},
    "just_enough_positions": {"max_position_embeddings": T + 2, "num_attention_heads": 3},
    "epsilon": {"layer_norm_eps": 0.1},
    "three_segments": {"type_vocab_size": 3, "intermediate_size": 1},
    "padding_of_seven": {"pad_token_id": 7},
    "padding_of_zero": {"pad_token_id": 0},
}
FAMILIES = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
SMALL = {
    "vocabulary_size": V,
    "num_layers": 1,
    "num_heads": 3,
    "hidden_dim": D,
    "intermediate_dim": 19,
    "max_length": 17,
}


def make_reference(family, class_name, more=(), **arguments):
    config = getattr(transformers, f"{FAMILIES[family]}Config")(**{**SIZE, **dict(more)})
    kind = getattr(transformers, f"{FAMILIES[family]}{class_name}")
    return randomize_torch(kind(config, **arguments).eval())


def make_inputs(num_segments, padding_id):
    """Padding on the right, as everywhere here: in transformers it takes no position."""
    ids = token_ids(3, T, vocabulary_size=V, low=8)
    ids[0, 7:] = ids[2, 2:] = padding_id
    segments = token_ids(3, T, vocabulary_size=num_segments, seed=1, low=0)
    return {"token_ids": ids, "segment_ids": segments}


def run(reference, inputs, padding_id):
    with torch.no_grad():
        return reference(
            input_ids=torch.tensor(inputs["token_ids"]).long(),
            token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
            attention_mask=torch.tensor(inputs["token_ids"] != padding_id),
            output_hidden_states=True,
        )


def compare(family, model, reference):
    config = reference.config
    inputs = make_inputs(config.type_vocab_size, config.pad_token_id)
    real = inputs["token_ids"] != config.pad_token_id
    expected, actual = run(reference, inputs, config.pad_token_id), to_numpy(model(inputs))
    actual = actual if isinstance(actual, dict) else {"output": actual}
    check_agreement(family, actual["output"][real], expected.hidden_states[-1].numpy()[real])
    if "pooled_output" in actual:
        check_agreement(family, actual["pooled_output"], expected.pooler_output.numpy())
    if "logits" in actual:
        check_agreement(family, actual["logits"][real], expected.logits.numpy()[real])
    return set(actual)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_model(family, name, tmp_path):
    reference = make_reference(family, "Model", CONFIGURATIONS[name])
    model = loaded(reference, tmp_path)
    assert compare(family, model, reference) == {"output", "pooled_output"}
    padding_id = reference.config.pad_token_id
    length = reference.config.max_position_embeddings - padding_id - 1
    assert model.get_layer("positional_encoding").max_length == length


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name != "relu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_masked_language_model(family, name, tmp_path):
    reference = make_reference(family, "ForMaskedLM", CONFIGURATIONS[name])
    assert compare(family, loaded(reference, tmp_path), reference) == {"output", "logits"}


def test_without_heads(tmp_path):
    reference = make_reference("roberta", "Model", add_pooling_layer=False)
    assert compare("roberta", loaded(reference, tmp_path), reference) == {"output"}


def test_forms_of_older_files(tmp_path):
    """Positions as a buffer, all tied copies, a pooler beside the head."""
    reference = make_reference("roberta", "ForMaskedLM")
    reference.save_pretrained(tmp_path)
    tensors = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    assert {"lm_head.decoder.weight", "lm_head.decoder.bias"} <= tensors.keys()
    tensors["roberta.embeddings.position_ids"] = torch.arange(31)[None]
    tensors["roberta.pooler.dense.weight"] = torch.randn(D, D)
    tensors["roberta.pooler.dense.bias"] = torch.randn(D)
    save_file(tensors, tmp_path / "model.safetensors")
    inputs = make_inputs(1, 1)
    real = inputs["token_ids"] != 1
    actual, expected = to_numpy(kt.pretrained.load(tmp_path)(inputs)), run(reference, inputs, 1)
    check_agreement("roberta", actual["logits"][real], expected.logits.numpy()[real])
    first = expected.hidden_states[-1][:, 0]
    weight, bias = (tensors[f"roberta.pooler.dense.{part}"] for part in ("weight", "bias"))
    pooled = torch.tanh(first @ weight.T + bias)
    check_agreement("roberta", actual["pooled_output"], pooled.numpy())


# === Refusals ===


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "`hidden_act` in .* must be 'gelu'.* Received: 'relu'"),
        ({"pad_token_id": None}, "`pad_token_id` in .* must be of type int. Received: None"),
        ({"pad_token_id": -1}, "`pad_token_id` in .* must not be negative. Received: -1"),
        ({"pad_token_id": 30}, "`max_position_embeddings` in .* above `pad_token_id` .*31"),
        ({"max_position_embeddings": 32}, "position_embeddings.weight' must have the shape"),
        ({"is_decoder": True}, "`is_decoder` in .* must be False"),
        ({"tie_word_embeddings": False}, "`tie_word_embeddings` in .* must be True"),
        ({"architectures": ["RobertaForCausalLM"]}, "`architectures` in .*RobertaForCausalLM"),
    ],
)
def test_settings_that_are_refused(changes, message, tmp_path):
    make_reference("roberta", "ForMaskedLM").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


def test_tensors_that_are_refused(tmp_path):
    make_reference("roberta", "ForMaskedLM").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "classifier.dense.weight": torch.zeros(3, D)}, path)
    with pytest.raises(ValueError, match="Left over: classifier.dense.weight"):
        kt.pretrained.load(tmp_path)
    untied = tensors["roberta.embeddings.word_embeddings.weight"] + 1.0
    save_file({**tensors, "lm_head.decoder.weight": untied}, path)
    with pytest.raises(ValueError, match="lm_head.decoder.weight' must be equal"):
        kt.pretrained.load(tmp_path)


# === The way back ===


@pytest.mark.slow
@pytest.mark.parametrize("heads", [{"pooler": False}, {}, {"pooler": False, "masked_lm": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_saved(family, heads, tmp_path):
    name = family.replace("-", "_")
    model = kt.models.bert(**SMALL, num_segments=2, padding_id=1, name=name, **heads)
    randomize(model)
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    kind = "ForMaskedLM" if "masked_lm" in heads else "Model"
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert (config["model_type"], config["max_position_embeddings"]) == (family, 19)
    reference = getattr(transformers, FAMILIES[family] + kind).from_pretrained(tmp_path / "new")
    compare(family, model, reference.eval())
    again = kt.pretrained.load(tmp_path / "new")
    assert again.name == model.name
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_loaded_and_saved_again(tmp_path):
    """The rows that belong to no token are zeros then; transformers gives the same."""
    reference = make_reference("xlm-roberta", "Model")
    model = loaded(reference, tmp_path / "theirs")
    kt.pretrained.save_huggingface(model, None, tmp_path / "ours")
    theirs, ours = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "ours"))
    assert theirs.keys() == {name.removeprefix("roberta.") for name in ours}
    for name, tensor in ours.items():
        expected = theirs[name.removeprefix("roberta.")].clone()
        if "position_embeddings" in name:
            expected[:2] = 0.0
        assert torch.equal(tensor, expected), name


def test_without_padding_it_cannot_be_saved(tmp_path):
    model = kt.models.bert(**SMALL, padding_id=None, name="roberta")
    with pytest.raises(ValueError, match="`padding_id` must be an id in .* roberta. .*=None"):
        kt.pretrained.save_huggingface(model, None, tmp_path / "new")
