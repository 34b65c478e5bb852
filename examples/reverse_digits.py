# %% [markdown]
# # Digits backwards
#
# A small Transformer learns to write digits backwards. You see the share of unseen rows that it
# reverses grow to 100%, and how it does that: its cross-attention reads the source from right to
# left. After a question mark, the answers are ambiguous, and beam search finds a better one than
# greedy decoding.
#
# Takes about 2 minutes on 2 CPU cores, one of them for training.
#
#     python examples/reverse_digits.py
#
# `--smoke` runs every line on little data.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Train a Transformer that reverses digits.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/reverse-digits"), help="folder for the results"
)
parser.add_argument("--pairs", type=int, default=60000, help="pairs to learn from")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on little data")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(arguments.seed)

# %% [markdown]
# ## Data
#
# Three to five digits are reversed. After three digits and a question mark, the writer hesitates:
# with a probability of 60%, the answer is "um" and the digits in any order.

# %%
NAMES = ["<pad>", "<unknown>", "<start>", "<end>", *"0123456789", "?", "um"]
START, END = kt.data.START_ID, kt.data.END_ID
random = np.random.default_rng(arguments.seed)


class Names:
    """The names of the tokens, for figures."""

    def id_to_token(self, token_id):
        return NAMES[token_id]


def make_pair():
    if random.random() < 0.7:
        digits = [str(digit) for digit in random.integers(0, 10, random.integers(3, 6))]
        return digits, digits[::-1]
    digits = [str(digit) for digit in random.permutation(10)[:3]]
    hesitates = random.random() < 0.6
    return [*digits, "?"], ["um", *random.permutation(digits)] if hesitates else digits[::-1]


def ids(tokens):
    return [NAMES.index(token) for token in tokens]


# %% [markdown]
# The pairs are learned in several parts. After each, the model reverses rows of five digits that it
# never sees in training, which tells whether it learns the task rather than the examples.

# %%
num_pairs, NUM_PARTS = 600 if arguments.smoke else arguments.pairs, 6
unseen = list(dict.fromkeys(tuple(map(str, row)) for row in random.integers(0, 10, (200, 5))))
sources = [[*ids(digits), END] for digits in unseen]
wanted = [[*ids(digits[::-1]), END] for digits in unseen]


def make_batches(count):
    pairs = [make_pair() for _ in range(count)]
    pairs = [(source, target) for source, target in pairs if tuple(source) not in unseen]
    return kt.data.TranslationBatches(
        [ids(source) for source, _ in pairs],
        [ids(target) for _, target in pairs],
        tokens_per_batch=512,
        max_shapes=2,
    )


