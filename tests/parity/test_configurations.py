"""Law 7 for odd configurations: each loads with the outputs of transformers, or is refused by name.

A configuration's values are those of transformers' class; `form` says how its folder is written.
"""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import BACKEND, normal, to_numpy, token_ids
from tests.parity.test_marian import randomize_marian
from tests.parity.weights import randomize_torch, record_difference

V, T = 43, 7


def on_this_backend(names):
    """All configurations on TensorFlow, some of them on the others, which share the loader."""
    return [*names] if BACKEND == "tensorflow" else [*names][::4]


# === How a folder is written ===


def as_bin(folder, reference):
    """All names of a model, tied ones too, as torch saves them."""
    (folder / "model.safetensors").unlink()
    torch.save(reference.state_dict(), folder / "pytorch_model.bin")


def edit_tensors(change):
    def form(folder, reference):
        tensors = load_file(folder / "model.safetensors")
        tensors = {name: tensor.clone() for name, tensor in change(tensors, reference).items()}
        save_file(tensors, folder / "model.safetensors")

    return form


def edit_config(change):
    def form(folder, reference):
        path = folder / "config.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()), type(reference.config))))

    return form


def without_defaults(config, kind):
    """As older versions wrote it: what is the class's default is not said."""
    default = kind().to_dict()
    kept = {key: value for key, value in config.items() if value != default.get(key, "none")}
    return {**kept, "model_type": config["model_type"]}


def by_common_names(config, kind):
    names = {own: common for common, own in kind.attribute_map.items()}
    return {names.get(key, key): value for key, value in config.items()}


def by_both_names(config, kind):
    return {**config, **{common: config[own] for common, own in kind.attribute_map.items()}}


def with_old_keys(config, kind):
    """What versions of years ago wrote, and what nobody knows."""
    old = {"pruned_heads": {}, "torchscript": False, "tie_encoder_decoder": False, "n_special": 0}
    old |= {"torch_dtype": "float32", "directionality": "bidi", "use_bfloat16": False}
    return {**config, **old, "top_k": 50, "bad_words_ids": None, "finetuning_task": None}


def old_fairseq_sinusoids(tensors, reference):
    """As buffers and parameters that older versions of transformers wrote."""
    names = [f"model.{stack}.embed_positions.weights" for stack in ("encoder", "decoder")]
    return {**tensors, **{name: reference.model.encoder.embed_positions.weights for name in names}}


def bare(tensors, reference):
    prefix = f"{reference.base_model_prefix}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def all_tied_names(tensors, reference):
    return {name: tensor for name, tensor in reference.state_dict().items()}


def last_tied_name(tensors, reference):
    """Of names that are tied the one that is usually left out."""
    tied = reference.all_tied_weights_keys
    whole = reference.state_dict()
    kept = {copy: whole[copy] for copy in tied}
    originals = set(tied.values())
    others = {n: t for n, t in tensors.items() if n not in originals and n not in tied}
    first = {original: next(c for c, o in tied.items() if o == original) for original in originals}
    return {**others, **{name: kept[name] for name in first.values()}}


