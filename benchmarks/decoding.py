"""Generation speed: ours against KerasHub and Hugging Face, the same weights, one run.

    python benchmarks/decoding.py --write docs/benchmarks.md

Each system runs in a process of its own, alone on the machine. All of them get the random weights
of one Hugging Face model, and where two decode greedily their tokens are compared. Times are
medians after a first call, which compiles and is listed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from page import machine, write_section

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GPT = {"num_layers": 6, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048}
VOCABULARY_SIZE = 32_000
GPT_BATCH, GPT_PROMPT, GPT_NEW = 4, 32, 128
BATCH, SOURCE_LENGTH, NEW_TOKENS = 16, 32, 32
REPEATS = 3
CHART = Path(__file__).resolve().parent.parent / "docs" / "images" / "decoding-cost.png"
THREADS = 2
# system, backend, positions of the model
GPT_RUNS = [
    ("ours", "jax", 160),
    ("ours", "jax", 1024),
    ("ours", "tensorflow", 160),
    ("ours", "tensorflow", 1024),
    ("ours", "torch", 160),
    ("keras_hub", "jax", 160),
    ("keras_hub", "jax", 1024),
    ("keras_hub", "tensorflow", 160),
    ("keras_hub", "tensorflow", 1024),
    ("hugging_face", "torch", 160),
]
# system, backend, beams
TRANSLATION_RUNS = [
    (system, backend, beams)
    for system, backend in (
        ("ours", "jax"),
        ("ours", "tensorflow"),
        ("ours", "torch"),
        ("hugging_face", "torch"),
    )
    for beams in (1, 4)
]
# system, backend, new tokens
COST_RUNS = [
    (system, "jax", new) for system in ("ours", "keras_hub") for new in (96, 224, 480, 992)
]
NAMES = {"ours": "keras_transformer", "keras_hub": "KerasHub", "hugging_face": "Hugging Face"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=("gpt", "translation", "cost"), help="one of them")
    parser.add_argument("--only", help="run only the systems with this in their name")
    parser.add_argument("--write", help="Markdown file to write the tables to")
    parser.add_argument("--run", help="run one, print JSON")
    arguments = parser.parse_args()
    if arguments.run:
        case, system, backend, number = arguments.run.split(",")
        os.environ["KERAS_BACKEND"] = backend
        measure = {"gpt": measure_gpt, "translation": measure_translation, "cost": measure_cost}[
            case
        ]
        print("RESULT " + json.dumps(measure(system, int(number))))
        return
    sections = []
    for case, runs, table in (
        ("gpt", GPT_RUNS, gpt_table),
        ("translation", TRANSLATION_RUNS, translation_table),
        ("cost", COST_RUNS, cost_chart),
    ):
        if arguments.case in (None, case):
            chosen = [run for run in runs if not arguments.only or arguments.only in run]
            sections.append(table({run: run_in_process(case, *run) for run in chosen}))
    body = "```bash\npython benchmarks/decoding.py --write docs/benchmarks.md\n```\n\n"
    body += "\n\n".join(sections) + f"\n\n{machine()}\n"
    print(body)
    if arguments.write:
        write_section(arguments.write, "Decoding: tokens a second", body)


def run_in_process(case, system, backend, number) -> dict:
    """Runs one system alone and returns its figures."""
    print(f"{case}: {system} on {backend}, {number} ...", flush=True)
    command = [sys.executable, __file__, "--run", f"{case},{system},{backend},{number}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    for line in process.stdout.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line.removeprefix("RESULT "))
            shown = {key: value for key, value in result.items() if key != "tokens"}
            print(f"  {shown}", flush=True)
            return result
    raise SystemExit(f"It failed with status {process.returncode}:\n{process.stderr[-3000:]}")


def timed(function) -> tuple[float, float, np.ndarray]:
    """Seconds of the first call, median seconds of the later ones, and the result."""
    started = time.perf_counter()
    result = function()
    first = time.perf_counter() - started
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return first, statistics.median(times), np.asarray(result)


# === A GPT ===


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
    return model


def prompts(length):
    generator = np.random.default_rng(0)
    return generator.integers(1, VOCABULARY_SIZE, (GPT_BATCH, length)).astype("int32")


def weights_of(reference):
    return {name: tensor.numpy() for name, tensor in reference.state_dict().items()}


def measure_gpt(system, max_length) -> dict:
    measure = {
        "ours": gpt_of_ours,
        "keras_hub": gpt_of_keras_hub,
        "hugging_face": gpt_of_hugging_face,
    }[system]
    return measure(max_length)


def make_ours(max_length):
    import keras_transformer as kt

    weights = weights_of(reference_gpt(max_length))
    model = kt.models.gpt(
        VOCABULARY_SIZE,
        **GPT,
        max_length=max_length,
        normalize_first=True,
        padding_id=None,
    )
    decoder = model.get_layer("decoder")
    model.get_layer("token_embedding").embeddings.assign(weights["transformer.wte.weight"])
    decoder.positional_encoding.embeddings.assign(weights["transformer.wpe.weight"])
    for index, block in enumerate(decoder.blocks):
        name = f"transformer.h.{index}"
        attention = block.self_attention.attention
        parts = (attention.query_dense, attention.key_dense, attention.value_dense)
        kernels = np.split(weights[f"{name}.attn.c_attn.weight"], 3, axis=1)
        for dense, kernel in zip(parts, kernels, strict=True):
            dense.kernel.assign(kernel)
        attention.output_dense.kernel.assign(weights[f"{name}.attn.c_proj.weight"])
        block.feed_forward.intermediate_dense.kernel.assign(weights[f"{name}.mlp.c_fc.weight"])
        block.feed_forward.output_dense.kernel.assign(weights[f"{name}.mlp.c_proj.weight"])
    return model


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
        raise SystemExit("Streaming must give the tokens that `generate` gives.")
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
    """Generates as it always does: until all `length` positions are full."""
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

    # It always generates up to max_length: fewer steps take a longer prompt. Its prefill passes
    # max_length positions either way, so that the difference is 96 steps and nothing else.
    first, seconds, ids = timed(lambda: generate(max_length - GPT_NEW))
    _, fewer, _ = timed(lambda: generate(max_length - GPT_NEW + 96))
    start = max_length - GPT_NEW
    return {
        "first": first,
        "step": 1000 * (seconds - fewer) / 96,
        "tokens": ids[:, start : start + GPT_NEW].tolist(),
    }


def gpt_of_hugging_face(max_length) -> dict:
    import torch

    model = reference_gpt(max_length)
    ids = torch.tensor(prompts(GPT_PROMPT)).long()

    def generate():
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=GPT_NEW,
                do_sample=False,
                pad_token_id=0,
            ).numpy()

    first, seconds, found = timed(generate)
    return {
        "first": first,
        "step": 1000 * seconds / GPT_NEW,
        "tokens": found[:, GPT_PROMPT:].tolist(),
    }


def measure_cost(system, new_tokens) -> dict:
    """Milliseconds a new token, the prefill included."""
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
    """Draws the cost of a token against the number of tokens."""
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
    axes.set(xlabel="new tokens", ylabel="ms a token (batch of 4)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    CHART.parent.mkdir(exist_ok=True)
    figure.savefig(CHART, dpi=130)
    head = "| ms a token, JAX | " + " | ".join(f"{new} new" for new in lengths) + " |"
    table = "\n".join([head, "|---" * (len(lengths) + 1) + "|", *rows])
    return f"""The cost of a token against the number of tokens, the same GPT on JAX:

