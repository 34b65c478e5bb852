# %% [markdown]
# # Word2Vec
#
# A one-hot vector only identifies a word: any two of them are equally far apart. Skip-gram learns
# short vectors from the words that occur near each other in WikiText-2, by telling the real
# neighbors of a word from words drawn at random. You see nearest neighbors and analogies, how
# one-hot and learned vectors serve a classifier with few examples, and a map of some of the
# vectors.
#
# Takes about 8 minutes on 2 CPU cores, 6 of them for training.
#
#     python examples/word2vec.py --output runs/word2vec
#
# `--smoke` runs every line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import collections
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Skip-gram with negative sampling on WikiText-2.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/word2vec"), help="folder for the results"
)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--minutes", type=float, default=6.0, help="limit on training time")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.epochs = 1
arguments.output.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(arguments.seed)
started = time.time()
HIDDEN_DIM, WINDOW, NEGATIVES, BATCH_SIZE = 100, 5, 5, 4096
LEAST = 10  # minimum count of a word

# %% [markdown]
# ## Words
#
# All of WikiText-2 in lower case, without headings. Frequent words are dropped at random, as in the
# paper (section 2.3): "the" occurs next to everything and carries little information.

# %%
train, validation, _ = kt.datasets.wikitext2.load_data()
print(kt.datasets.wikitext2.ATTRIBUTION)
lines = [line.lower().split() for line in train.lines if line and not line.startswith("=")]
if arguments.smoke:
    lines = lines[:2000]
counts = collections.Counter(word for line in lines for word in line)
counts.pop("<unk>", None)
words = [word for word, count in counts.most_common() if count >= LEAST]
numbers = {word: number for number, word in enumerate(words, start=1)}  # 0 is padding
frequencies = np.array([counts[word] for word in words], "float64")
shares = frequencies / frequencies.sum()
keep = np.minimum(1.0, np.sqrt(1e-4 / shares))
draw = np.cumsum(frequencies**0.75)
text = [[numbers[word] for word in line if word in numbers] for line in lines]
text = [np.array(line) for line in text if len(line) > 1]
print(
    f"{len(words):,} words that occur at least {LEAST} times, {sum(map(len, text)):,} in the text"
)

# %% [markdown]
# ## Pairs
#
# Each epoch redraws which frequent words are kept, the window of each word (1 to 5 words on both
# sides), and the negatives, in proportion to frequency to the power of 3/4.

# %%


