# %% [markdown]
# # The Transformer, piece by piece
#
# You see the figures of the guide with this title: the parts and how they connect, attention in
# numbers, positions, the causal mask and the learning rate. Those of its trained model are in
# "Digits backwards", `examples/reverse_digits.py`.
#
# Takes less than a minute on 2 CPU cores.
#
#     python examples/piece_by_piece.py
#
# `--smoke` computes fewer points of the curves.

# %%
from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Draw the figures of docs/piece-by-piece.md.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/piece-by-piece"), help="folder for the results"
)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="compute fewer points of the curves")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(arguments.seed)


def save(figure, name):
    figure.savefig(arguments.output / f"pieces-{name}.png", dpi=130)


# %% [markdown]
# ## The whole picture
#
# Boxes from bottom to top, the blocks in a frame of their color.

# %%
INPUT, BLOCK, NORM, OUTPUT = "#eef1f5", "#cfe3f7", "#f7edc9", "#d6efd8"
ENCODER = [
    ("source tokens", INPUT),
    ("embedding", INPUT),
    ("+ positions", INPUT),
    ("self-attention", BLOCK),
    ("add and normalize", NORM),
    ("feed-forward network", BLOCK),
    ("add and normalize", NORM),
]
DECODER = [
    ("target tokens so far", INPUT),
    ("embedding", INPUT),
    ("+ positions", INPUT),
    ("causal self-attention", BLOCK),
    ("add and normalize", NORM),
    ("cross-attention", BLOCK),
    ("add and normalize", NORM),
    ("feed-forward network", BLOCK),
    ("add and normalize", NORM),
    ("logits", OUTPUT),
    ("softmax: next token", OUTPUT),
]
ARROW = {"arrowstyle": "-|>", "color": "#44505c", "linewidth": 1.2}


def draw_stack(axes, boxes, left, num_in_block):
    for row, (text, color) in enumerate(boxes):
        box = {"boxstyle": "round,pad=0.02", "facecolor": color, "edgecolor": "#44505c"}
        axes.add_patch(matplotlib.patches.FancyBboxPatch((left, row), 3.4, 0.56, **box))
        axes.text(left + 1.7, row + 0.28, text, ha="center", va="center", fontsize=8.5)
        if row:
            middle = left + 1.7
            axes.annotate("", (middle, row), (middle, row - 0.44), arrowprops=ARROW)
        if color == NORM:  # the residual connection, around the sublayer below
            side, below = left - 0.2, row - 1.22
            axes.plot([left + 1.7, side, side], [below, below, row + 0.28], color=ARROW["color"])
            axes.annotate("", (left, row + 0.28), (side, row + 0.28), arrowprops=ARROW)
    frame = {"fill": False, "edgecolor": "#3b7dbd", "linestyle": "--"}
    corner = (left - 0.35, 2.75)
    axes.add_patch(matplotlib.patches.Rectangle(corner, 4.1, num_in_block + 0.02, **frame))
    axes.text(left - 0.42, 2.8, "N ×", ha="right", va="bottom", fontsize=10, color="#3b7dbd")


figure, axes = plt.subplots(figsize=(7.2, 6.4), layout="constrained")
draw_stack(axes, ENCODER, 0.0, 4)
draw_stack(axes, DECODER, 6.0, 6)
# From the top of the encoder to the decoder's cross-attention.
axes.plot([1.7, 1.7, 4.7, 4.7], [6.58, 7.2, 7.2, 5.28], color="#44505c", linewidth=1.2)
axes.annotate("", (6.0, 5.28), (4.7, 5.28), arrowprops=ARROW)
axes.text(3.2, 7.3, "one vector per source token", ha="center", fontsize=8)
axes.text(1.7, -0.5, "encoder", ha="center", fontsize=11)
axes.text(7.7, -0.5, "decoder", ha="center", fontsize=11)
axes.set(xlim=(-1.3, 10.2), ylim=(-0.8, 11.0))
axes.set_axis_off()
save(figure, "map")