{table}

![Cost of a token against the number of tokens](images/{CHART.name})"""


def agreement(results, key, other) -> str:
    """How many of the tokens are those of the other system."""
    if other not in results or key == other:
        return ""
    same = np.mean(np.array(results[key]["tokens"]) == np.array(results[other]["tokens"]))
    return f"{same:.1%}"


def gpt_table(results) -> str:
    """A step of each system, and the ratios that matter."""
    rows = []
    for (system, backend, max_length), result in results.items():
        rival = results.get(("keras_hub", backend, max_length))
        ratio = f"{rival['step'] / result['step']:.2f}" if rival and system == "ours" else ""
        stream = f"{result['stream']:.1f}" if "stream" in result else ""
        other = f"{result['other_length']:.1f}" if "other_length" in result else ""
        tokens = GPT_BATCH * 1000 / result["step"]
        rows.append(
            f"| {NAMES[system]}, {backend} | {max_length} | {result['step']:.1f} | {tokens:,.0f} "
            f"| {ratio} | {result['first']:.1f} | {other} | {stream} "
            f"| {agreement(results, (system, backend, max_length), ('hugging_face', 'torch', 160))}"
            " |"
        )
    table = "\n".join(rows)
    columns = (
        "system",
        "positions",
        "ms a step",
        "tokens a second",
        "KerasHub's time / ours",
        "first call, s",
        "other length, s",
        "streamed, ms",
        "tokens as Hugging Face",
    )
    head = "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"
    return f"""A GPT with {GPT["num_layers"]} layers, width {GPT["hidden_dim"]},
{GPT["num_heads"]} heads and {VOCABULARY_SIZE:,} ids continues {GPT_BATCH} prompts of {GPT_PROMPT}
tokens by {GPT_NEW}, greedily, float32, {THREADS} threads. "Positions" is the model's maximum, with
which KerasHub's cost grows. "Other length" is the first call with a prompt and a number of tokens
that are 5 shorter.

