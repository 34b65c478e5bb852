# %% [markdown]
# # Train a translator
#
# A Transformer learns English to French from Tatoeba sentences with plain `model.fit`: tokenizer,
# length buckets, the paper's recipe and checkpoint averaging. You see the loss fall, ten
# translations of sentences that were not in training next to a human one, and the BLEU score of
# 2,000 test sentences.
#
# Takes about 15 minutes on 2 CPU cores. The sentences, 22 MB, are downloaded once.
#
#     python examples/train_translator.py --output runs/translator
#
# `--smoke` runs every line on a tiny sample of the data in well under a minute.

# %%
from __future__ import annotations

import argparse
import itertools
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import sacrebleu

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Train an English-French Transformer.")
parser.add_argument("--output", default="runs/translator", help="folder for the translator")
parser.add_argument("--epochs", type=int, default=8, help="limit on passes over the data")
parser.add_argument("--minutes", type=float, default=12.5, help="training time")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()

VOCABULARY_SIZE = 600 if arguments.smoke else 6000
MODEL = {
    "num_layers": 1 if arguments.smoke else 3,
    "num_heads": 4,
    "hidden_dim": 32 if arguments.smoke else 256,
    "intermediate_dim": 64 if arguments.smoke else 1024,
    "dropout": 0.05,
    # Pre-LN learns faster than the paper's post-LN in minutes of training.
    "normalize_first": True,
}
TOKENS_PER_BATCH = 1024
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 400

keras.utils.set_random_seed(arguments.seed)
started = time.time()

# %% [markdown]
# ## Sentences
#
# The data are split by English sentence: no test sentence occurs in training, not even with a
# different translation.

# %%
train, validation, test = kt.datasets.tatoeba.load_data("fra")
print(kt.datasets.tatoeba.ATTRIBUTION)
if arguments.smoke:
    train = type(train)(train.source[:2000], train.target[:2000])
    validation = type(validation)(validation.source[:50], validation.target[:50])
    test = type(test)(test.source[:30], test.target[:30])
print(f"{len(train.source):,} pairs to train on, {len(set(test.source)):,} sentences to test on")

# %% [markdown]
# ## Subwords and batches
#
# Both languages share a vocabulary, so that one matrix serves as source embedding, target embedding
# and output projection. Batches group sentences of similar length. With 24 shapes, padding is below
# 8 %. XLA would compile a program for each shape, so fewer may be better with XLA.

# %%
tokenizer = kt.data.train_tokenizer([*train.source, *train.target], VOCABULARY_SIZE)


def make_batches(pairs, **options):
    return kt.data.TranslationBatches(
        kt.data.encode(tokenizer, pairs.source),
        kt.data.encode(tokenizer, pairs.target),
        tokens_per_batch=TOKENS_PER_BATCH,
        max_shapes=2 if arguments.smoke else 24,
        **options,
    )


batches = make_batches(train, seed=arguments.seed)
print(
    f"{len(batches):,} batches per epoch in {len(batches.shapes)} shapes, "
    f"{batches.padding_fraction:.1%} padding, {batches.num_target_tokens:,} target tokens"
)

# %% [markdown]
# ## Model and training
#
# The paper's recipe, except for the learning rate: the paper's schedule is designed for days. Here
# the rate decays with elapsed time and reaches 0 when the time is up, on slow and fast machines
# alike.
#
# On a CPU, TensorFlow runs without XLA, which would take many seconds to compile each batch shape.
# On a GPU or TPU, omit `jit_compile`.

# %%
model = kt.models.transformer(VOCABULARY_SIZE, **MODEL)
model.summary()
recipe = kt.training.transformer_recipe(MODEL["hidden_dim"], learning_rate=PEAK_LEARNING_RATE)
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
model.compile(**recipe, jit_compile=jit_compile)
model.fit(
    batches,
    epochs=1 if arguments.smoke else arguments.epochs,
    validation_data=make_batches(validation, shuffle=False),
    callbacks=[
        kt.training.TimeBudget(arguments.minutes, WARMUP_STEPS),
        kt.training.CheckpointAveraging(num_checkpoints=5, save_freq=40),
    ],
)
print(f"Trained after {time.time() - started:.0f} seconds")

# %% [markdown]
# ## Translations

# %%
translator = kt.Translator(model, tokenizer)
translator.save(arguments.output)
sources, references = kt.datasets.tatoeba.references(test)
translations = translator.translate(sources, verbose=1)
for source, translation, known in list(zip(sources, translations, references, strict=True))[:10]:
    print(f"{source}\n    ours:      {translation}\n    reference: {known[0]}")

# %% [markdown]
# ## BLEU
#
# Each English sentence counts once and is scored against all of its translations in Tatoeba.

# %%
bleu = sacrebleu.corpus_bleu(translations, list(itertools.zip_longest(*references)))
print(f"Done after {time.time() - started:.0f} seconds; the translator is in {arguments.output}")
print(f"BLEU: {bleu.score:.2f}")