class SkipGrams(keras.utils.PyDataset):
    """One epoch of batches: a word, one of its neighbors, and words drawn at random."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator
        centers, neighbors = [], []
        for line in text:
            line = line[generator.random(len(line)) < keep[line - 1]]
            looks = generator.integers(1, WINDOW + 1, len(line))
            for distance in range(1, min(WINDOW, len(line) - 1) + 1):
                far = looks >= distance
                centers += [line[distance:][far[distance:]], line[:-distance][far[:-distance]]]
                neighbors += [line[:-distance][far[distance:]], line[distance:][far[:-distance]]]
        order = generator.permutation(sum(map(len, centers)))
        order = order[: len(order) // BATCH_SIZE * BATCH_SIZE or None]
        self.centers = np.concatenate(centers)[order].astype("int32")
        self.neighbors = np.concatenate(neighbors)[order].astype("int32")

    def __len__(self):
        return max(1, len(self.centers) // BATCH_SIZE)

    def __getitem__(self, index):
        batch = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        neighbors = self.neighbors[batch, None]
        shape = (len(neighbors), NEGATIVES)
        wrong = 1 + np.searchsorted(draw, self.generator.random(shape) * draw[-1])
        contexts = np.concatenate([neighbors, wrong.astype("int32")], axis=1)
        labels = np.zeros(contexts.shape, "float32")
        labels[:, 0] = 1.0
        return {"center_ids": self.centers[batch, None], "context_ids": contexts}, labels


# %% [markdown]
# ## Model
#
# Two embeddings, one for words and one for contexts, and the dot products of their vectors.

# %%
size = len(words) + 1
options = {"scale": False, "padding_id": None, "embeddings_initializer": "zeros"}
word_embedding = kt.layers.TokenEmbedding(
    size, HIDDEN_DIM, name="words", **{**options, "embeddings_initializer": "random_uniform"}
)
context_embedding = kt.layers.TokenEmbedding(size, HIDDEN_DIM, name="contexts", **options)
center_ids = keras.Input((1,), dtype="int32", name="center_ids")
context_ids = keras.Input((1 + NEGATIVES,), dtype="int32", name="context_ids")
products = keras.layers.Dot(axes=2)([context_embedding(context_ids), word_embedding(center_ids)])
model = keras.Model(
    {"center_ids": center_ids, "context_ids": context_ids},
    keras.layers.Reshape((1 + NEGATIVES,))(products),
)
generator = np.random.default_rng(arguments.seed)
batches = SkipGrams(generator)
rate = keras.optimizers.schedules.PolynomialDecay(5e-3, arguments.epochs * len(batches), 1e-4)
model.compile(
    keras.optimizers.Adam(rate, beta_2=0.99), keras.losses.BinaryCrossentropy(from_logits=True)
)
epochs = 0
while epochs < arguments.epochs and time.time() - started < 60 * arguments.minutes:
    history = model.fit(batches, verbose=0)
    epochs += 1
    loss, seconds = history.history["loss"][0], time.time() - started
    print(
        f"  epoch {epochs}: {len(batches):,} batches, loss {loss:.4f}, {seconds:.0f} s", flush=True
    )
    batches = SkipGrams(generator)

# %% [markdown]
# ## Neighbors
#
# By cosine similarity, which is 0 for any two different one-hot vectors.

# %%
vectors = keras.ops.convert_to_numpy(word_embedding.embeddings)
units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def nearest(vector, without, count=5):
    order = np.argsort(-(units @ vector))
    return [words[i - 1] for i in order if i > 0 and i not in without][:count]


ASKED = "king game river army album two september france red film".split()
rows = ["| word | nearest words |", "|---|---|"]
for word in [word for word in ASKED if word in numbers]:
    found = nearest(units[numbers[word]], {numbers[word]})
    rows.append(f"| {word} | {', '.join(found)} |")
print("\n".join(rows))

# %% [markdown]
# ## Analogies
#
# "king" is to "queen" as "man" is to what? The answer is the word nearest to queen - king + man,
# excluding these three.

# %%
RELATIONS = {
    "man to woman": "king queen man woman father mother son daughter brother sister his her",
    "one to many": "game games album albums song songs player players year years film films",
    "present to past": "is was has had win won play played make made become became",
    "country to its people": (
        "france french germany german england english japan japanese italy italian spain spanish"
    ),
    "cardinal to ordinal": "one first two second three third four fourth five fifth six sixth",
}
analogies = ["| relation | questions | correct | in the top five |", "|---|---|---|---|"]
totals = np.zeros(3, int)
for name, listed in RELATIONS.items():
    listed = listed.split()
    pairs = [pair for pair in zip(listed[::2], listed[1::2], strict=True)]
    pairs = [pair for pair in pairs if pair[0] in numbers and pair[1] in numbers]
    asked = first = among = 0
    for one in pairs:
        for other in pairs:
            if one != other:
                a, b, c, d = (numbers[word] for word in (*one, *other))
                found = nearest(units[b] - units[a] + units[c], {a, b, c})
                asked, first = asked + 1, first + (found[0] == words[d - 1])
                among += words[d - 1] in found
    totals += (asked, first, among)
    analogies.append(f"| {name} | {asked} | {first} | {among} |")
analogies.append(f"| all | {totals[0]} | {totals[1]} | {totals[2]} |")
print("\n".join(analogies))

# %% [markdown]
# ## One-hot or learned
#
# A logistic regression classifies movie reviews, given the sum of their words' one-hot vectors (a
# bag of words) or the mean of their learned vectors, with few and with many training reviews.

# %%
reviews, _, unseen = kt.datasets.movie_reviews.load_data()
print(kt.datasets.movie_reviews.ATTRIBUTION)


def ids_of(texts):
    return [[numbers[w] for w in text.lower().split() if w in numbers] for text in texts]


def one_hot(texts):
    bags = np.zeros((len(texts), size), "float32")
    for row, ids in zip(bags, ids_of(texts), strict=True):
        np.add.at(row, ids, 1.0)
    return bags


def learned(texts):
    return np.stack([units[ids or [0]].mean(axis=0) for ids in ids_of(texts)]) * 10


few = (100, 200) if arguments.smoke else (100, 400, 1600, len(reviews.texts))
table = ["| vectors | dimensions | " + " | ".join(f"{n:,} reviews" for n in few) + " |"]
table.append("|---" * (len(few) + 2) + "|")
for name, make, width in (("one-hot", one_hot, size), ("Word2Vec", learned, HIDDEN_DIM)):
    scores = []
    for count in few:
        classifier = LogisticRegression(max_iter=1000)
        classifier.fit(make(reviews.texts[:count]), reviews.labels[:count])
        scores.append(classifier.score(make(unseen.texts), unseen.labels))
    table.append(f"| {name} | {width:,} | " + " | ".join(f"{100 * s:.1f}%" for s in scores) + " |")
print("\n".join(table))

# %% [markdown]
# ## Plotting the vectors
#
# The two directions in which these words vary most (PCA).

# %%
GROUPS = {
    "people": "king queen man woman father mother son daughter",
    "places": "france germany england japan italy spain europe america",
    "numbers": "one two three four five six seven eight",
    "months": "january march april may june july september december",
    "music": "album song band guitar music single lyrics singer",
}
figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
groups = {g: [w for w in listed.split() if w in numbers] for g, listed in GROUPS.items()}
shown = [word for listed in groups.values() for word in listed]
places = PCA(2, random_state=0).fit_transform(units[[numbers[word] for word in shown]])
begin = 0
for group, listed in groups.items():
    part = places[begin : begin + len(listed)]
    begin += len(listed)
    axes.scatter(*part.T, s=12, label=group)
    for word, place in zip(listed, part, strict=True):
        axes.annotate(word, place, fontsize=8, xytext=(3, 3), textcoords="offset points")
axes.legend(fontsize=8)
axes.set(xticks=[], yticks=[])
figure.savefig(arguments.output / "word2vec.png", dpi=130)

kept = {"words": np.array(words), "vectors": vectors[1:]}
np.savez(arguments.output / "vectors.npz", **kept)
text = (
    f"Skip-gram with {NEGATIVES} negatives, {HIDDEN_DIM} dimensions, {size - 1:,} words, "
    f"{epochs} epochs of WikiText-2. One seed."
)
parts = [text, "\n".join(rows), "\n".join(analogies)]
parts += ["Accuracy of a logistic regression on movie reviews, by its input:", "\n".join(table)]
parts += ["![Word vectors](images/word2vec.png)"]
(arguments.output / "tables.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
print(f"Done in {time.time() - started:.0f} seconds; the vectors are in {arguments.output}")
