# %% [markdown]
# # Fine-tune a sentence encoder
#
# MiniLM maps sentences to vectors that are close if the sentences mean the same. Trained on pairs
# of paraphrases from Tatoeba, it learns what "the same" means there: each sentence has to find its
# own paraphrase among all others in the batch. You see how well it tells paraphrases apart and
# finds them, compared with the model before training and with TF-IDF, on sentences that share no
# meaning with the training data.
#
# Takes about 7 minutes on 2 CPU cores. The weights, 84 MB, are downloaded once.
#
#     python examples/finetune_sentence_encoder.py
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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

import keras_transformer as kt

parser = argparse.ArgumentParser(description="Fine-tune MiniLM to find paraphrases.")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--batch-size", type=int, default=64, help="pairs; all others are negatives")
parser.add_argument("--rate", type=float, default=5e-5, help="peak of the learning rate")
parser.add_argument("--temperature", type=float, default=0.05)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--output", help="folder for the encoder and the table of results")
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
keras.utils.set_random_seed(arguments.seed)

# %% [markdown]
# ## Sentences
#
# Pairs of English sentences: paraphrases, labeled 1, and sentences that merely share words with one
# of them, labeled 0. No meaning occurs in more than one of the three parts of the data.

# %%
print(kt.datasets.paraphrases.ATTRIBUTION)
print(kt.datasets.minilm.ATTRIBUTION)
train, _, test = kt.datasets.paraphrases.load_data()
if arguments.smoke:
    train, test = (type(part)(*(values[:80] for values in part)) for part in (train, test))
    arguments.epochs = 1
print(f"{sum(train.labels):,} pairs of paraphrases for training, {sum(test.labels):,} for testing")
paraphrases = [pair[:2] for pair in zip(*train, strict=True) if pair[2]]
longest = max(paraphrases, key=lambda pair: len(pair[0]))
print(f"such as {longest[0]!r} and {longest[1]!r}")

# %% [markdown]
# Sentences that are connected by paraphrases mean the same. All pairs of such a group get the same
# label, so that the loss does not push a sentence away from its other paraphrases.

# %%
sentences = sorted({sentence for pair in paraphrases for sentence in pair})
number = {sentence: index for index, sentence in enumerate(sentences)}
first, second = np.array([[number[sentence] for sentence in pair] for pair in paraphrases]).T
graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(sentences),) * 2)
num_groups, groups = connected_components(graph, directed=False)
labels = groups[first]
print(f"{len(sentences):,} sentences with {num_groups:,} meanings")

# %% [markdown]
# ## The encoder

# %%
folder = kt.datasets.minilm.load_folder()
tokenizer = kt.pretrained.load_tokenizer(folder)
encoder = kt.models.sentence_encoder(kt.pretrained.load(folder), pooling="mean")


def ids_of(texts):
    rows = kt.data.encode(tokenizer, texts, start=True, end=True, max_length=48)
    return keras.utils.pad_sequences(rows, padding="post", value=tokenizer.padding_id)


def embed(texts):
    return encoder.predict({"token_ids": ids_of(texts)}, batch_size=64, verbose=0)


# %% [markdown]
# ## Two questions
#
# *Which of two pairs are the paraphrases?* The area under the ROC curve is the probability that a
# pair of paraphrases is more similar than a pair that merely shares words.
#
# *Which sentence is the paraphrase?* Each test sentence looks for the most similar one among all
# others; the accuracy is the share that finds one of its paraphrases.


# %%
def measure(embed):
    """Returns the area under the ROC curve and the accuracy of the search."""
    similarities = np.sum(embed(test.first) * embed(test.second), axis=1)
    pool = sorted({*test.first, *test.second})
    row = {sentence: index for index, sentence in enumerate(pool)}
    is_paraphrase = np.zeros((len(pool), len(pool)), bool)
    for one, other, label in zip(*test, strict=True):
        if label:
            is_paraphrase[row[one], row[other]] = is_paraphrase[row[other], row[one]] = True
    vectors = embed(pool)
    nearest = np.argmax(vectors @ vectors.T - 2.0 * np.eye(len(pool)), axis=1)
    found = is_paraphrase[np.arange(len(pool)), nearest]
    has_any = is_paraphrase.any(axis=1)
    return roc_auc_score(test.labels, similarities), float(np.mean(found[has_any]))


counts = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(train.first + train.second)
results = [("TF-IDF", measure(lambda texts: counts.transform(texts).toarray()), 0.0)]
results.append(("MiniLM", measure(embed), 0.0))

# %% [markdown]
# ## Training
#
# `sentence_pairs` calls the encoder on both sides of a batch and returns the similarity of each
# first sentence to each second one.

# %%
started = time.time()
pairs = kt.models.sentence_pairs(encoder)
steps = arguments.epochs * -(-len(paraphrases) // arguments.batch_size)
recipe = kt.training.bert_finetuning_recipe(steps, peak_learning_rate=arguments.rate)
# On a CPU, TensorFlow is faster without XLA, which would take many seconds to compile.
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
loss = kt.training.InBatchNegatives(arguments.temperature, symmetric=True)
pairs.compile(recipe["optimizer"], loss, jit_compile=jit_compile)
ids = ids_of(sentences)
inputs = {"first_token_ids": ids[first], "second_token_ids": ids[second]}
pairs.fit(inputs, labels, batch_size=arguments.batch_size, epochs=arguments.epochs, verbose=2)
results.append(("MiniLM, fine-tuned", measure(embed), time.time() - started))

# %%
lines = [
    "| encoder | area under the ROC curve | paraphrase found | training |",
    "|---|---:|---:|---:|",
]
for name, (area, accuracy), seconds in results:
    spent = f"{seconds:.0f} s" if seconds else "none"
    lines.append(f"| {name} | {area:.3f} | {accuracy:.1%} | {spent} |")
print("\n" + "\n".join(lines))

# %% [markdown]
# ## Saving
#
# The encoder is written as a folder that sentence-transformers can load as well.

# %%
if arguments.output:
    kt.pretrained.save_huggingface(encoder, tokenizer, Path(arguments.output) / "encoder")
    (Path(arguments.output) / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"saved {arguments.output}/encoder")