{head}
{table}"""


# === A translator ===


def reference_marian():
    """Hugging Face's Marian with random weights, the same in every process."""
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=VOCABULARY_SIZE,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
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
    model.final_logits_bias[0, 0] = -1e4  # no end: every system does the same number of steps
    return model


def sources():
    generator = np.random.default_rng(0)
    return generator.integers(1, VOCABULARY_SIZE - 1, (BATCH, SOURCE_LENGTH)).astype("int32")


def measure_translation(system, beams) -> dict:
    measure = {"ours": translation_of_ours, "hugging_face": translation_of_hugging_face}[system]
    first, seconds, ids = timed(measure(beams))
    return {
        "first": first,
        "speed": BATCH * NEW_TOKENS / seconds,
        "tokens": ids[:, -NEW_TOKENS:].tolist(),
    }


def translation_of_ours(beams):
    import keras_transformer as kt

    reference = reference_marian()
    weights = weights_of(reference)
    padding_id = VOCABULARY_SIZE - 1
    model = kt.models.transformer_base(
        VOCABULARY_SIZE,
        layer_norm_epsilon=1e-5,
        position_layout="concatenated",
        output_bias=True,
        padding_id=padding_id,
    )
    embedding = model.get_layer("token_embedding")
    embedding.embeddings.assign(weights["model.shared.weight"])
    embedding.bias.assign(weights["final_logits_bias"][0])
    for stack in ("encoder", "decoder"):
        for index, block in enumerate(model.get_layer(stack).blocks):
            name = f"model.{stack}.layers.{index}"
            attentions = {"self_attn": block.self_attention.attention}
            if stack == "decoder":
                attentions["encoder_attn"] = block.source_attention
            for part, attention in attentions.items():
                for own in ("query", "key", "value", "output"):
                    other = "out" if own == "output" else own[0]
                    kernel = weights[f"{name}.{part}.{other}_proj.weight"].T
                    getattr(attention, f"{own}_dense").kernel.assign(kernel)
            feed_forward = block.feed_forward
            feed_forward.intermediate_dense.kernel.assign(weights[f"{name}.fc1.weight"].T)
            feed_forward.output_dense.kernel.assign(weights[f"{name}.fc2.weight"].T)

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


def translation_of_hugging_face(beams):
    import torch

    model = reference_marian()
    ids = torch.tensor(sources()).long()

    def translate():
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                num_beams=beams,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                bad_words_ids=[[VOCABULARY_SIZE - 1]],
                early_stopping="never" if beams > 1 else False,
            ).numpy()

    return translate


def translation_table(results) -> str:
    """Tokens a second of each system, and the ratio to Hugging Face's."""
    rows = []
    for (system, backend, beams), result in results.items():
        rival = results.get(("hugging_face", "torch", beams))
        ratio = f"{result['speed'] / rival['speed']:.2f}" if rival and system == "ours" else ""
        rows.append(
            f"| {NAMES[system]}, {backend} | {beams} | {result['speed']:,.0f} | {ratio} "
            f"| {result['first']:.1f} "
            f"| {agreement(results, (system, backend, beams), ('hugging_face', 'torch', beams))} |"
        )
    table = "\n".join(rows)
    return f"""The Transformer base (6 + 6 layers, width 512, {VOCABULARY_SIZE:,} ids) translates
{BATCH} sources of {SOURCE_LENGTH} tokens into {NEW_TOKENS} each, encoder included, float32,
{THREADS} threads.

| system | beams | tokens a second | ours / Hugging Face | first call, s | tokens as Hugging Face |
|---|---|---|---|---|---|
{table}"""


if __name__ == "__main__":
    main()
