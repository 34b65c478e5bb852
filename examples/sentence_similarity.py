# %% [markdown]
# # Sentence similarity with a real checkpoint
#
# MiniLM, a small pretrained BERT, maps sentences to unit vectors: the more similar two sentences,
# the larger the dot product of their vectors. You see a table of similarities, and the nearest
# neighbors of two questions among 2,000 sentences.
#
# Takes about a minute on 2 CPU cores. The weights and sentences, 106 MB, are downloaded once.
#
#     python examples/sentence_similarity.py
#
# `--smoke` runs every line on fewer sentences.

# %%
from __future__ import annotations

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Compare sentences with MiniLM.")
parser.add_argument("--folder", help="another BERT or sentence-transformers folder, or hub name")
parser.add_argument("--sentences", type=int, default=2000, help="Tatoeba sentences to search in")
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()

# %% [markdown]
# ## Model and tokenizer
#
# The weights are downloaded once. `sentence_encoder` averages the hidden states over the real
# tokens and scales the result to length 1. A sentence-transformers folder specifies these steps
# itself.

# %%
folder = arguments.folder or kt.datasets.minilm.load_folder()
if not arguments.folder:
    print(kt.datasets.minilm.ATTRIBUTION)
tokenizer = kt.pretrained.load_tokenizer(folder)
encoder = kt.pretrained.load(folder)
if len(encoder.outputs) != 1 or len(encoder.output.shape) != 2:  # not yet one vector for a text
    encoder = kt.models.sentence_encoder(encoder, pooling="mean", normalize=True)
print(f"{encoder.count_params():,} weights")


def embed(sentences):
    rows = kt.data.encode(tokenizer, sentences, start=True, end=True, max_length=128)
    padding = tokenizer.padding_id
    token_ids = keras.utils.pad_sequences(rows, padding="post", value=padding)
    return encoder.predict({"token_ids": token_ids}, batch_size=64, verbose=0)


# %% [markdown]
# ## A table of similarities

# %%
sentences = [
    "A cat is sleeping on the sofa.",
    "A kitten naps on the couch.",
    "The stock market fell sharply today.",
    "Shares lost a lot of their value.",
    "He plays the guitar very well.",
]
vectors = embed(sentences)
similarities = vectors @ vectors.T
print(f"  {'similarity of':<42}", " ".join(f"{index:5d}" for index in range(len(sentences))))
for index, (sentence, row) in enumerate(zip(sentences, similarities, strict=True)):
    print(f"  {index} {sentence:<40}", " ".join(f"{value:5.2f}" for value in row))

# %% [markdown]
# ## Nearest neighbors among thousands of sentences
#
# English sentences from Tatoeba.

# %%
_, _, test = kt.datasets.tatoeba.load_data("fra")
print(kt.datasets.tatoeba.ATTRIBUTION)
count = 50 if arguments.smoke else arguments.sentences
corpus = list(dict.fromkeys(test.source))[:count]
corpus_vectors = embed(corpus)
queries = ["I would like something to eat.", "What is the weather going to be like?"]
for query, vector in zip(queries, embed(queries), strict=True):
    scores = corpus_vectors @ vector
    print(query)
    for index in np.argsort(-scores)[:3]:
        print(f"  {scores[index]:.2f} {corpus[index]}")
