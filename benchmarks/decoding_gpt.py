"""Prompt continuation with a GPT, in each system."""

from __future__ import annotations

import time
from pathlib import Path

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

GPT = {"num_heads": 8, **SIZE}
GPT_BATCH, GPT_PROMPT, GPT_NEW = 4, 32, 128
CHART = Path(__file__).resolve().parent.parent / "docs" / "images" / "decoding-cost.png"
# system, backend, maximum length of the model
GPT_RUNS = [
    ("ours", "jax", 160),
    ("products", "jax", 160),
    ("keras_hub", "jax", 160),
    ("ours", "tensorflow", 160),
    ("products", "tensorflow", 160),
    ("keras_hub", "tensorflow", 160),
    ("ours", "torch", 160),
    ("hugging_face", "torch", 160),
    ("products", "torch", 160),
    ("ours", "jax", 1024),
    ("keras_hub", "jax", 1024),
    ("ours", "tensorflow", 1024),
    ("keras_hub", "tensorflow", 1024),
    ("ours", "torch", 1024),
]
# system, backend, new tokens
COST_RUNS = [
    (system, "jax", new) for system in ("ours", "keras_hub") for new in (96, 224, 480, 992)
]


def reference_gpt(max_length):
    """Hugging Face's GPT-2 with random weights, the same in every process."""
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY_SIZE,
        n_positions=1024,
        n_embd=GPT["hidden_dim"],
        n_layer=GPT["num_layers"],
        n_head=GPT["num_heads"],
        bos_token_id=0,
        eos_token_id=None,
        initializer_range=0.2,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    model.transformer.wpe.weight.data = model.transformer.wpe.weight.data[:max_length].clone()
    model.config.n_positions = max_length
    return model


def prompts(length, batch=GPT_BATCH):
    generator = np.random.default_rng(0)
    return generator.integers(1, VOCABULARY_SIZE, (batch, length)).astype("int32")


def measure_gpt(system, max_length) -> dict:
    measure = {
        "ours": gpt_of_ours,
        "keras_hub": gpt_of_keras_hub,
        "hugging_face": gpt_of_hugging_face,
        "products": gpt_products,
    }[system]
    return measure(max_length)


def make_ours(max_length):
    return loaded(reference_gpt(max_length))


def gpt_of_ours(max_length) -> dict:
    import keras_transformer as kt

    model = make_ours(max_length)

    def generate():
        return kt.decoding.generate(model, prompts(GPT_PROMPT), max_new_tokens=GPT_NEW)

    first, seconds, ids = timed(generate)
    started = time.perf_counter()
    kt.decoding.generate(model, prompts(GPT_PROMPT - 5), max_new_tokens=GPT_NEW - 5)
    other = time.perf_counter() - started

    def stream():
        pieces = kt.decoding.stream(model, prompts(GPT_PROMPT), max_new_tokens=GPT_NEW)
        return np.stack(list(pieces), axis=1)

    _, streamed, pieces = timed(stream)
    if not np.array_equal(pieces, ids[:, GPT_PROMPT:]):
        raise SystemExit("Streaming must yield the same tokens as `generate`.")
    return {
        "first": first,
        "step": 1000 * seconds / GPT_NEW,
        "other_length": other,
        "stream": 1000 * streamed / GPT_NEW,
        "tokens": ids[:, GPT_PROMPT:].tolist(),
    }


def make_keras_hub(max_length):
    import keras_hub

    weights = weights_of(reference_gpt(max_length))
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=VOCABULARY_SIZE, **GPT, max_sequence_length=max_length
    )
    backbone.token_embedding.embeddings.assign(weights["transformer.wte.weight"])
    positions = backbone.get_layer("position_embedding")
    positions.position_embeddings.assign(weights["transformer.wpe.weight"])
    for index in range(GPT["num_layers"]):
        block = backbone.get_layer(f"transformer_layer_{index}")
        attention, name = block._self_attention_layer, f"transformer.h.{index}"
        parts = (attention._query_dense, attention._key_dense, attention._value_dense)
        kernels = np.split(weights[f"{name}.attn.c_attn.weight"], 3, axis=1)
        for dense, kernel in zip(parts, kernels, strict=True):
            dense.kernel.assign(kernel.reshape(dense.kernel.shape))
        kernel = weights[f"{name}.attn.c_proj.weight"]
        attention._output_dense.kernel.assign(kernel.reshape(attention._output_dense.kernel.shape))
        block._feedforward_intermediate_dense.kernel.assign(weights[f"{name}.mlp.c_fc.weight"])
        block._feedforward_output_dense.kernel.assign(weights[f"{name}.mlp.c_proj.weight"])
    return keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)


def keras_hub_generate(model, prompt_length, length):
    """Generates until all `length` positions are filled, as KerasHub always does."""
    ids = np.zeros((GPT_BATCH, length), "int32")
    ids[:, :prompt_length] = prompts(prompt_length)
    mask = np.zeros(ids.shape, bool)
    mask[:, :prompt_length] = True
    inputs = {"token_ids": ids, "padding_mask": mask}
    return np.asarray(model.generate(inputs, stop_token_ids=None)["token_ids"])


