# %% [markdown]
# # Why it works
#
# Short experiments on the design of the Transformer, with random weights. You see what scaling the
# scores does, what residual connections and norms do, why positions are needed, and attention as a
# search: the figures of the guide with this title. Two more of them are in `compare_vectors.py` and
# `temperature.py`.
#
# Takes less than a minute on 2 CPU cores.
#
#     python examples/why_it_works.py
#
# `--smoke` runs every line on less data.

# %%
from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Draw the figures of docs/why-it-works.md.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/why-it-works"), help="folder for the results"
)
parser.add_argument("--smoke", action="store_true", help="run everything once, with fewer blocks")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
# Blocks without norms do not use the weights of their norms.
warnings.filterwarnings("ignore", "Gradients do not exist")


def save(figure, name):
    figure.savefig(arguments.output / f"why-{name}.png", dpi=130)


# %% [markdown]
# ## Scaling
#
# Random queries and keys of growing width: the entropy of the softmax, and how much the weights
# react to a change of the scores (the norm of the softmax's Jacobian).


# %%
def entropies(weights):
    return -(weights * np.log(np.maximum(weights, 1e-30))).sum(axis=-1)


def jacobian_norms(weights):
    """Norm of d softmax / d scores = diag(w) - w w^T for each row of weights."""
    outer = weights[:, :, None] * weights[:, None, :]
    return np.linalg.norm(np.eye(weights.shape[1]) * weights[:, None] - outer, axis=(1, 2))


random = np.random.default_rng(1)
widths = [4, 16, 64, 256, 1024]
measured = {"not scaled": [], "divided by $\\sqrt{d_k}$": []}
for width in widths:
    query, key = random.normal(size=(2, 1, 100, 1, width)).astype("float32")
    key = key[:, :32]
    for points, scale in zip(measured.values(), (1.0, None), strict=True):
        result = kt.ops.dot_product_attention(
            query, key, key, scale=scale, return_attention_scores=True
        )
        weights = keras.ops.convert_to_numpy(result["attention_scores"])[0, 0]
        points.append((entropies(weights).mean(), jacobian_norms(weights).mean()))

figure, grid = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for name, points in measured.items():
    for axes, values in zip(grid, zip(*points, strict=True), strict=True):
        axes.plot(widths, values, "o-", label=name)
grid[0].axhline(np.log(32), color="gray", linestyle=":", label="uniform weights")
grid[0].set(ylabel="entropy of the weights", ylim=(0, None))
grid[1].set(ylabel="norm of the gradient", ylim=(0, None))
for axes in grid:
    axes.set_xscale("log", base=2)
    axes.set(xlabel="$d_k$", xticks=widths, xticklabels=widths)
grid[0].legend(fontsize=8)
save(figure, "scaling")

# %% [markdown]
# ## Depth
#
# Twelve blocks with and without residual connections and norms, before any training: the gradient
# of each block's weights, and how much the tokens of a sequence still differ.

# %%
NUM_BLOCKS, WIDTH, RATE = 3 if arguments.smoke else 12, 64, 1e6
STYLES = {
    "post-LN": "o-",
    "pre-LN": "s-",
    "residual only": "^-",
    "norm only": "v--",
    "neither": "x--",
}


class Variant(kt.layers.TransformerEncoderBlock):
    """An encoder block whose residual connections or norms can be left out."""

    def __init__(self, *args, parts, **kwargs):
        super().__init__(*args, **kwargs)
        self.parts = parts

    def residual(self, x, norm, sublayer, training=None):
        if self.parts == "pre-LN":
            return x + sublayer(norm(x))
        y = sublayer(x)
        if self.parts in ("post-LN", "residual only"):
            y = x + y
        return norm(y) if self.parts in ("post-LN", "norm only") else y


def set_kernels(layers, random):
    """Gives kernels the same Glorot-uniform values on every backend."""
    for layer in layers:
        layer.set_weights(
            [
                random.uniform(-1, 1, w.shape) * np.sqrt(6 / sum(w.shape)) if w.ndim == 2 else w
                for w in layer.get_weights()
            ]
        )


def norm_of_change(before, after):
    changes = [np.ravel(b.astype("float64") - a) for b, a in zip(before, after, strict=True)]
    return np.linalg.norm(np.concatenate(changes))


def spread(state):
    """How much the tokens of a sequence differ: the part of their norm that they do not share."""
    state = keras.ops.convert_to_numpy(state).astype("float64")  # (B, T, D)
    own = state - state.mean(axis=1, keepdims=True)
    return np.linalg.norm(own) / np.linalg.norm(state)


