# %% [markdown]
# # How far back can it look?
#
# The textbooks say that the reach of a convolution is limited by its layers, that a recurrent
# network forgets, and that distance does not matter to self-attention. Here each of them has to
# recall one token, 1 to 200 positions back, with equal numbers of weights and training sentences.
# You see tables and charts of what each recalls at which distance.
#
# The second task is the same problem in language: which noun do "it", これ and そこ refer to? The
# third part measures cost against sequence length.
#
# Takes about 30 minutes on 2 CPU cores.
#
#     python examples/long_range.py --output runs/long-range
#
# `--smoke` runs every line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import bisect
import functools
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")  # the fastest for recurrent networks on a CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="How far back sequence models can look.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/long-range"), help="folder for the charts"
)
parser.add_argument("--seeds", type=int, default=3, help="training runs of each model")
parser.add_argument("--steps", type=int, default=320, help="training batches of each")
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()

BATCH = 32
WEIGHTS = 60_000  # of each model, embeddings included
DISTANCES = (1, 5) if arguments.smoke else (1, 5, 10, 15, 20, 30, 50, 100, 200)
TESTED = 20 if arguments.smoke else 200  # test sentences per distance
KINDS = {
    "cnn": "CNN",
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "transformer": "Transformer",
}
if arguments.smoke:
    arguments.seeds, arguments.steps = 1, 4
    del KINDS["rnn"], KINDS["lstm"]  # slow to compile, same code as the GRU
arguments.output.mkdir(parents=True, exist_ok=True)
started = time.time()

# %% [markdown]
# ## The models
#
# All of them read a sentence and answer from the hidden state at its last position. The CNN has
# four layers of width 9, so its last position sees only 16 positions back, however it is trained.

# %%
CNN = {"num_layers": 4, "kernel_size": 9}
TRANSFORMER = {"num_heads": 2}


def make_model(kind, vocabulary_size, num_classes, hidden_dim):
    return kt.models.sequence_classifier(
        vocabulary_size,
        num_classes,
        kind,
        hidden_dim,
        dropout=0.0,
        pooling="last",
        **{"cnn": CNN, "transformer": TRANSFORMER}.get(kind, {}),
    )


@functools.cache
def fitting_width(kind, vocabulary_size, num_classes):
    """The largest width, a multiple of 4, within the limit on weights."""
    widths = range(4, 260, 4)

    def count(width):
        return make_model(kind, vocabulary_size, num_classes, width).count_params()

    return widths[bisect.bisect_right(widths, WEIGHTS, key=count) - 1]


def learn(kind, vocabulary_size, num_classes, ids, labels, seed):
    """Trains a model with the common recipe; returns it and the seconds it took."""
    keras.utils.set_random_seed(seed)
    width = fitting_width(kind, vocabulary_size, num_classes)
    model = make_model(kind, vocabulary_size, num_classes, width)
    steps = len(ids) // BATCH
    rate = kt.training.WarmupLinearSchedule(2e-3, min(50, steps // 2), steps + 1)
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0), "sparse_categorical_crossentropy"
    )
    begun = time.time()
    model.fit({"token_ids": ids}, labels, batch_size=BATCH, verbose=0)
    return model, time.time() - begun


def accuracy(model, ids, labels):
    found = model.predict({"token_ids": ids}, batch_size=100, verbose=0).argmax(axis=-1)
    return float(np.mean(found == labels))


# %% [markdown]
# ## One token, a distance back
#
# Random words, one of which is one of eight keys, and a question mark at the end. The models are
# trained on two kinds of text. In one, the key is near the question mark as often as far from it: 5
# to 10 back as often as 10 to 20, or 100 to 200. In the other, all distances up to 200 are equally
# likely, so short distances are rare.

# %%
NUM_KEYS, NUM_WORDS = 8, 20
QUESTION = NUM_KEYS + NUM_WORDS + 1
VOCABULARY_SIZE = QUESTION + 1
LENGTH = max(DISTANCES) + 8


def near_and_far(most, count, generator):
    """`count` numbers from 1 to `most`, with every octave equally likely."""
    return np.exp(generator.uniform(0, np.log(most + 1), count)).astype("int32")


def all_alike(most, count, generator):
    """`count` numbers from 1 to `most`, all equally likely."""
    return generator.integers(1, most + 1, count)


TEXTS = {
    "near and far distances equally often": near_and_far,
    "all distances equally often": all_alike,
}


def sentences_with_a_key(distances, generator):
    shape = (len(distances), LENGTH)
    ids = generator.integers(NUM_KEYS + 1, QUESTION, shape).astype("int32")
    keys = generator.integers(0, NUM_KEYS, len(distances))
    ids[:, -1] = QUESTION
    ids[np.arange(len(ids)), LENGTH - 1 - distances] = 1 + keys
    return ids, keys