parts = [make_batches(num_pairs // NUM_PARTS) for _ in range(NUM_PARTS)]
num_steps = sum(map(len, parts))

# %% [markdown]
# ## Training

# %%
model = kt.models.transformer(
    vocabulary_size=16, num_layers=2, num_heads=4, hidden_dim=64, intermediate_dim=256, dropout=0.0
)
schedule = kt.training.WarmupCosineSchedule(3e-3, num_steps // 10, num_steps)
recipe = kt.training.transformer_recipe(64, label_smoothing=0.0, learning_rate=schedule)
# On a CPU, TensorFlow is faster without XLA; on a GPU or TPU, omit `jit_compile`.
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
model.compile(**recipe, jit_compile=jit_compile)

seconds, rows = 0.0, []
for part, batches in enumerate(parts, start=1):
    started = time.time()
    history = model.fit(batches, verbose=0).history
    seconds += time.time() - started
    written = kt.decoding.generate(model, sources, max_new_tokens=8, stop_ids=(END,))
    exact = [[t for t in row if t] == right for row, right in zip(written, wanted, strict=True)]
    seen = part * (num_pairs // NUM_PARTS)
    rows.append((seen, history["loss"][0], history["masked_accuracy"][0], np.mean(exact)))
    print(f"{seen:,} pairs: loss {rows[-1][1]:.3f}, {rows[-1][3]:.0%} reversed, {seconds:.0f} s")

figure, axes = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
counts, losses, _, shares = zip(*rows, strict=True)
axes.plot(counts, losses, "o-", color="#b23a0e", label="training loss (left)")
axes.set(xlabel="pairs seen", ylabel="loss", ylim=(0, None))
other = axes.twinx()
other.plot(counts, shares, "s--", color="#175f9e", label="unseen rows reversed (right)")
other.set(ylim=(-0.03, 1.03))
figure.legend(loc="outside upper center", ncols=2, fontsize=8)
figure.savefig(arguments.output / "pieces-training.png", dpi=130)

# %% [markdown]
# ## What the attention has learned
#
# Of all heads of the cross-attention, the one with the largest weights on the anti-diagonal: step t
# of n writes digit n - 1 - t.

# %%
digits = ["2", "7", "1", "8", "3"]
inputs = {
    "source_ids": [[*ids(digits), END]],
    "target_ids": [[START, *ids(digits[::-1])]],
}
layers = kt.visualize.attention_scores(model, inputs)["cross_attention"]
places = np.arange(len(digits))
on_diagonal = np.array([scores[0][:, places, places[::-1]].mean(axis=1) for scores in layers])
best_layer, best_head = np.unravel_index(on_diagonal.argmax(), on_diagonal.shape)
reversal = kt.visualize.plot_attention(
    model,
    inputs,
    int(best_layer),
    heads=int(best_head),
    kind="cross_attention",
    tokens={"source": Names(), "target": Names()},
)
reversal.save(arguments.output / "pieces-reversal.png", dpi=130)
reversal

# %% [markdown]
# ## Greedy and beam search
#
# Greedy decoding begins with the most probable token, "um". Two beams find the most probable
# sequence, the reversal.

# %%
hesitant = [*ids(["4", "0", "9", "?"]), END]
greedy_ids = [t for t in kt.decoding.generate(model, [hesitant], 8, stop_ids=(END,))[0] if t]
beam_options = {"num_beams": 2, "max_length": 8, "length_penalty": 0.0}
tree = kt.visualize.beam_tree(model, hesitant, tokens=Names(), **beam_options)
tree.save(arguments.output / "pieces-beams.png", dpi=130)
tree

# %%
beam_ids = tree.data["hypotheses"][0]["ids"]
probabilities = np.exp(
    kt.decoding.score(
        model, {"source_ids": [hesitant] * 2, "target_ids": [list(map(int, greedy_ids)), beam_ids]}
    )
)
lines = [
    f"{model.count_params():,} weights, {num_pairs:,} pairs, trained on {keras.backend.backend()}. "
    f"At each line of the table, greedy decoding reverses {len(unseen)} rows of five digits that "
    "do not occur in training.",
    "",
    "| pairs seen | loss | tokens predicted | unseen rows reversed |",
    "|---|---|---|---|",
    *(f"| {n:,} | {loss:.3f} | {share:.1%} | {right:.1%} |" for n, loss, share, right in rows),
    "",
    "![Loss and accuracy by the number of pairs seen](images/pieces-training.png)",
    "",
    f'The cross-attention of layer {best_layer}, head {best_head}, for "{" ".join(digits)}":',
    "",
    "![Weights on the anti-diagonal: the last digit first](images/pieces-reversal.png)",
]
(arguments.output / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
lines += ["", '| source "4 0 9 ?" | result | probability |', "|---|---|---|"]
for name, found, probability in zip(
    ("greedy", "two beams"), (greedy_ids, beam_ids), probabilities, strict=True
):
    text = " ".join(NAMES[token] for token in found if token != END)
    lines.append(f"| {name} | {text} | {probability:.2f} |")
print("\n".join(lines))
print(f"The figures are in {arguments.output}.")