# %% [markdown]
# ## Attention in numbers
#
# A layer with the weights of the page; the recording has all steps.

# %%
WORDS = ["cats", "purr"]
x = np.array([[[1, 0, 1, 0], [0, 2, 0, 1]]], "float32")
kernels = [
    np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], "float32"),
    np.array([[0, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], "float32"),
    np.array([[1, 0, 0], [0, 1, 0], [0, 0, 2], [0, 1, 1]], "float32"),
    np.eye(3, 4, dtype="float32"),
]
attention = kt.layers.MultiHeadSelfAttention(num_heads=1, head_dim=3, use_bias=False)
attention.build(x.shape)
attention.set_weights(kernels)
with kt.visualize.record(attention) as trace:
    attention(x)


def draw_numbers(axes, title, values, columns=None, rows=WORDS):
    """Draws a matrix as colored cells with their values; hidden cells are gray."""
    axes.set_facecolor("#c9ced6")
    shown = np.ma.masked_invalid(values)
    axes.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.6 * shown.max(), aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        text = f"{round(float(value), 2) + 0.0:.2f}" if np.isfinite(value) else "−∞"  # no "-0.00"
        axes.text(j, i, text, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(values.shape[1]), columns or [""] * values.shape[1], fontsize=8)
    axes.set_yticks(range(values.shape[0]), rows, fontsize=8)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_title(title, fontsize=9)


figure, grid = plt.subplots(1, 5, figsize=(8.2, 1.6), layout="constrained")
steps = [
    ("scores $QK^\\top$", "scores", WORDS),
    ("scaled, $/\\sqrt{3}$", "scaled", WORDS),
    ("weights (softmax)", "weights", WORDS),
    ("values $V$", "value", None),
    ("output", "head_output", None),
]
for axes, (title, name, columns) in zip(grid, steps, strict=True):
    draw_numbers(axes, title, trace[name][0, 0], columns)
save(figure, "attention")

# %% [markdown]
# ## Positions

# %%
layer = kt.layers.PositionalEncoding()
drawn = kt.visualize.plot_positions(layer, length=50, hidden_dim=64)
drawn.save(arguments.output / "pieces-positions.png", dpi=130)
drawn

# %%
table = drawn.data["matrices"][0]["values"]
figure, axes = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
for position, style in ((10, "-"), (25, "--"), (39, ":")):
    distances = np.arange(-10, 11)
    products = [table[position] @ table[position + k] for k in distances]
    axes.plot(distances, products, style, label=f"from position {position}", linewidth=2)
axes.set(xlabel="distance between the positions", ylabel="dot product of the encodings")
axes.set_xticks(range(-10, 11, 2))
axes.legend()
save(figure, "distance")

# %% [markdown]
# ## The causal mask
#
# The decoder's self-attention over six random vectors: the masked scores and the weights.

# %%
words = "the cat sat on the mat".split()
hidden = np.random.default_rng(arguments.seed).normal(size=(1, 6, 16)).astype("float32")
causal = kt.layers.MultiHeadSelfAttention(num_heads=1, causal=True)
with kt.visualize.record(causal) as trace:
    causal(hidden)
figure, grid = plt.subplots(1, 2, figsize=(7.4, 2.9), layout="constrained")
titles = {"masked": "scaled scores, masked", "weights": "weights"}
for axes, (name, title) in zip(grid, titles.items(), strict=True):
    draw_numbers(axes, title, trace[name][0, 0], words, words)
save(figure, "causal")

# %% [markdown]
# ## The learning rate

# %%
figure, axes = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
steps = np.arange(0, 30000, 3000 if arguments.smoke else 50)
for warmup in (2000, 4000, 8000):
    schedule = kt.training.NoamSchedule(hidden_dim=512, warmup_steps=warmup)
    axes.plot(steps + 1, [float(schedule(step)) for step in steps], label=f"{warmup:,} steps")
axes.set(xlabel="step", ylabel="learning rate")
axes.legend(title="warm-up")
save(figure, "schedule")
print(f"The figures are in {arguments.output}.")
