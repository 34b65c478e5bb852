"""GGUF files of tiny models of transformers, in the way of llama.cpp's converter."""

import gguf
import numpy as np

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.{kind}"
    _, _, index, rest = stem.split(".", 3)
    return f"blk.{index}.{NAMES[rest]}.{kind}"


def in_pairs(array, num_heads):
    """The rows of each head, first one of the first half, then one of the second, and so on."""
    size = array.shape[0] // num_heads
    order = [
        head * size + half * (size // 2) + index
        for head in range(num_heads)
        for index in range(size // 2)
        for half in (0, 1)
    ]
    return array[order]


def tensors_of(model):
    """The tensors of a model as its file holds them, by their names there."""
    config, tensors = model.config, {}
    for name, tensor in model.state_dict().items():
        array = tensor.detach().numpy().astype("float32")
        if config.model_type == "llama" and "q_proj" in name:
            array = in_pairs(array, config.num_attention_heads)
        if config.model_type == "llama" and "k_proj" in name:
            array = in_pairs(array, config.num_key_value_heads)
        tensors[gguf_name(name)] = array
    if config.tie_word_embeddings:
        del tensors["output.weight"]
    return tensors


def settings_of(config):
    """The settings of a model, without the name of the architecture in front."""
    size = config.head_dim if hasattr(config, "head_dim") else None
    size = size or config.hidden_size // config.num_attention_heads
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "rope.dimension_count": size,
        "vocab_size": config.vocab_size,
    }


def add_setting(writer, name, value):
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, list):
        writer.add_array(name, value)
    else:
        writer.add_uint32(name, value)


def write_gguf(path, model, kind="F32", tokenizer=None, tensors=None, **settings):
    """Writes a file; settings that are None are left out."""
    architecture = model.config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    own = {f"{architecture}.{k}": v for k, v in settings_of(model.config).items()}
    for name, value in {**own, **settings, **(tokenizer or {})}.items():
        if value is not None and name != "general.architecture":
            add_setting(writer, name, value)
    kind = gguf.GGMLQuantizationType[kind]
    for name, array in {**tensors_of(model), **(tensors or {})}.items():
        if array is None:
            continue
        if array.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dequantized(array, kind):
    """An array after quantization and back."""
    kind = gguf.GGMLQuantizationType[kind]
    return gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind).astype(np.float32)
