"""Law 7 for DistilBERT: loaded and saved with the outputs of transformers."""

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
    "dim": D,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 19,
    "max_position_embeddings": 31,
}
CONFIGURATIONS = {
    "plain": {},
    "relu": {"activation": "relu", "n_layers": 3},
    "just_enough_positions": {"max_position_embeddings": T, "n_heads": 3},
    "sinusoids": {"sinusoidal_pos_embds": True, "hidden_dim": 1},
    "padding_of_seven": {"pad_token_id": 7, "dim": 12},
    "rates": {"dropout": 0.0, "attention_dropout": 0.4, "qa_dropout": 0.5},
}
SMALL = {
    "vocabulary_size": V,
    "num_layers": 1,
    "num_heads": 3,
    "hidden_dim": D,
    "intermediate_dim": 19,
    "max_length": 17,
    "num_segments": None,
    "pooler": False,
}


def make_reference(class_name, more=()):
    config = transformers.DistilBertConfig(**{**SIZE, **dict(more)})
    return randomize_torch(getattr(transformers, f"DistilBert{class_name}")(config).eval())


def compare(model, reference):
    padding_id = reference.config.pad_token_id
    ids = token_ids(3, T, vocabulary_size=V, low=8)
    ids[0, 7:] = ids[2, 2:] = padding_id
    real = ids != padding_id
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(real),
            output_hidden_states=True,
        )
    actual = to_numpy(model({"token_ids": ids}))
    actual = actual if isinstance(actual, dict) else {"output": actual}
    check_agreement("distilbert", actual["output"][real], expected.hidden_states[-1].numpy()[real])
    if "logits" in actual:
        check_agreement("distilbert", actual["logits"][real], expected.logits.numpy()[real])
    return set(actual)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("class_name", ["Model", "ForMaskedLM"])
def test_distilbert(class_name, name, tmp_path):
    reference = make_reference(class_name, CONFIGURATIONS[name])
    heads = {"logits"} if class_name == "ForMaskedLM" else set()
    model = loaded(reference, tmp_path)
    assert compare(model, reference) == {"output", *heads}
    assert [tensor.name for tensor in model.inputs] == ["token_ids"]


def test_forms_of_older_files(tmp_path):
    reference = make_reference("ForMaskedLM")
    reference.save_pretrained(tmp_path)
    tensors = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    assert "vocab_projector.weight" in tensors
    tensors["distilbert.embeddings.position_ids"] = torch.arange(31)[None]
    save_file(tensors, tmp_path / "model.safetensors")
    compare(kt.pretrained.load(tmp_path), reference)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "mish"}, "`activation` in .* must be one of .* Received: 'mish'"),
        ({"max_position_embeddings": 30}, "position_embeddings.weight' must have the shape"),
        ({"hidden_size": 12}, "`hidden_size` and `dim` in .* must be equal"),
        ({"tie_word_embeddings": False}, "`tie_word_embeddings` in .* must be True"),
        ({"architectures": ["DistilBertForQuestionAnswering"]}, "DistilBertForQuestionAnswering"),
    ],
)
def test_settings_that_are_refused(changes, message, tmp_path):
    make_reference("ForMaskedLM").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


def test_tensors_that_are_refused(tmp_path):
    make_reference("ForMaskedLM").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "qa_outputs.weight": torch.zeros(2, D)}, path)
    with pytest.raises(ValueError, match="Left over: qa_outputs.weight"):
        kt.pretrained.load(tmp_path)
    untied = tensors["distilbert.embeddings.word_embeddings.weight"] + 1.0
    save_file({**tensors, "vocab_projector.weight": untied}, path)
    with pytest.raises(ValueError, match="vocab_projector.weight' must be equal"):
        kt.pretrained.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("masked_lm", [False, True])
def test_saved(masked_lm, tmp_path):
    model = randomize(kt.models.bert(**SMALL, masked_lm=masked_lm, activation="gelu_approximate"))
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    kind = transformers.DistilBertForMaskedLM if masked_lm else transformers.DistilBertModel
    compare(model, kind.from_pretrained(tmp_path / "new").eval())
    again = kt.pretrained.load(tmp_path / "new")
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"layer_norm_epsilon": 1e-5}, "`embedding_norm.epsilon` must be 1e-12 in .* distilbert"),
        ({"pooler": True}, "must have the layers of Hugging Face's distilbert. .*Dense"),
    ],
)
def test_models_that_it_cannot_hold(more, message, tmp_path):
    model = kt.models.bert(**{**SMALL, **more})
    with pytest.raises(ValueError, match=message):
        kt.pretrained.save_huggingface(model, None, tmp_path / "new")