def one_token(kind, draw, seed):
    """Accuracy at each distance."""
    generator = np.random.default_rng(seed)
    distances = draw(max(DISTANCES), BATCH * arguments.steps, generator)
    data = sentences_with_a_key(distances, generator)
    model, seconds = learn(kind, VOCABULARY_SIZE, NUM_KEYS, *data, seed)
    scores = [
        accuracy(model, *sentences_with_a_key(np.full(TESTED, distance), generator))
        for distance in DISTANCES
    ]
    print(f"  {KINDS[kind]}, seed {seed}: {seconds:.0f} s", flush=True)
    return scores


found = {}
for text, draw in TEXTS.items():
    print(f"One token, a distance back: {text}")
    for kind in KINDS:
        scores = [one_token(kind, draw, seed) for seed in range(arguments.seeds)]
        found[text, kind] = np.array(scores)


# %%
def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def path_length(kind, distance):
    """Number of layers or steps between a word and the last position."""
    return {"cnn": -(-distance // (CNN["kernel_size"] // 2)), "transformer": 1}.get(kind, distance)


reach = (CNN["kernel_size"] // 2) * CNN["num_layers"]
rows = []
for kind, name in KINDS.items():
    width = fitting_width(kind, VOCABULARY_SIZE, NUM_KEYS)
    weights = make_model(kind, VOCABULARY_SIZE, NUM_KEYS, width).count_params()
    sees = f"{reach} back" if kind == "cnn" else "all"
    rows.append([name, f"{weights:,}", sees, f"{path_length(kind, 100)}"])
tables = [table(["model", "weights", "reach", "path length to a word 100 back"], rows)]
for text in TEXTS:
    rows = []
    for kind, name in KINDS.items():
        rows.append([name, *(f"{100 * score:.0f}" for score in found[text, kind].mean(axis=0))])
    tables.append(
        f"One token, trained on text with {text}: accuracy in percent, mean of {arguments.seeds} "
        f"seeds; chance is {100 / NUM_KEYS:.0f}."
    )
    tables.append(table(["model", *(f"{distance} back" for distance in DISTANCES)], rows))
tables.append("![Accuracy against distance](images/long-range.png)")

figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for axes, text in zip(panels, TEXTS, strict=True):
    for place, (kind, name) in enumerate(KINDS.items()):
        mean, spread = found[text, kind].mean(axis=0), found[text, kind].std(axis=0)
        width = 1.3 * (len(KINDS) - place)  # overlapping lines stay visible
        (line,) = axes.plot(DISTANCES, mean, marker="o", markersize=3, linewidth=width, label=name)
        axes.fill_between(
            DISTANCES, mean - spread, mean + spread, color=line.get_color(), alpha=0.15
        )
    axes.axvline(reach, color="gray", linestyle=":", label="reach of the CNN")
    axes.axhline(1 / NUM_KEYS, color="gray", linewidth=0.5)
    axes.set(xscale="log", xlabel="positions back", ylim=(0, 1.05), title=text)
    axes.set_xticks(DISTANCES, [str(distance) for distance in DISTANCES])
    axes.minorticks_off()
panels[0].set_ylabel("accuracy")
panels[0].legend(fontsize=8)
figure.savefig(arguments.output / "long-range.png", dpi=130)

# %% [markdown]
# ## Which noun the pronoun refers to
#
# In "The animal didn't cross the street because it was too tired", "it" is the animal; if it were
# "too wide", it would be the street. In 清水寺は京都の有名な寺です。私はこれが大好きです。 これ is
# the temple; そこ would be the city. Words in between move the noun further back. The answer is one
# of all nouns, two of which occur in each sentence.

# %%
ENGLISH = {
    "first": "animal dog cat horse child teacher driver girl".split(),
    "second": "street river bridge field road square garden lake".split(),
    "ends": {0: "tired hungry scared sleepy".split(), 1: "wide long cold dangerous".split()},
    "between": "as everyone said yesterday in the old town where people often meet".split(),
}
JAPANESE = {
    "first": "清水寺 金閣寺 大阪城 姫路城 東大寺 浅草寺 松本城 法隆寺".split(),
    "second": "京都 奈良 大阪 東京 長野 姫路 鎌倉 名古屋".split(),
    "ends": {0: ["これ が 大好き です", "これ を 写真 に 撮り ます"]}
    | {1: ["そこ へ 行き たい です", "そこ に 住ん で い ます"]},
    "between": "昨日 友達 と 長い 時間 電車 で 話し ながら 古い 町 を 歩き まし た".split(),
}


def coreference(language, padding, generator):
    """A sentence with `padding` words between nouns and pronoun, and the noun it refers to."""
    nouns = ENGLISH if language == "English" else JAPANESE
    places = generator.integers(0, len(nouns["first"]), 2)
    first, second = nouns["first"][places[0]], nouns["second"][places[1]]
    meant = int(generator.integers(0, 2))
    end = str(generator.choice(nouns["ends"][meant]))
    between = " ".join(generator.choice(nouns["between"], padding))
    if language == "English":
        text = f"the {first} didn't cross the {second} because {between} it was too {end}"
    else:
        text = f"{first} は {second} の 有名 な 所 です 。 {between} 私 は {end}"
    return text.split(), int(places[meant]) + meant * len(nouns["first"])


BETWEEN = (0, 5) if arguments.smoke else (0, 10, 20, 40)
LONGEST = max(BETWEEN) + 20  # including the rest of the sentence


def encode(rows, numbers):
    """Ids from 1 on, right-padded to one length, so that one program serves all of them."""
    ids = [[numbers.setdefault(word, len(numbers) + 1) for word in words] for words in rows]
    return keras.utils.pad_sequences(ids, LONGEST, padding="post")


def which_noun(kind, language, seed):
    """Accuracy for each number of intervening words."""
    generator = np.random.default_rng(seed)
    counts = near_and_far(max(BETWEEN) + 1, BATCH * arguments.steps, generator) - 1
    pairs = [coreference(language, count, generator) for count in counts]
    tests = [[coreference(language, count, generator) for _ in range(TESTED)] for count in BETWEEN]
    numbers: dict = {}
    everything = [encode([words for words, _ in each], numbers) for each in (pairs, *tests)]
    labels = [np.array([label for _, label in each]) for each in (pairs, *tests)]
    model, _ = learn(kind, len(numbers) + 1, 16, everything[0], labels[0], seed)
    return [accuracy(model, *each) for each in zip(everything[1:], labels[1:], strict=True)]


for language in ("English", "Japanese"):
    rows = []
    for kind, name in KINDS.items():
        scores = [which_noun(kind, language, seed) for seed in range(arguments.seeds)]
        rows.append([name, *(f"{100 * score:.0f}" for score in np.mean(scores, axis=0))])
    tables.append(
        f"Which noun the pronoun refers to, {language}: accuracy in percent, mean of "
        f"{arguments.seeds} seeds."
    )
    tables.append(table(["model", *(f"{count} words between" for count in BETWEEN)], rows))

# %% [markdown]
# ## What it costs
#
# A training step of each model on one sentence of a given length. Attention compares every word
# with every other, so its cost grows quadratically once that part dominates. Recurrent steps have
# to wait for each other.

# %%
LENGTHS = (8, 16) if arguments.smoke else (64, 256, 1024, 4096)
costs: dict = {}
for kind in KINDS:
    model = make_model(kind, VOCABULARY_SIZE, NUM_KEYS, fitting_width(kind, VOCABULARY_SIZE, 8))
    model.compile("adam", "sparse_categorical_crossentropy")
    for length in LENGTHS:
        ids, labels = np.ones((1, length), "int32"), np.zeros(1, "int32")
        times = []
        for _ in range(4):  # the first one compiles
            begun = time.perf_counter()
            model.train_on_batch({"token_ids": ids}, labels)
            times.append(time.perf_counter() - begun)
        costs[kind, length] = 1000 * min(times[1:])
rows = [
    [name, *(f"{costs[kind, length]:.1f}" for length in LENGTHS)] for kind, name in KINDS.items()
]
tables.append("Milliseconds of a training step on one sentence.")
tables.append(table(["model", *(f"{length:,} words" for length in LENGTHS)], rows))
tables.append("![Cost of a training step against length](images/cost.png)")

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for kind, name in KINDS.items():
    axes.plot(LENGTHS, [costs[kind, length] for length in LENGTHS], marker="o", label=name)
axes.set(xscale="log", yscale="log", xlabel="words", ylabel="ms per training step")
first = costs["transformer", LENGTHS[0]]
for power, style, label in ((1, ":", "linear"), (2, "--", "quadratic")):
    line = [first * (length / LENGTHS[0]) ** power for length in LENGTHS]
    axes.plot(LENGTHS, line, style, color="gray", linewidth=1, label=label)
axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend(fontsize=8)
figure.savefig(arguments.output / "cost.png", dpi=130)

text = "\n\n".join(tables)
print(f"\n{text}\n\nDone in {time.time() - started:.0f} seconds")
(arguments.output / "tables.md").write_text(text + "\n", encoding="utf-8")
