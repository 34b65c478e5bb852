"""Translation with a base Transformer, in each system."""

from __future__ import annotations

import numpy as np
from decoding_common import (
    NAMES,
    SIZE,
    THREADS,
    VOCABULARY_SIZE,
    agreement,
    loaded,
    time_products,
    timed,
    weights_of,
)

BATCH, SOURCE_LENGTH, NEW_TOKENS = 16, 32, 32
# system, backend, beams
TRANSLATION_RUNS = [
    (system, backend, beams)
    for beams in (1, 4)
    for system, backend in (
        ("ours", "jax"),
        ("products", "jax"),
        ("ctranslate2", "none"),
        ("ours", "torch"),
        ("hugging_face", "torch"),
        ("products", "torch"),
        ("ours", "tensorflow"),
        ("products", "tensorflow"),
    )
]


def reference_marian():
    """Hugging Face's Marian with random weights, the same in every process."""
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=VOCABULARY_SIZE,
        d_model=SIZE["hidden_dim"],
        encoder_layers=SIZE["num_layers"],
        decoder_layers=SIZE["num_layers"],
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=SIZE["intermediate_dim"],
        decoder_ffn_dim=SIZE["intermediate_dim"],
        max_position_embeddings=128,
        pad_token_id=VOCABULARY_SIZE - 1,
        eos_token_id=0,
        decoder_start_token_id=VOCABULARY_SIZE - 1,
        forced_eos_token_id=None,
        activation_function="relu",
        scale_embedding=True,
        init_std=0.06,
    )
    model = transformers.MarianMTModel(config).eval()
    model.final_logits_bias[0, 0] = -1e4  # never ends: every system runs the same number of steps
    return model


def sources():
    generator = np.random.default_rng(0)
    return generator.integers(1, VOCABULARY_SIZE - 1, (BATCH, SOURCE_LENGTH)).astype("int32")


def measure_translation(system, beams) -> dict:
    if system == "products":
        # Two attention layers, without the source's keys and values, which are computed only once.
        # The encoder and the attention itself are omitted.
        first, seconds = time_products(BATCH * beams, num_square=6)
        return {"first": first, "speed": BATCH / seconds}
    measure = {
        "ours": translation_of_ours,
        "hugging_face": translation_of_hugging_face,
        "ctranslate2": translation_of_ctranslate2,
    }[system]
    first, seconds, ids = timed(measure(beams))
    return {
        "first": first,
        "speed": BATCH * NEW_TOKENS / seconds,
        "tokens": ids[:, -NEW_TOKENS:].tolist(),
    }


def translation_of_ours(beams):
    import keras_transformer as kt

    padding_id = VOCABULARY_SIZE - 1
    model = loaded(reference_marian())

    def translate():
        options = {"start_id": padding_id, "banned_ids": (padding_id,)}
        if beams == 1:
            return kt.decoding.generate(
                model, sources(), max_new_tokens=NEW_TOKENS, stop_ids=(0,), **options
            )
        return kt.decoding.beam_search(
            model,
            sources(),
            end_id=0,
            num_beams=beams,
            max_length=NEW_TOKENS,
            length_penalty=1.0,
            length_normalization="length",
            **options,
        ).ids[:, 0]

    return translate


def translation_of_hugging_face(beams, dtype="float32"):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = reference_marian().to(device, getattr(torch, dtype))
    ids = torch.tensor(sources()).long().to(device)

    def translate():
        with torch.inference_mode():
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                num_beams=beams,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                bad_words_ids=[[VOCABULARY_SIZE - 1]],
                early_stopping="never" if beams > 1 else False,
            )
        return found.cpu().numpy()

    return translate