def old_masks(tensors, reference):
    length = reference.config.n_positions
    mask = torch.ones(length, length, dtype=torch.uint8).tril()[None, None]
    more = {
        "transformer.h.0.attn.bias": mask,
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    return {**tensors, **more}


def old_positions(tensors, reference):
    positions = torch.arange(reference.config.n_positions)
    return {**tensors, "transformer.position_ids": positions}


def old_bert_positions(tensors, reference):
    positions = torch.arange(reference.config.max_position_embeddings)[None]
    return {**tensors, "bert.embeddings.position_ids": positions}


def old_sinusoids(tensors, reference):
    table = reference.model.encoder.embed_positions.weight.detach()
    names = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
    return {**tensors, names[0]: table.half(), names[1]: table.clone()}


FORMS = {
    "plain": lambda folder, reference: None,
    "bin": as_bin,
    "bare": edit_tensors(bare),
    "all_tied_names": edit_tensors(all_tied_names),
    "last_tied_name": edit_tensors(last_tied_name),
    "old_masks": edit_tensors(old_masks),
    "old_positions": edit_tensors(old_positions),
    "old_bert_positions": edit_tensors(old_bert_positions),
    "old_sinusoids": edit_tensors(old_sinusoids),
    "old_fairseq_sinusoids": edit_tensors(old_fairseq_sinusoids),
    "without_defaults": edit_config(without_defaults),
    "by_common_names": edit_config(by_common_names),
    "by_both_names": edit_config(by_both_names),
    "with_old_keys": edit_config(with_old_keys),
}


def written(reference, folder, form):
    """Writes a folder. Returns the reference, with weights as exact as the file's."""
    if form in ("float16", "bfloat16"):
        reference.to(getattr(torch, form)).save_pretrained(folder)
        return type(reference).from_pretrained(folder, dtype=torch.float32).eval()
    if form == "shards":
        reference.save_pretrained(folder, max_shard_size="3KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 2
        return reference
    reference.save_pretrained(folder)
    FORMS[form](folder, reference)
    return reference


def check(reference, folder, form, run, inputs):
    """`run` gives the outputs of the reference by our names, and where they count."""
    reference = written(reference, folder, form)
    with torch.no_grad():
        expected = run(reference)
    actual = kt.pretrained.load(folder)(inputs)
    actual = {n: to_numpy(x) for n, x in actual.items()} if isinstance(actual, dict) else actual
    actual = actual if isinstance(actual, dict) else {"output": to_numpy(actual)}
    assert set(expected) == set(actual)
    for name, value in expected.items():
        value = value.numpy()
        assert np.isfinite(value).all()
        assert np.abs(value).max() > 0.01
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
        record_difference(reference.config.model_type, actual[name], value)


def check_translator(reference, folder, form, length=T, low=10, high=V):
    """Compares logits of sources with ids from `low` to `high`, one of them padded."""
    config = reference.config
    source = token_ids(2, length, vocabulary_size=high, low=low)
    target = token_ids(2, 5, vocabulary_size=high, low=low, seed=1)
    source[0, 4:] = config.pad_token_id
    target[:, 0] = config.decoder_start_token_id
    inputs = {
        "input_ids": torch.tensor(source).long(),
        "attention_mask": torch.tensor(source != config.pad_token_id),
        "decoder_input_ids": torch.tensor(target).long(),
    }
    check(
        reference,
        folder,
        form,
        lambda reference: {"output": reference(**inputs).logits},
        {"source_ids": source, "target_ids": target},
    )


# === GPT ===

GPT_SIZE = {"vocab_size": V, "n_positions": 13, "n_embd": 12, "n_layer": 1, "n_head": 3}
OF_BOTH_GPTS = {
    "one_head": {"n_head": 1},
    "heads_of_one": {"n_embd": 5, "n_head": 5},
    "odd_sizes": {"n_embd": 21, "n_head": 7},
    "four_blocks": {"n_layer": 4},
    "one_position_too_few": {"n_positions": T},
    "small_epsilon": {"layer_norm_epsilon": 1e-12},
    "large_epsilon": {"layer_norm_epsilon": 0.7},
    "padding": {"pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2},
    "rates": {"resid_pdrop": 0.0, "embd_pdrop": 0.3, "attn_pdrop": 0.7},
    "relu": {"activation": "relu"},
    "silu": {"activation": "silu"},
    "swish": {"activation": "swish"},
    "gelu": {"activation": "gelu"},
    "labels": {"num_labels": 5, "problem_type": "regression"},
    "float16": {"form": "float16"},
    "bfloat16": {"form": "bfloat16"},
    "shards": {"form": "shards", "n_layer": 3},
    "bin": {"form": "bin"},
    "bare": {"form": "bare"},
    "all_tied_names": {"form": "all_tied_names"},
    "last_tied_name": {"form": "last_tied_name"},
    "old_masks": {"form": "old_masks"},
    "without_defaults": {"form": "without_defaults", "n_embd": 24, "n_head": 12},
    "by_common_names": {"form": "by_common_names"},
    "by_both_names": {"form": "by_both_names"},
    "with_old_keys": {"form": "with_old_keys"},
}
GPT1 = {**OF_BOTH_GPTS, "old_positions": {"form": "old_positions"}}
GPT2 = {
    **OF_BOTH_GPTS,
    "inner": {"n_inner": 5},
    "inner_of_one": {"n_inner": 1, "n_embd": 20, "n_head": 5},
    "gelu_new": {"activation": "gelu_new"},
    "gelu_tanh": {"activation": "gelu_pytorch_tanh"},
    "tanh": {"activation": "tanh"},
    "upcast": {"reorder_and_upcast_attn": True, "use_cache": False},
}


def gpt(config_class, model_class, activation_key, values):
    values = {**GPT_SIZE, "bos_token_id": 0, "eos_token_id": 0, **values}
    if "activation" in values:
        values[activation_key] = values.pop("activation")
    return randomize_torch(model_class(config_class(**values)).eval())


def check_gpt(kinds, values, folder):
    values = dict(values)
    form = values.pop("form", "plain")
    ids = token_ids(2, T, vocabulary_size=V, low=0)
    check(
        gpt(*kinds, values),
        folder,
        form,
        lambda reference: {"output": reference(input_ids=torch.tensor(ids).long()).logits},
        {"token_ids": ids},
    )


OF_GPT1 = (transformers.OpenAIGPTConfig, transformers.OpenAIGPTLMHeadModel, "afn")
OF_GPT2 = (transformers.GPT2Config, transformers.GPT2LMHeadModel, "activation_function")


@pytest.mark.parametrize("name", on_this_backend(GPT1))
def test_gpt1(name, tmp_path):
    check_gpt(OF_GPT1, GPT1[name], tmp_path)


@pytest.mark.parametrize("name", on_this_backend(GPT2))
def test_gpt2(name, tmp_path):
    check_gpt(OF_GPT2, GPT2[name], tmp_path)


def test_gpt2_without_its_head(tmp_path):
    """The matrix of the head is that of the tokens."""
    config = transformers.GPT2Config(**GPT_SIZE, bos_token_id=0, eos_token_id=0)
    ids = token_ids(2, T, vocabulary_size=V, low=0)

    def run(reference):
        hidden = reference(input_ids=torch.tensor(ids).long()).last_hidden_state
        return {"output": hidden @ reference.wte.weight.T}

    reference = randomize_torch(transformers.GPT2Model(config).eval())
    check(reference, tmp_path, "plain", run, {"token_ids": ids})


# === Marian ===

PAD = V - 1
MARIAN_SIZE = {
    "vocab_size": V,
    "d_model": 12,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 11,
    "decoder_ffn_dim": 11,
    "max_position_embeddings": 19,
    "pad_token_id": PAD,
    "decoder_start_token_id": PAD,
    "eos_token_id": 0,
    "forced_eos_token_id": None,
}
ONE_HEAD = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
WIDE = {"encoder_attention_heads": 16, "decoder_attention_heads": 16, "d_model": 32}
MARIAN = {
    "one_head": ONE_HEAD,
    "heads_of_two": {"encoder_attention_heads": 7, "decoder_attention_heads": 7, "d_model": 14},
    "inner_of_one": {"encoder_ffn_dim": 1, "decoder_ffn_dim": 1},
    "heads_of_their_own": {"encoder_attention_heads": 6, "decoder_attention_heads": 2},
    "widths_of_their_own": {"encoder_ffn_dim": 5, "decoder_ffn_dim": 13},
    "deep_encoder": {"encoder_layers": 4},
    "deep_decoder": {"decoder_layers": 3},
    "scaled": {"scale_embedding": True},
    "scaled_and_deep": {"scale_embedding": True, "encoder_layers": 2, "decoder_layers": 3},
    "padding_in_front": {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0},
    "start_of_its_own": {"decoder_start_token_id": 1},
    "rates": {"dropout": 0.0, "attention_dropout": 0.2, "activation_dropout": 0.3},
    "relu": {"activation_function": "relu"},
    "gelu_new": {"activation_function": "gelu_new"},
    "gelu_tanh": {"activation_function": "gelu_pytorch_tanh"},
    "silu": {"activation_function": "silu"},
    "swish": {"activation_function": "swish"},
    "tanh": {"activation_function": "tanh"},
    "few_positions": {"max_position_embeddings": T},
    "two_vocabularies": {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 47},
    "two_all_names": {"share_encoder_decoder_embeddings": False, "form": "all_tied_names"},
    "two_last_name": {"share_encoder_decoder_embeddings": False, "form": "last_tied_name"},
    "float16": {"form": "float16", "scale_embedding": True},
    "bfloat16": {"form": "bfloat16"},
    "shards": {"form": "shards", "decoder_layers": 2},
    "bin": {"form": "bin"},
    "all_tied_names": {"form": "all_tied_names"},
    "last_tied_name": {"form": "last_tied_name"},
    "old_sinusoids": {"form": "old_sinusoids"},
    "by_common_names": {"form": "by_common_names"},
    "by_both_names": {"form": "by_both_names"},
    "without_defaults": {"form": "without_defaults", **WIDE},
    "with_old_keys": {"form": "with_old_keys"},
}


@pytest.mark.parametrize("name", on_this_backend(MARIAN))
def test_marian(name, tmp_path):
    values = {**MARIAN_SIZE, **MARIAN[name]}
    form = values.pop("form", "plain")
    config = transformers.MarianConfig(**values)
    reference = randomize_marian(transformers.MarianMTModel(config).eval())
    reference.final_logits_bias.copy_(torch.randn(reference.final_logits_bias.shape))
    check_translator(reference, tmp_path, form, low=3, high=V - 1)


# === M2M100 ===

M2M_SIZE = {
    "vocab_size": V,
    "d_model": 12,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 11,
    "decoder_ffn_dim": 11,
    "max_position_embeddings": 19,
}
M2M = {
    "plain": {},
    "one_head": ONE_HEAD,
    "heads_of_their_own": {"encoder_attention_heads": 6, "decoder_attention_heads": 2},
    "widths_of_their_own": {"encoder_ffn_dim": 5, "decoder_ffn_dim": 13},
    "deep_encoder": {"encoder_layers": 4},
    "deep_decoder": {"decoder_layers": 3, "d_model": 18},
    "unscaled": {"scale_embedding": False},
    "padding_in_front": {"pad_token_id": 0, "bos_token_id": 1},
    "padding_inside": {"pad_token_id": 7},
    "start_of_its_own": {"decoder_start_token_id": 9},
    "rates": {"dropout": 0.0, "attention_dropout": 0.2, "activation_dropout": 0.3},
    "dropped_layers": {"encoder_layerdrop": 0.3, "decoder_layerdrop": 0.2},
    "gelu": {"activation_function": "gelu"},
    "swish": {"activation_function": "swish"},
    "few_positions": {"max_position_embeddings": 3},
    "float16": {"form": "float16"},
    "bfloat16": {"form": "bfloat16"},
    "shards": {"form": "shards", "decoder_layers": 2},
    "bin": {"form": "bin"},
    "all_tied_names": {"form": "all_tied_names"},
    "last_tied_name": {"form": "last_tied_name"},
    "old_sinusoids": {"form": "old_fairseq_sinusoids"},
    "by_common_names": {"form": "by_common_names"},
    "by_both_names": {"form": "by_both_names"},
    "without_defaults": {"form": "without_defaults", **WIDE},
    "with_old_keys": {"form": "with_old_keys"},
}


@pytest.mark.parametrize("name", on_this_backend(M2M))
def test_m2m_100(name, tmp_path):
    values = {**M2M_SIZE, **M2M[name]}
    form = values.pop("form", "plain")
    config = transformers.M2M100Config(**values)
    reference = randomize_torch(transformers.M2M100ForConditionalGeneration(config).eval())
    check_translator(reference, tmp_path, form)


# === T5 and mT5 ===

T5_SIZE = {
    "vocab_size": V,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 11,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "num_heads": 3,
    "decoder_start_token_id": 0,
}
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
OF_BOTH_T5S = {
    "plain": {},
    "one_head": {"num_heads": 1},
    "heads_of_one": {"num_heads": 7, "d_kv": 1},
    "usual_heads": {"d_kv": 4},
    "inner_of_one": {"d_ff": 1},
    "deep_encoder": {"num_layers": 4},
    "deep_decoder": {"num_decoder_layers": 3, "d_model": 18},
    "as_deep_as_the_encoder": {"num_layers": 2, "num_decoder_layers": None},
    "relu": {"feed_forward_proj": "relu"},
    "gelu": {"feed_forward_proj": "gelu"},
    "silu": {"feed_forward_proj": "silu"},
    "gelu_new": {"feed_forward_proj": "gelu_new"},
    "gated_gelu": {"feed_forward_proj": "gated-gelu"},
    "gated_relu": {"feed_forward_proj": "gated-relu"},
    "gated_silu": {"feed_forward_proj": "gated-silu"},
    "gated_gelu_new": {"feed_forward_proj": "gated-gelu_new"},
    "activation_of_its_own": {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"},
    "gates_of_their_own": {"feed_forward_proj": "silu", "is_gated_act": True},
    "few_buckets": {"relative_attention_num_buckets": 4, "relative_attention_max_distance": 3},
    "far_buckets": {"relative_attention_max_distance": 1000},
    "small_epsilon": {"layer_norm_epsilon": 1e-12},
    "large_epsilon": {"layer_norm_epsilon": 0.7},
    "padding_inside": {"pad_token_id": 7},
    "padding_and_start": {"pad_token_id": 7, "decoder_start_token_id": 7},
    "rates": {"dropout_rate": 0.0, "classifier_dropout": 0.3, "initializer_factor": 0.5},
    "scalable": {"scalable_attention": True, "n_positions": 512, "output_past": True},
    "float16": {"form": "float16"},
    "bfloat16": {"form": "bfloat16"},
    "shards": {"form": "shards", "num_decoder_layers": 2},
    "bin": {"form": "bin"},
    "all_tied_names": {"form": "all_tied_names"},
    "last_tied_name": {"form": "last_tied_name", "tied": True},
    "by_common_names": {"form": "by_common_names"},
    "by_both_names": {"form": "by_both_names"},
    "without_defaults": {"form": "without_defaults", "num_heads": 8, "d_kv": 64},
    "with_old_keys": {"form": "with_old_keys"},
}
T5 = {
    **OF_BOTH_T5S,
    "v11": V11,
    "v11_bin": {**V11, "form": "bin"},
    "v11_tied": {**V11, "tied": True},
    "scaled_by_name": {"scale_decoder_outputs": True, "tied": True, **V11},
    "unscaled_by_name": {"scale_decoder_outputs": False, "tied": True},
}
MT5 = {
    **OF_BOTH_T5S,
    "tied": {"tied": True},
    "said_to_be_tied": {"tie_word_embeddings": True},
    "said_to_be_untied": {"tie_word_embeddings": False, "tied": True},
}


def check_t5(config_class, model_class, values, folder):
    values = {**T5_SIZE, **values}
    form, is_tied = values.pop("form", "plain"), values.pop("tied", False)
    config = config_class(**values)
    reference = randomize_torch(model_class(config).eval())
    if not is_tied and not getattr(config, "scale_decoder_outputs", False):
        reference.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn(V, config.d_model))
    check_translator(reference, folder, form, length=23)


@pytest.mark.parametrize("name", on_this_backend(T5))
def test_t5(name, tmp_path):
    kinds = transformers.T5Config, transformers.T5ForConditionalGeneration
    check_t5(*kinds, T5[name], tmp_path)


@pytest.mark.parametrize("name", on_this_backend(MT5))
def test_mt5(name, tmp_path):
    kinds = transformers.MT5Config, transformers.MT5ForConditionalGeneration
    check_t5(*kinds, MT5[name], tmp_path)


# === BERT ===

BERT_SIZE = {
    "vocab_size": V,
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 11,
    "max_position_embeddings": 13,
}
LM, PRE = "BertForMaskedLM", "BertForPreTraining"
BERT = {
    "one_head": {"num_attention_heads": 1},
    "heads_of_one": {"num_attention_heads": 5, "hidden_size": 5},
    "odd_sizes": {"num_attention_heads": 7, "hidden_size": 21, "intermediate_size": 1},
    "four_blocks": {"num_hidden_layers": 4},
    "one_segment": {"type_vocab_size": 1, "model": LM},
    "three_segments": {"type_vocab_size": 3},
    "few_positions": {"max_position_embeddings": T},
    "small_epsilon": {"layer_norm_eps": 1e-15},
    "large_epsilon": {"layer_norm_eps": 0.7, "model": LM},
    "rates": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.4},
    "relu": {"hidden_act": "relu", "model": LM},
    "gelu_new": {"hidden_act": "gelu_new", "model": LM},
    "gelu_tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "silu": {"hidden_act": "silu"},
    "swish": {"hidden_act": "swish", "model": LM},
    "tanh": {"hidden_act": "tanh"},
    "padding_inside": {"pad_token_id": 17},
    "no_padding": {"pad_token_id": None},
    "chunks": {"chunk_size_feed_forward": 1, "classifier_dropout": 0.3, "use_cache": False},
    "untied_without_a_head": {"tie_word_embeddings": False},
    "float16": {"form": "float16", "model": LM},
    "bfloat16": {"form": "bfloat16", "model": PRE},
    "shards": {"form": "shards", "num_hidden_layers": 2},
    "bin": {"form": "bin", "model": PRE},
    "bare": {"form": "bare", "model": LM},
    "all_tied_names": {"form": "all_tied_names", "model": LM},
    "last_tied_name": {"form": "last_tied_name", "model": PRE},
    "old_positions": {"form": "old_bert_positions"},
    "without_defaults": {"form": "without_defaults", "hidden_size": 24, "num_attention_heads": 12},
    "with_old_keys": {"form": "with_old_keys", "model": LM},
}


@pytest.mark.parametrize("name", on_this_backend(BERT))
def test_bert(name, tmp_path):
    values = {**BERT_SIZE, **BERT[name]}
    form, class_name = values.pop("form", "plain"), values.pop("model", "BertModel")
    config = transformers.BertConfig(**values)
    reference = randomize_torch(getattr(transformers, class_name)(config).eval())
    ids = token_ids(2, T, vocabulary_size=V, low=18)
    padding = config.pad_token_id
    if padding is not None:
        ids[0, 4:] = padding
    segments = token_ids(2, T, vocabulary_size=config.type_vocab_size, low=0, seed=1)
    inputs = {"token_ids": ids, "segment_ids": segments}

    def run(reference):
        result = reference(
            input_ids=torch.tensor(ids).long(),
            token_type_ids=torch.tensor(segments).long(),
            attention_mask=torch.tensor(np.ones_like(ids) if padding is None else ids != padding),
            output_hidden_states=True,
        )
        expected = {"output": result.hidden_states[-1]}
        if class_name != LM:
            pooler = getattr(reference, "bert", reference).pooler
            expected["pooled_output"] = pooler(result.hidden_states[-1])
        if class_name != "BertModel":
            expected["logits"] = result["logits" if class_name == LM else "prediction_logits"]
        return expected

    check(reference, tmp_path, form, run, inputs)


# === ViT ===

VIT_SIZE = {
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 11,
    "image_size": 8,
    "patch_size": 4,
}
CLASSIFIER = "ViTForImageClassification"
VIT = {
    "one_head": {"num_attention_heads": 1},
    "heads_of_one": {"num_attention_heads": 5, "hidden_size": 5},
    "odd_sizes": {"num_attention_heads": 7, "hidden_size": 21, "intermediate_size": 1},
    "four_blocks": {"num_hidden_layers": 4},
    "one_patch": {"patch_size": 8},
    "pixels": {"image_size": 3, "patch_size": 1},
    "oblong_image": {"image_size": [4, 12]},
    "oblong_patches": {"patch_size": [2, 4], "image_size": [6, 8]},
    "one_channel": {"num_channels": 1, "model": CLASSIFIER},
    "five_channels": {"num_channels": 5},
    "one_class": {"num_labels": 1, "model": CLASSIFIER},
    "nine_classes": {"num_labels": 9, "model": CLASSIFIER},
    "named_classes": {"id2label": {0: "cat", 1: "dog", 2: "log"}, "model": CLASSIFIER},
    "small_epsilon": {"layer_norm_eps": 1e-15},
    "large_epsilon": {"layer_norm_eps": 0.7, "model": CLASSIFIER},
    "rates": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.4},
    "relu": {"hidden_act": "relu"},
    "gelu_new": {"hidden_act": "gelu_new"},
    "gelu_tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "silu": {"hidden_act": "silu", "model": CLASSIFIER},
    "swish": {"hidden_act": "swish"},
    "tanh": {"hidden_act": "tanh"},
    "stride": {"encoder_stride": 3},
    "no_pooler": {"pooler": False},
    "float16": {"form": "float16", "model": CLASSIFIER},
    "bfloat16": {"form": "bfloat16"},
    "shards": {"form": "shards", "num_hidden_layers": 3},
    "bin": {"form": "bin"},
    "without_defaults": {"form": "without_defaults", "hidden_size": 24, "num_attention_heads": 12},
    "with_old_keys": {"form": "with_old_keys", "model": CLASSIFIER},
}


@pytest.mark.parametrize("name", on_this_backend(VIT))
def test_vit(name, tmp_path):
    values = {**VIT_SIZE, **VIT[name]}
    form, class_name = values.pop("form", "plain"), values.pop("model", "ViTModel")
    options = {} if values.pop("pooler", True) else {"add_pooling_layer": False}
    config = transformers.ViTConfig(**values)
    reference = randomize_torch(getattr(transformers, class_name)(config, **options).eval())
    sides = config.image_size if isinstance(config.image_size, list) else [config.image_size] * 2
    images = normal(2, *sides, config.num_channels)

    def run(reference):
        result = reference(pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)))
        if class_name == CLASSIFIER:
            return {"output": result.logits}
        pooled = {} if options else {"pooled_output": result.pooler_output}
        return {"output": result.last_hidden_state, **pooled}

    check(reference, tmp_path, form, run, images)


