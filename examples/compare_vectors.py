# %% [markdown]
# # What word vectors know
#
# A vector learned for a task knows what the task needs. You see the similarities of words, as
# numbers and as colors, for three kinds of vectors: one-hot vectors, vectors learned by a
# classifier of movie reviews, and those of Word2Vec, learned from the words around each word.
#
# Takes about 2 minutes on 2 CPU cores, half of it to train Word2Vec if there are no vectors yet.
#
#     python examples/compare_vectors.py
#
# It reads the vectors that `examples/word2vec.py` saved in `--vectors`. `--smoke` runs every
# line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Compare one-hot, learned and Word2Vec vectors.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/compare-vectors"), help="folder for the results"
)
parser.add_argument(
    "--vectors", type=Path, default=Path("runs/word2vec/vectors.npz"), help="from word2vec.py"
)
parser.add_argument("--epochs", type=int, default=5, help="of the classifier")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(arguments.seed)

# %% [markdown]
# ## Word2Vec

# %%
path = arguments.vectors
if arguments.smoke or not path.is_file():
    path = arguments.output / "word2vec" / "vectors.npz"
    script = Path(__file__).with_name("word2vec.py")
    more = ["--smoke"] if arguments.smoke else ["--minutes", "1"]
    subprocess.run([sys.executable, script, "--output", path.parent, *more], check=True)
saved = np.load(path)
words = [str(word) for word in saved["words"]]
numbers = {word: number for number, word in enumerate(words)}

# %% [markdown]
# ## Vectors learned for a task
#
# The classifier averages the vectors of a review's words and decides whether it is positive.

# %%
train, _, _ = kt.datasets.movie_reviews.load_data()
print(kt.datasets.movie_reviews.ATTRIBUTION)
# Id 0 is padding.
rows = [[1 + numbers[w] for w in text.lower().split() if w in numbers] for text in train.texts]
longest = max(map(len, rows))
ids = np.array([[*row, *[0] * (longest - len(row))] for row in rows], "int32")
# Small initial vectors, so that what they learn is larger than what they start from.
embedding = kt.layers.TokenEmbedding(
    len(words) + 1, hidden_dim=16, scale=False, embeddings_initializer="uniform"
)
model = keras.Sequential(
    [
        keras.Input((None,), dtype="int32"),
        embedding,
        kt.layers.SequencePooling("mean"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(
    keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"], jit_compile=False
)
epochs = 1 if arguments.smoke else arguments.epochs
history = model.fit(ids, np.array(train.labels), epochs=epochs, batch_size=64, verbose=0).history
print(f"accuracy on the reviews it has learned from: {history['accuracy'][-1]:.1%}")

# %% [markdown]
# ## Similarities

# %%
WORDS = (
    "great wonderful funny bad worst terrible king queen france italy two three june july".split()
)
tables = {
    "one-hot": np.eye(len(words), dtype="float32"),
    "learned from reviews": keras.ops.convert_to_numpy(embedding.embeddings)[1:],
    "Word2Vec": saved["vectors"],
}
units = {
    name: table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    for name, table in tables.items()
}
shown = [word for word in WORDS if word in numbers]
chosen = [numbers[word] for word in shown]
figure, grid = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for axes, (name, unit) in zip(grid, units.items(), strict=True):
    image = axes.imshow(unit[chosen] @ unit[chosen].T, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=8)
    axes.set_yticks(range(len(shown)), shown, fontsize=8)
    axes.set_title(f"{name}, {unit.shape[1]:,} dimensions", fontsize=9)
figure.colorbar(image, ax=grid, shrink=0.7, label="cosine similarity")
figure.savefig(arguments.output / "why-vectors.png", dpi=130)

# %%
PAIRS = "great wonderful, great bad, bad terrible, king queen, france italy, two three".split(", ")
lines = [f"| cosine similarity | {' | '.join(units)} |", "|---|---|---|---|"]
for pair in map(str.split, PAIRS):
    if all(word in numbers for word in pair):
        one, other = (numbers[word] for word in pair)
        cells = [f"{unit[one] @ unit[other]:.2f}" for unit in units.values()]
        lines.append(f"| {pair[0]}, {pair[1]} | {' | '.join(cells)} |")
lines += ["", "![Similarities of words for three kinds of vectors](images/why-vectors.png)"]
(arguments.output / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
print("\n".join(lines))