def gpt_of_keras_hub(max_length) -> dict:
    model = make_keras_hub(max_length)

    def generate(prompt_length):
        return keras_hub_generate(model, prompt_length, max_length)

    # KerasHub always generates up to max_length, so fewer steps require a longer prompt. Its
    # prefill processes max_length positions either way, so the difference is exactly 96 steps.
    first, seconds, ids = timed(lambda: generate(max_length - GPT_NEW))
    _, fewer, _ = timed(lambda: generate(max_length - GPT_NEW + 96))
    start = max_length - GPT_NEW
    return {
        "first": first,
        "step": 1000 * (seconds - fewer) / 96,
        "tokens": ids[:, start : start + GPT_NEW].tolist(),
    }


def hugging_face_generate(max_length, batch=GPT_BATCH, dtype="float32"):
    """Returns a function that continues the prompts with Hugging Face's GPT-2."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = reference_gpt(max_length).to(device, getattr(torch, dtype))
    ids = torch.tensor(prompts(GPT_PROMPT, batch)).long().to(device)

    def generate():
        with torch.inference_mode():
            generated = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=GPT_NEW,
                do_sample=False,
                pad_token_id=0,
            )
        return generated.cpu().numpy()

    return generate


def gpt_of_hugging_face(max_length) -> dict:
    first, seconds, found = timed(hugging_face_generate(max_length))
    return {
        "first": first,
        "step": 1000 * seconds / GPT_NEW,
        "tokens": found[:, GPT_PROMPT:].tolist(),
    }


def gpt_products(max_length) -> dict:
    """Milliseconds for the matrix products of one step."""
    first, seconds = time_products(GPT_BATCH, num_square=4)
    return {"first": first, "step": 1000 * seconds}


def measure_cost(system, new_tokens) -> dict:
    """Milliseconds per new token, including prefill."""
    if system == "ours":
        import keras_transformer as kt

        model = make_ours(1024)

        def generate():
            return kt.decoding.generate(model, prompts(GPT_PROMPT), max_new_tokens=new_tokens)

    else:
        model = make_keras_hub(1024)

        def generate():
            return keras_hub_generate(model, GPT_PROMPT, GPT_PROMPT + new_tokens)

    first, seconds, _ = timed(generate)
    return {"first": first, "step": 1000 * seconds / new_tokens}


def cost_chart(results) -> str:
    """Plots the cost per token against the number of tokens."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    rows = []
    for system in ("ours", "keras_hub"):
        points = [
            (new, result["step"]) for (name, _, new), result in results.items() if name == system
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=NAMES[system])
            rows.append(
                f"| {NAMES[system]} | " + " | ".join(f"{step:.1f}" for _, step in points) + " |"
            )
            lengths = [new for new, _ in points]
    axes.set(xlabel="new tokens", ylabel="ms per token (batch of 4)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    CHART.parent.mkdir(exist_ok=True)
    figure.savefig(CHART, dpi=130)
    head = "| ms per token, JAX | " + " | ".join(f"{new} new" for new in lengths) + " |"
    table = "\n".join([head, "|---" * (len(lengths) + 1) + "|", *rows])
    return f"""Cost per token against the number of tokens, for the same GPT on JAX:

{table}

![Cost per token against the number of tokens](images/{CHART.name})"""


def gpt_table(results) -> str:
    """The table of all systems with their ratios."""
    rows = []
    for (system, backend, max_length), result in results.items():
        ratios = [
            f"{results[rival]['step'] / result['step']:.2f}"
            if rival in results and system in ("ours", "products") and rival[0] != system
            else ""
            for rival in (
                ("keras_hub", backend, max_length),
                ("hugging_face", "torch", 160),
                ("products", backend, 160),
            )
        ]
        stream = f"{result['stream']:.1f}" if "stream" in result else ""
        other = f"{result['other_length']:.1f}" if "other_length" in result else ""
        tokens = GPT_BATCH * 1000 / result["step"]
        rows.append(
            f"| {NAMES[system]}, {backend} | {max_length} | {result['step']:.1f} | {tokens:,.0f} "
            f"| {' | '.join(ratios)} | {result['first']:.1f} | {other} | {stream} "
            f"| {agreement(results, (system, backend, max_length), ('hugging_face', 'torch', 160))}"
            " |"
        )
    table = "\n".join(rows)
    columns = (
        "system",
        "positions",
        "ms per step",
        "tokens per second",
        "KerasHub's time / its own",
        "Hugging Face's / its own",
        "bare products' / its own",
        "first call, s",
        "other length, s",
        "streamed, ms",
        "tokens as Hugging Face",
    )
    head = "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"
    return f"""A GPT with {GPT["num_layers"]} layers, width {GPT["hidden_dim"]},
{GPT["num_heads"]} heads and {VOCABULARY_SIZE:,} ids continues {GPT_BATCH} prompts of {GPT_PROMPT}
tokens by {GPT_NEW} tokens, greedily, in float32 with {THREADS} threads. "Positions" is the model's
maximum length, which determines KerasHub's cost. "Other length" is the first call with a prompt and
an output that are 5 tokens shorter. The systems run one after another on a machine whose speed
drifts: if the bare products seem slower than a complete step, the machine was slower while they ran
(`--rounds` evens this out). The ratios of the bare products are upper bounds: no program that uses
that backend's matrix products in float32 can gain more over the other systems on this machine.

{head}
{table}"""
