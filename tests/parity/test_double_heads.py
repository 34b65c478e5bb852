"""Law 7: GPTs with a language-model head and a multiple-choice head, as Hugging Face saves them."""

import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from tests.harness import BACKEND, to_numpy, token_ids
from tests.parity.weights import loaded, randomize_torch

V = 53
SIZE = {"vocab_size": V, "n_positions": 31, "n_embd": 24, "n_layer": 2, "n_head": 4}
GPT1 = {
    "plain": {},
    "relu": {"afn": "relu", "n_layer": 3},
    "three_heads": {"afn": "swish", "n_head": 3},
    "one_layer": {"n_layer": 1, "n_embd": 20, "n_head": 5, "summary_first_dropout": 0.0},
    "epsilon": {"layer_norm_epsilon": 0.1, "n_positions": 17},
}
GPT2 = {"plain": {}, "inner": {"n_inner": 37, "activation_function": "gelu"}}
# B = 3 examples of K = 2 rows.
IDS = token_ids(3, 2, 11, vocabulary_size=V, low=0)
POSITIONS = np.array([[10, 4], [0, 7], [5, 10]], "int32")


def gpt1(more, **arguments):
    config = transformers.OpenAIGPTConfig(**{**SIZE, **more, **arguments})
    return randomize_torch(transformers.OpenAIGPTDoubleHeadsModel(config).eval())


def gpt2(more):
    config = transformers.GPT2Config(**{**SIZE, "bos_token_id": 0, "eos_token_id": 0, **more})
    return randomize_torch(transformers.GPT2DoubleHeadsModel(config).eval())


def expected(reference, **arguments):
    with torch.no_grad():
        return reference(
            input_ids=torch.tensor(IDS).long(),
            mc_token_ids=torch.tensor(POSITIONS).long(),
            **arguments,
        )


def check(outputs, result):
    outputs = to_numpy(outputs)
    np.testing.assert_allclose(outputs["lm_logits"], result.logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(outputs["logits"], result.mc_logits.numpy(), atol=1e-4)
    probabilities = torch.softmax(result.mc_logits, dim=-1).numpy()
    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-4)


@pytest.mark.parametrize("name", GPT1)
def test_gpt1(name, tmp_path):
    reference = gpt1(GPT1[name])
    model = loaded(reference, tmp_path)
    check(model({"token_ids": IDS, "extract_positions": POSITIONS}), expected(reference))
    assert model.get_layer("head_dropout").rate == reference.config.summary_first_dropout


@pytest.mark.parametrize("name", GPT2)
def test_gpt2(name, tmp_path):
    reference = gpt2(GPT2[name])
    model = loaded(reference, tmp_path)
    check(model({"token_ids": IDS, "extract_positions": POSITIONS}), expected(reference))


def test_token_types(tmp_path):
    """They share the embedding of the tokens; a model that takes them is made of the loaded one."""
    reference = gpt1({})
    first = loaded(reference, tmp_path)
    model = kt.models.multiple_choice(
        first, extract_positions=True, token_types=True, return_logits=True
    )
    model.get_layer("head").set_weights(first.get_layer("head").get_weights())
    types = token_ids(*IDS.shape, vocabulary_size=V, seed=1, low=0)
    inputs = {"token_ids": IDS, "extract_positions": POSITIONS, "token_types": types}
    result = expected(reference, token_type_ids=torch.tensor(types).long())
    check(model(inputs), result)


def test_the_loaded_model_trains(tmp_path):
    model = loaded(gpt1({}), tmp_path)
    recipe = kt.training.gpt1_finetuning_recipe(total_steps=2)
    loss = {"probabilities": recipe["loss"]}
    model.compile(recipe["optimizer"], loss, run_eagerly=BACKEND != "jax")
    inputs = {"token_ids": IDS, "extract_positions": POSITIONS}
    history = model.fit(inputs, {"probabilities": np.array([0, 1, 1])}, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_another_summary_is_refused(tmp_path):
    reference = gpt1({})
    reference.config.summary_type = "mean"
    reference.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`summary_type` in .* must be 'cls_index'"):
        kt.pretrained.load(tmp_path)
