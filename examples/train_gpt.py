# %% [markdown]
# # Train a GPT
#
# A small GPT learns English from WikiText-2, with a lossless tokenizer and GPT-1's recipe. You see
# the loss fall, how the model continues three prompts, and its perplexity per word over the
# official token counts, by which it can be compared with published models.
#
# Takes at most 25 minutes on 2 CPU cores, 20 of them for training.
#
#     python examples/train_gpt.py --output runs/gpt
#
# `--smoke` runs every line on a tiny sample of the data in well under a minute.

# %%
from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Train a small GPT on WikiText-2.")
parser.add_argument("--output", default="runs/gpt", help="folder for the model and its tokenizer")
parser.add_argument("--epochs", type=int, default=1, help="passes over the training text")
parser.add_argument("--minutes", type=float, default=20.0, help="limit on training time")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()

VOCABULARY_SIZE = 700 if arguments.smoke else 8000
CONTEXT = 32 if arguments.smoke else 128
BATCH_SIZE = 16
MODEL = {
    "num_layers": 2 if arguments.smoke else 4,
    "num_heads": 4,
    "hidden_dim": 32 if arguments.smoke else 256,
    "intermediate_dim": 64 if arguments.smoke else 1024,
    "dropout": 0.05,
    # Pre-LN learns faster than GPT-1's post-LN in minutes of training.
    "normalize_first": True,
}

keras.utils.set_random_seed(arguments.seed)
started = time.time()

# %% [markdown]
# ## Text
#
# The official word-level splits, with `<unk>` for rare words. Published perplexities are normalized
# by their token counts (words, plus one end of line per line).

# %%
train, validation, test = kt.datasets.wikitext2.load_data()
print(kt.datasets.wikitext2.ATTRIBUTION)
if arguments.smoke:

    def head(text, num_lines):
        lines = text.lines[:num_lines]
        return type(text)(lines, sum(len(line.split()) + 1 for line in lines))

    train, validation, test = head(train, 600), head(validation, 60), head(test, 60)

# %% [markdown]
# ## Subwords
#
# The per-word perplexity of a subword model is comparable only if the subwords reproduce the text
# exactly: the tokenizer does not normalize, and encodes unknown characters as bytes. The end of a
# line is the end token.

# %%
tokenizer = kt.data.train_tokenizer(train.lines, VOCABULARY_SIZE, lossless=True, symbols=("<unk>",))


def as_stream(text):
    lines = kt.data.encode(tokenizer, text.lines, end=True)
    return [token_id for line in lines for token_id in line]


train_ids, validation_ids, test_ids = map(as_stream, (train, validation, test))
print(f"{len(train_ids):,} training subwords for {train.num_tokens:,} words")
batches = kt.data.LanguageModelBatches(train_ids, CONTEXT, BATCH_SIZE, seed=arguments.seed)


def make_windows(token_ids):
    # Half of each window is context that was already scored, so every token is scored once.
    return kt.data.SlidingWindows(token_ids, CONTEXT, batch_size=BATCH_SIZE)


# %% [markdown]
# ## Model and training
#
# On a CPU, TensorFlow runs without XLA, which would take many seconds to compile; on a GPU or TPU,
# omit `jit_compile`.

# %%
model = kt.models.gpt(VOCABULARY_SIZE, max_length=512, **MODEL)
model.summary()
recipe = kt.training.gpt1_pretraining_recipe(
    total_steps=arguments.epochs * len(batches),
    warmup_steps=min(200, len(batches) // 4),
    peak_learning_rate=3e-3,
)
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
model.compile(**recipe, jit_compile=jit_compile)
model.fit(
    batches,
    epochs=arguments.epochs,
    validation_data=make_windows(validation_ids),
    callbacks=[kt.training.StopAfter(arguments.minutes)],
)
output = Path(arguments.output)
output.mkdir(parents=True, exist_ok=True)
model.save(output / "model.keras")
kt.data.save_tokenizer(tokenizer, output / "tokenizer")
print(f"Trained after {time.time() - started:.0f} seconds; the model is in {output}")

# %% [markdown]
# ## Generated text
#
# `<unk>`, which replaces every rare word of the training text, is banned.

# %%
prompts = ["The game was released in", "He was born in", "The song reached number"]
ids = kt.decoding.generate(
    model,
    kt.data.encode(tokenizer, prompts),
    max_new_tokens=24,
    stop_ids=(kt.data.END_ID,),
    banned_ids=(tokenizer.token_to_id("<unk>"),),
)
for text in kt.data.decode(tokenizer, ids):
    print(f"  {text}")

# %% [markdown]
# ## Perplexity per word
#
# The exponential of the summed negative log-likelihood of all subwords, divided by the official
# number of words.

# %%
for name, text, token_ids in (("validation", validation, validation_ids), ("test", test, test_ids)):
    result = model.evaluate(make_windows(token_ids), return_dict=True, verbose=0)
    total = math.log(result["perplexity"]) * (len(token_ids) - 1)
    print(
        f"{name}: perplexity {result['perplexity']:.1f} per subword, "
        f"{math.exp(total / text.num_tokens):.1f} per word over {text.num_tokens:,} tokens"
    )