def ctranslate2_model():
    """The reference as a CTranslate2 model specification."""
    from ctranslate2.specs import common_spec, transformer_spec

    weights = weights_of(reference_marian())
    spec = transformer_spec.TransformerSpec.from_config(
        6, 8, pre_norm=False, activation=common_spec.Activation.RELU
    )

    def linear(target, *names):
        target.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
        target.bias = np.concatenate([weights[f"{name}.bias"] for name in names])

    def norm(target, name):
        target.gamma, target.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    for stack in ("encoder", "decoder"):
        part = getattr(spec, stack)
        for index, layer in enumerate(part.layer):
            name = f"model.{stack}.layers.{index}"
            own, source = f"{name}.self_attn", f"{name}.encoder_attn"
            joint, output = layer.self_attention.linear
            linear(joint, *(f"{own}.{letter}_proj" for letter in "qkv"))
            linear(output, f"{own}.out_proj")
            norm(layer.self_attention.layer_norm, f"{own}_layer_norm")
            if stack == "decoder":
                query, joint, output = layer.attention.linear
                linear(query, f"{source}.q_proj")
                linear(joint, f"{source}.k_proj", f"{source}.v_proj")
                linear(output, f"{source}.out_proj")
                norm(layer.attention.layer_norm, f"{source}_layer_norm")
            linear(layer.ffn.linear_0, f"{name}.fc1")
            linear(layer.ffn.linear_1, f"{name}.fc2")
            norm(layer.ffn.layer_norm, f"{name}.final_layer_norm")
        embeddings = part.embeddings[0] if stack == "encoder" else part.embeddings
        embeddings.weight = weights["model.shared.weight"]
        embeddings.multiply_by_sqrt_depth = True
        part.scale_embeddings = True
        part.position_encodings.encodings = weights[f"model.{stack}.embed_positions.weight"]
    spec.decoder.projection.weight = weights["model.shared.weight"]
    spec.decoder.projection.bias = weights["final_logits_bias"][0]
    tokens = [str(index) for index in range(VOCABULARY_SIZE)]
    tokens[0], tokens[1], tokens[-1] = "</s>", "<unk>", "<pad>"
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.bos_token = spec.config.decoder_start_token = "<pad>"
    spec.config.eos_token, spec.config.unk_token = "</s>", "<unk>"
    spec.validate()
    spec.optimize()
    return spec, tokens


def translation_of_ctranslate2(beams):
    import tempfile

    import ctranslate2

    spec, tokens = ctranslate2_model()
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder, device="cpu", compute_type="float32", intra_threads=THREADS, inter_threads=1
        )
    texts = [[tokens[index] for index in row] for row in sources()]
    ids = {token: index for index, token in enumerate(tokens)}

    def translate():
        results = translator.translate_batch(
            texts,
            beam_size=beams,
            max_decoding_length=NEW_TOKENS,
            length_penalty=1,
            suppress_sequences=[["<pad>"]],
        )
        return np.array([[ids[token] for token in result.hypotheses[0]] for result in results])

    return translate


def translation_table(results) -> str:
    """The table of tokens per second, with ratios to the other systems."""
    rows = []
    for (system, backend, beams), result in results.items():
        ratios = []
        for rival in (
            ("hugging_face", "torch", beams),
            ("ctranslate2", "none", beams),
            ("products", backend, beams),
        ):
            if rival in results and system in ("ours", "products") and rival[0] != system:
                ratios.append(f"{result['speed'] / results[rival]['speed']:.2f}")
            else:
                ratios.append("")
        name = NAMES[system] if backend == "none" else f"{NAMES[system]}, {backend}"
        rows.append(
            f"| {name} | {beams} | {result['speed']:,.0f} | {' | '.join(ratios)} "
            f"| {result['first']:.1f} "
            f"| {agreement(results, (system, backend, beams), ('hugging_face', 'torch', beams))} |"
        )
    table = "\n".join(rows)
    return f"""A base Transformer (6 + 6 layers, width 512, {VOCABULARY_SIZE:,} ids) translates
{BATCH} sources of {SOURCE_LENGTH} tokens into {NEW_TOKENS} tokens each, including the encoder, in
float32 with {THREADS} threads.

| system | beams | tokens per second | its own / Hugging Face's | its own / CTranslate2's \
| its own / bare products' | first call, s | tokens as Hugging Face |
|---|---|---|---|---|---|---|---|
{table}"""