# === What is refused ===

REFUSED = {
    "gpt2": {
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
        "add_cross_attention": True,
        "tie_word_embeddings": False,
        "activation_function": "quick_gelu",
        "architectures": ["GPT2ForSequenceClassification"],
        "num_attention_heads": 4,
        "hidden_size": 24,
        "n_head": None,
        "n_ctx": 5,
        "n_inner": 7.5,
        "n_positions": 0,
        "layer_norm_epsilon": "small",
        "pruned_heads": {"0": [1]},
        "quantization_config": {"bits": 4},
        "auto_map": {"AutoModel": "modeling.Own"},
        "per_layer_config": {"0": {"n_inner": 3}},
        "is_encoder_decoder": True,
        "resid_pdrop": 1.0,
    },
    "openai-gpt": {
        "tie_word_embeddings": False,
        "afn": "gelu_new",
        "architectures": ["OpenAIGPTForSequenceClassification"],
        "num_hidden_layers": 2,
        "max_position_embeddings": 5,
        "n_ctx": 5,
        "n_embd": True,
        "is_decoder": True,
        "quantization_config": {"bits": 4},
    },
    "bert": {
        "position_embedding_type": "relative_key",
        "is_decoder": True,
        "add_cross_attention": True,
        "tie_word_embeddings": False,
        "hidden_act": "mish",
        "architectures": ["BertForSequenceClassification"],
        "hidden_size": None,
        "type_vocab_size": 0,
        "pad_token_id": "0",
        "pruned_heads": {"0": [1]},
        "layer_norm_eps": None,
        "auto_map": {"AutoModel": "modeling.Own"},
    },
    "marian": {
        "normalize_before": True,
        "normalize_embedding": True,
        "add_final_layer_norm": True,
        "static_position_embeddings": False,
        "tie_word_embeddings": False,
        "encoder_layerdrop": 0.1,
        "decoder_layerdrop": 0.1,
        "decoder_ffn_dim": 0,
        "decoder_attention_heads": None,
        "decoder_vocab_size": 41,
        "pad_token_id": None,
        "scale_embedding": "yes",
        "activation_function": "mish",
        "is_encoder_decoder": False,
        "num_attention_heads": 5,
        "hidden_size": 14,
        "architectures": ["MarianForCausalLM"],
    },
    "m2m_100": {
        "tie_word_embeddings": False,
        "is_encoder_decoder": False,
        "decoder_start_token_id": 1,
        "pad_token_id": None,
        "scale_embedding": "yes",
        "activation_function": "mish",
        "encoder_ffn_dim": 0,
        "decoder_layers": None,
        "attention_dropout": 1.0,
        "num_attention_heads": 5,
        "hidden_size": 14,
        "architectures": ["M2M100Model"],
        "quantization_config": {"bits": 4},
    },
    "t5": {
        "is_encoder_decoder": False,
        "is_decoder": True,
        "feed_forward_proj": "gated-mish",
        "dense_act_fn": "mish",
        "is_gated_act": "yes",
        "scale_decoder_outputs": "no",
        "pad_token_id": None,
        "decoder_start_token_id": None,
        "relative_attention_num_buckets": 9,
        "d_kv": 0,
        "num_heads": None,
        "num_layers": 1.5,
        "layer_norm_epsilon": None,
        "dropout_rate": 1.0,
        "hidden_size": 14,
        "head_dim": 4,
        "num_attention_heads": 5,
        "num_hidden_layers": 3,
        "architectures": ["T5EncoderModel"],
        "quantization_config": {"bits": 4},
    },
    "mt5": {
        "is_encoder_decoder": False,
        "feed_forward_proj": "gated-mish",
        "pad_token_id": None,
        "num_attention_heads": 5,
        "architectures": ["T5ForConditionalGeneration"],
    },
    "vit": {
        "qkv_bias": False,
        "pooler_act": "relu",
        "pooler_output_size": 7,
        "hidden_act": "mish",
        "image_size": [8, 8, 8],
        "patch_size": 3,
        "num_channels": None,
        "head_dim": 7,
        "num_labels": 9,
        "architectures": ["ViTForMaskedImageModeling"],
        "quantization_config": {"bits": 4},
    },
}
REFERENCES = {
    "gpt2": lambda: gpt(*OF_GPT2, {}),
    "openai-gpt": lambda: gpt(*OF_GPT1, {}),
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**BERT_SIZE)),
    "marian": lambda: transformers.MarianMTModel(transformers.MarianConfig(**MARIAN_SIZE)),
    "m2m_100": lambda: transformers.M2M100ForConditionalGeneration(
        transformers.M2M100Config(**M2M_SIZE)
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5_SIZE)),
    "mt5": lambda: transformers.MT5ForConditionalGeneration(transformers.MT5Config(**T5_SIZE)),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(**VIT_SIZE, num_labels=3)
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for family, make in REFERENCES.items():
        made[family] = tmp_path_factory.mktemp("refused")
        make().save_pretrained(made[family])
    return made


@pytest.mark.parametrize(
    ("family", "key"),
    on_this_backend([(family, key) for family, keys in REFUSED.items() for key in keys]),
)
def test_a_setting_that_is_not_supported_is_named(family, key, folders):
    path = folders[family] / "config.json"
    content = path.read_text()
    values = {**json.loads(content), key: REFUSED[family][key]}
    try:
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError, match=f"`{key}`"):
            kt.pretrained.load(folders[family])
    finally:
        path.write_text(content)