def measure(parts):
    """Gradient norms of the blocks, and how much tokens differ before and after each."""
    random = np.random.default_rng(1)
    tokens, targets = random.normal(size=(2, 8, 11, WIDTH)).astype("float32")
    blocks = [
        Variant(4, 4 * WIDTH, dropout=0.0, parts=parts, name=f"block_{index}")
        for index in range(NUM_BLOCKS)
    ]
    x = inputs = keras.Input((11, WIDTH))
    states = [inputs, *(x := block(x) for block in blocks)]
    output = keras.layers.LayerNormalization()(x) if parts == "pre-LN" else x
    set_kernels(blocks, random)
    spreads = [spread(state) for state in keras.Model(inputs, states)(tokens)]
    # A step of plain gradient descent changes each weight by the rate times its gradient. With a
    # large rate, small gradients are not lost to rounding.
    model = keras.Model(inputs, output)
    model.compile(keras.optimizers.SGD(RATE), "mse", jit_compile=False)
    before = [block.get_weights() for block in blocks]
    model.train_on_batch(tokens, targets)
    after = [block.get_weights() for block in blocks]
    return [norm_of_change(*pair) / RATE for pair in zip(before, after, strict=True)], spreads


figure, grid = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
lines = [
    "| block with | gradient of the first block | of the last block | difference of tokens after "
    f"{NUM_BLOCKS} blocks |",
    "|---|---|---|---|",
]
for parts, style in STYLES.items():
    gradients, spreads = measure(parts)
    grid[0].plot(range(1, NUM_BLOCKS + 1), gradients, style, label=parts, markersize=4)
    grid[1].plot(range(NUM_BLOCKS + 1), spreads, style, markersize=4)
    lines.append(f"| {parts} | {gradients[0]:.1e} | {gradients[-1]:.1e} | {spreads[-1]:.1e} |")
grid[0].set(xlabel="block", ylabel="norm of the gradient", yscale="log")
grid[1].set(xlabel="blocks passed", ylabel="difference of the tokens", yscale="log")
figure.legend(loc="outside right center", fontsize=8)
save(figure, "depth")
lines += ["", "![Gradients by block, and how much tokens differ](images/why-depth.png)"]
(arguments.output / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
print("\n".join(lines))

# %% [markdown]
# ## Order
#
# Two sentences of the same words. Without positions, each word has the same vector in both.

# %%
SENTENCES = ["dog", "bites", "man"], ["man", "bites", "dog"]
figure, grid = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained")
for axes, positions in zip(grid, (None, kt.layers.PositionalEncoding()), strict=True):
    block = kt.layers.TransformerEncoderBlock(num_heads=2, intermediate_dim=32)
    encoder = kt.layers.TransformerEncoder(2, block, positional_encoding=positions)
    encoder.build((None, None, 16))
    set_kernels([encoder], np.random.default_rng(2))
    random = np.random.default_rng(1)
    vectors = dict(zip(SENTENCES[0], random.normal(size=(3, 16)), strict=True))
    inputs = np.array([[vectors[word] for word in one] for one in SENTENCES], "float32")
    first, second = keras.ops.convert_to_numpy(encoder(inputs))
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    axes.imshow(distances, cmap="Blues_r", vmin=0.0, vmax=8.0)
    for (i, j), distance in np.ndenumerate(distances):
        color = "white" if distance < 4.0 else "black"
        axes.text(j, i, f"{distance:.2f}", ha="center", va="center", color=color)
    axes.set_xticks(range(3), SENTENCES[1])
    axes.set_yticks(range(3), SENTENCES[0])
    axes.set_title("without positions" if positions is None else "with positions", fontsize=10)
figure.supylabel("word of the first sentence", fontsize=9)
figure.supxlabel("word of the second sentence", fontsize=9)
save(figure, "order")

# %% [markdown]
# ## Search
#
# A small table of dogs, searched by attention: the query asks for small and calm. The factor of
# the scores decides how sharp the search is.

# %%
DOGS = {  # size, coat and temperament, from small, short and calm (-1) to large, long, lively (1)
    "Mochi": (-0.9, 0.8, -0.8),
    "Pip": (-0.5, -0.9, -0.3),
    "Rocket": (-0.8, -0.7, 0.9),
    "Bruno": (0.9, -0.4, -0.7),
    "Tess": (0.7, 0.9, 0.8),
}
keys = np.array(list(DOGS.values()), "float32")[None, :, None]  # (B, S, N, H)
query = np.array([-1, 0, -1], "float32")[None, None, None]  # small, any coat, calm
figure, axes = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
for index, sharpness in enumerate((0.5, 1.0, 4.0)):
    result = kt.ops.dot_product_attention(
        query, keys, keys, scale=sharpness, return_attention_scores=True
    )
    weights = keras.ops.convert_to_numpy(result["attention_scores"])[0, 0, 0]
    places = np.arange(len(DOGS)) + 0.27 * (index - 1)
    axes.bar(places, weights, 0.25, label=f"scores × {sharpness:g}")
axes.set_xticks(range(len(DOGS)), DOGS)
axes.set(ylabel="attention weight", ylim=(0, 1))
axes.legend()
save(figure, "search")
print(f"The figures are in {arguments.output}.")
