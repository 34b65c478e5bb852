# %% [markdown]
# # Fine-tune a pretrained BERT to classify
#
# MiniLM, a small BERT with real weights, learns the sentiment of movie reviews. You see its
# accuracy on unseen reviews after training on 100, 400, 1,600 and all 8,070 examples, compared with
# low-rank adapters and with TF-IDF and logistic regression: pretraining helps most where examples
# are few.
#
# The classifier averages BERT's hidden states over the tokens; a dense layer classifies the
# average.
#
# Takes about 20 minutes on 2 CPU cores. The weights, 84 MB, are downloaded once.
#
#     python examples/finetune_bert.py
#
# `--smoke` runs every line on a tiny sample of the data.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Fine-tune MiniLM on the sentiment of movie reviews.")
parser.add_argument(
    "--sizes", type=int, nargs="*", default=[100, 400, 1600], metavar="N", help="few examples"
)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--output", help="folder for the table of results")
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
keras.utils.set_random_seed(arguments.seed)

MAX_LENGTH, BATCH_SIZE = 48, 32
# Adapters of all layers come closer to full fine-tuning than those of the queries and values, the
# default. They need larger steps.
ADAPTERS = {"rank": 16, "targets": ("query", "key", "value", "output", "intermediate")}
FULL_RATE, LORA_RATE = 1e-4, 1e-3
# A small training set is repeated until it gives about this many steps.
LEAST_STEPS = 120

# %% [markdown]
# ## Reviews
#
# Sentences labeled by readers' mean ratings, about half of them positive.

# %%
print(kt.datasets.movie_reviews.ATTRIBUTION)
print(kt.datasets.minilm.ATTRIBUTION)
train, _, test = kt.datasets.movie_reviews.load_data()
if arguments.smoke:
    train, test = (type(part)(part.texts[:64], part.labels[:64]) for part in (train, test))
    arguments.sizes = []
print(f"{len(train.texts):,} training sentences, {len(test.texts):,} test sentences")

folder = kt.datasets.minilm.load_folder()
tokenizer = kt.pretrained.load_tokenizer(folder)


def make_batches(texts, labels, shuffle):
    rows = kt.data.encode(tokenizer, texts, start=True, end=True, max_length=MAX_LENGTH)
    return kt.data.TaskBatches(rows, labels, BATCH_SIZE, shuffle=shuffle, seed=arguments.seed)


test_batches = make_batches(test.texts, test.labels, shuffle=False)

# %% [markdown]
# ## The model
#
# Each run starts from the pretrained weights.


# %%
def fine_tune(texts, labels, lora=False):
    """Trains a classifier; returns its accuracy on the test sentences and the seconds it took."""
    started = time.time()
    model = kt.models.classifier(kt.pretrained.load(folder), num_classes=2, pooling="mean")
    if lora:
        kt.training.enable_lora(model, **ADAPTERS)
    batches = make_batches(texts, labels, shuffle=True)
    epochs = 1 if arguments.smoke else max(1, round(LEAST_STEPS / len(batches)))
    recipe = kt.training.bert_finetuning_recipe(
        epochs * len(batches), peak_learning_rate=LORA_RATE if lora else FULL_RATE
    )
    # On a CPU, TensorFlow is faster without XLA, which would take many seconds to compile.
    jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(**recipe, jit_compile=jit_compile)
    model.fit(batches, epochs=epochs, verbose=2)
    seconds = time.time() - started
    return model.evaluate(test_batches, return_dict=True, verbose=0)["accuracy"], seconds


# %% [markdown]
# ## The baseline: word counts, trained in a second


# %%
def count_words(texts, labels):
    """Trains TF-IDF and logistic regression; returns the accuracy on the test sentences."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    baseline = LogisticRegression(C=10.0, max_iter=1000)
    baseline.fit(vectorizer.fit_transform(texts), labels)
    return float(np.mean(baseline.predict(vectorizer.transform(test.texts)) == test.labels))


# %% [markdown]
# ## A few examples, and all of them

# %%
rows = []
for size in [*arguments.sizes, len(train.texts)]:
    texts, labels = train.texts[:size], train.labels[:size]
    print(f"\n{size:,} training sentences")
    counted = count_words(texts, labels)
    full, seconds = fine_tune(texts, labels)
    adapted, lora_seconds = fine_tune(texts, labels, lora=True)
    rows.append((size, counted, full, adapted, seconds, lora_seconds))

lines = [
    "| training sentences | TF-IDF | MiniLM | MiniLM with LoRA | seconds |",
    "|---:|---:|---:|---:|---:|",
]
for size, counted, full, adapted, seconds, lora_seconds in rows:
    shares = " | ".join(f"{100 * share:.1f}%" for share in (counted, full, adapted))
    lines.append(f"| {size:,} | {shares} | {seconds:.0f}, LoRA {lora_seconds:.0f} |")
print(f"\nAccuracy on {len(test.texts):,} test sentences:\n")
print("\n".join(lines))
if arguments.output:
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    (Path(arguments.output) / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
