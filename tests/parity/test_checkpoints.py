"""Law 7: a checkpoint that Hugging Face saved gives Hugging Face's logits after `load`."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

import keras_transformer as kt
from tests.harness import normal, to_numpy, token_ids
from tests.parity.test_marian import randomize_marian
from tests.parity.weights import check_agreement, loaded, randomize_torch

V = 53
GPT_SIZE = {"vocab_size": V, "n_positions": 31, "n_embd": 24, "n_layer": 2, "n_head": 4}
GPT1 = {
    "plain": {},
    "relu": {"afn": "relu", "n_layer": 3},
    "swish": {"afn": "swish", "n_head": 3},
    "one_layer": {"n_layer": 1, "n_embd": 20, "n_head": 5},
    "epsilon": {"layer_norm_epsilon": 0.1, "n_positions": 17},
}
GPT2 = {
    "plain": {},
    "inner": {"n_inner": 37},
    "relu": {"activation_function": "relu", "n_layer": 3},
    "gelu": {"activation_function": "gelu", "n_head": 3},
    "epsilon": {"layer_norm_epsilon": 0.1, "n_positions": 17},
}
MARIAN = {
    "opus": {"activation_function": "swish", "scale_embedding": True},
    "relu": {"activation_function": "relu", "d_model": 12},
    "gelu": {"activation_function": "gelu", "encoder_layers": 3},
    "deep_decoder": {"decoder_layers": 3, "encoder_layers": 1, "scale_embedding": True},
    "two_vocabularies": {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 61},
    "two_of_one_size": {"share_encoder_decoder_embeddings": False},
}
BERT = {
    "plain": {},
    "relu": {"hidden_act": "relu", "num_hidden_layers": 3},
    "gelu_new": {"hidden_act": "gelu_new", "num_attention_heads": 3},
    "epsilon": {"layer_norm_eps": 0.1, "max_position_embeddings": 17},
    "three_segments": {"type_vocab_size": 3, "pad_token_id": 7},
}
VIT = {
    "plain": {},
    "relu": {"hidden_act": "relu", "num_hidden_layers": 3},
    "labels": {"num_labels": 7, "num_channels": 1},
    "oblong": {"image_size": [8, 12], "patch_size": [2, 4]},
    "epsilon": {"layer_norm_eps": 0.1, "num_attention_heads": 3},
}
BERT_CLASSES = ("BertModel", "BertForMaskedLM", "BertForPreTraining")


def marian_reference(more):
    config = transformers.MarianConfig(
        **{
            "vocab_size": V,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 19,
            "decoder_ffn_dim": 19,
            "d_model": 16,
            "max_position_embeddings": 31,
            "pad_token_id": V - 1,
            "decoder_start_token_id": V - 1,
            "eos_token_id": 0,
            "forced_eos_token_id": None,
            **more,
        }
    )
    reference = randomize_marian(transformers.MarianMTModel(config).eval(), seed=len(str(more)))
    reference.final_logits_bias.copy_(torch.randn(reference.final_logits_bias.shape))
    return reference


def check_gpt(family, reference, folder):
    ids = token_ids(3, 11, vocabulary_size=V, low=0)
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(ids).long()).logits.numpy()
    actual = to_numpy(loaded(reference, folder)({"token_ids": ids}))
    check_agreement(family, actual, expected)


@pytest.mark.parametrize("name", GPT1)
def test_gpt1(name, tmp_path):
    config = transformers.OpenAIGPTConfig(**{**GPT_SIZE, **GPT1[name]})
    reference = randomize_torch(transformers.OpenAIGPTLMHeadModel(config).eval())
    check_gpt("openai-gpt", reference, tmp_path)


@pytest.mark.parametrize("name", GPT2)
def test_gpt2(name, tmp_path):
    config = transformers.GPT2Config(
        **{**GPT_SIZE, "bos_token_id": 0, "eos_token_id": 0, **GPT2[name]}
    )
    check_gpt("gpt2", randomize_torch(transformers.GPT2LMHeadModel(config).eval()), tmp_path)


@pytest.mark.parametrize("name", MARIAN)
def test_marian(name, tmp_path):
    reference = marian_reference(MARIAN[name])
    target_size = reference.final_logits_bias.shape[1]
    source = token_ids(3, 11, vocabulary_size=V - 1)
    source[0, 7:] = source[2, 2:] = V - 1
    target = token_ids(3, 5, vocabulary_size=V - 1, seed=1)  # no padding, which we would mask
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(source).long(),
            attention_mask=torch.tensor(source != V - 1),
            decoder_input_ids=torch.tensor(target).long(),
        ).logits.numpy()
    actual = to_numpy(loaded(reference, tmp_path)({"source_ids": source, "target_ids": target}))
    assert actual.shape == (3, 5, target_size)
    check_agreement("marian", actual, expected)


def bert_reference(class_name, more, **arguments):
    config = transformers.BertConfig(
        **{
            "vocab_size": V,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 19,
            "max_position_embeddings": 31,
            **more,
        }
    )
    return randomize_torch(getattr(transformers, class_name)(config, **arguments).eval())


def bert_inputs(num_segments, padding_id):
    ids = token_ids(3, 11, vocabulary_size=V, low=8)
    ids[0, 7:] = ids[2, 2:] = padding_id
    return {
        "token_ids": ids,
        "segment_ids": token_ids(3, 11, vocabulary_size=num_segments, seed=1, low=0),
    }


def run_bert(reference):
    """Inputs, what the reference makes of them, and where there is no padding."""
    padding_id = reference.config.pad_token_id
    inputs = bert_inputs(reference.config.type_vocab_size, padding_id)
    real = inputs["token_ids"] != padding_id
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(inputs["token_ids"]).long(),
            token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
            attention_mask=torch.tensor(real),
            output_hidden_states=True,
        )
    return inputs, expected, real


@pytest.mark.parametrize("name", BERT)
@pytest.mark.parametrize("class_name", BERT_CLASSES)
def test_bert(class_name, name, tmp_path):
    reference = bert_reference(class_name, BERT[name])
    inputs, expected, real = run_bert(reference)
    actual = to_numpy(loaded(reference, tmp_path)(inputs))
    pairs = {"output": expected.hidden_states[-1].numpy()}
    if class_name == "BertModel":
        pairs["pooled_output"] = expected.pooler_output.numpy()
    if class_name == "BertForMaskedLM":
        pairs["logits"] = expected.logits.numpy()
    if class_name == "BertForPreTraining":
        pairs["logits"] = expected.prediction_logits.numpy()
        with torch.no_grad():
            pairs["pooled_output"] = reference.bert.pooler(expected.hidden_states[-1]).numpy()
    assert set(actual) == set(pairs)
    for key, value in pairs.items():
        rows = slice(None) if key == "pooled_output" else real
        check_agreement("bert", actual[key][rows], value[rows])


def test_bert_without_heads(tmp_path):
    reference = bert_reference("BertModel", {}, add_pooling_layer=False)
    inputs, expected, real = run_bert(reference)
    actual = to_numpy(loaded(reference, tmp_path)(inputs))
    expected = expected.last_hidden_state.numpy()
    np.testing.assert_allclose(actual[real], expected[real], atol=1e-4)


def test_bert_with_the_names_of_tensorflow(tmp_path):
    reference = bert_reference("BertForPreTraining", {})
    reference.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(path).items()
    }
    assert any(name.endswith("LayerNorm.gamma") for name in tensors)
    save_file(tensors, path)
    inputs, expected, real = run_bert(reference)
    actual = to_numpy(kt.pretrained.load(tmp_path)(inputs)["logits"])
    np.testing.assert_allclose(actual[real], expected.prediction_logits.numpy()[real], atol=1e-4)


def vit_reference(class_name, more, **arguments):
    config = transformers.ViTConfig(
        **{
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 19,
            "image_size": 12,
            "patch_size": 4,
            **more,
        }
    )
    return randomize_torch(getattr(transformers, class_name)(config, **arguments).eval())


@pytest.mark.parametrize("name", VIT)
@pytest.mark.parametrize("class_name", ["ViTForImageClassification", "ViTModel"])
def test_vit(class_name, name, tmp_path):
    reference = vit_reference(class_name, VIT[name])
    config = reference.config
    sides = config.image_size if isinstance(config.image_size, list) else [config.image_size] * 2
    images = normal(3, *sides, config.num_channels)
    with torch.no_grad():
        expected = reference(pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)))
    actual = to_numpy(loaded(reference, tmp_path)(images))
    if class_name == "ViTForImageClassification":
        actual, pairs = {"logits": actual}, {"logits": expected.logits}
    else:
        pairs = {"output": expected.last_hidden_state, "pooled_output": expected.pooler_output}
    assert set(actual) == set(pairs)
    for key, value in pairs.items():
        check_agreement("vit", actual[key], value.numpy())
