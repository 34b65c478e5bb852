# %% [markdown]
# # Temperature and top-k
#
# You see what SmolLM2, a language model of 135 million weights, writes at different temperatures,
# with and without top-k, and the probabilities behind it.
#
# Takes about 2 minutes on 2 CPU cores. The weights, 93 MB, are downloaded once.
#
#     python examples/temperature.py
#
# `--smoke` writes fewer words.

# %%
from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Continue a text at several temperatures.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/temperature"), help="folder for the results"
)
parser.add_argument("--prompt", default="In the garden behind the house there was a small")
parser.add_argument("--words", type=int, default=12, help="subwords of each continuation")
parser.add_argument("--smoke", action="store_true", help="write two subwords only")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
num_words = 2 if arguments.smoke else arguments.words

generator = kt.TextGenerator.from_pretrained(kt.datasets.smollm2.load_file())
print(kt.datasets.smollm2.ATTRIBUTION)
tokenizer = generator.tokenizer

# %% [markdown]
# ## Probabilities of the next token

# %%
logits = generator.model({"token_ids": np.array(kt.data.encode(tokenizer, [arguments.prompt]))})
logits = keras.ops.cast(logits[:, -1], "float32")  # (1, V)
CHOICES = {
    "temperature 0.5": kt.decoding.scale_temperature(logits, 0.5),
    "temperature 1": logits,
    "temperature 2": kt.decoding.scale_temperature(logits, 2.0),
    "temperature 1, top-k 3": kt.decoding.keep_top_k(logits, 3),
}
likely = np.argsort(-keras.ops.convert_to_numpy(logits)[0])[:8]
figure, grid = plt.subplots(1, 4, figsize=(11, 3), layout="constrained", sharey=True)
for axes, (name, changed) in zip(grid, CHOICES.items(), strict=True):
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(changed))[0]
    shares = [*probabilities[likely], 1.0 - probabilities[likely].sum()]
    axes.barh(range(9), shares, color=["#175f9e"] * 8 + ["#b0b7c1"])
    labels = [kt.data.decode(tokenizer, [[int(i)]])[0].strip() for i in likely]
    axes.set_yticks(range(9), [*labels, "all others"])
    axes.set_title(name, fontsize=9)
    axes.set(xlim=(0, 1))
grid[0].invert_yaxis()
figure.supxlabel(f"probability of the token after “{arguments.prompt}”", fontsize=9)
figure.savefig(arguments.output / "why-temperature.png", dpi=130)

# %% [markdown]
# ## Continuations
#
# Two for each setting, with different seeds.

# %%
SAMPLERS = {
    "greedy": "greedy",
    "temperature 0.5": kt.decoding.RandomSampler(temperature=0.5),
    "temperature 1": "random",
    "temperature 1, top-k 3": kt.decoding.TopK(3),
    "temperature 2": kt.decoding.RandomSampler(temperature=2.0),
    "temperature 2, top-k 3": kt.decoding.TopK(3, temperature=2.0),
}
lines = [f"“{arguments.prompt} …”", "", "| | continuations |", "|---|---|"]
for name, sampler in SAMPLERS.items():
    texts = [
        generator.generate(arguments.prompt, num_words, sampler=sampler, seed=seed)
        for seed in ((1,) if name == "greedy" else (3, 4))
    ]
    texts = [" ".join(text.removeprefix(arguments.prompt).split()) for text in texts]
    cell = "<br>".join(f"… {text.replace('|', '&#124;').replace('<', '&lt;')}" for text in texts)
    lines.append(f"| {name} | {cell} |")
lines += ["", "![Probabilities of the next token at four settings](images/why-temperature.png)"]
(arguments.output / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
print("\n".join(lines))
