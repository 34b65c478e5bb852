# %% [markdown]
# # Fine-tune a chat model with low-rank adapters
#
# SmolLM2, a language model of 135 million weights that was trained to chat, is asked whether a
# reader liked a movie. You see how many of 200 reviews it judges correctly, and how many answers
# are one of the two words asked for, before and after it learns from 800 examples: only the answers
# contribute to the loss, and only low-rank adapters are trained. They are saved in a separate file.
#
# Takes about 20 minutes on 2 CPU cores. The weights, 93 MB, are downloaded once.
#
#     python examples/finetune_llm.py
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

parser = argparse.ArgumentParser(description="Fine-tune SmolLM2 on opinions about movies.")
parser.add_argument("--train", type=int, default=800, help="reviews to learn from")
parser.add_argument("--test", type=int, default=200, help="reviews to answer")
parser.add_argument("--rank", type=int, default=8, help="rank of the adapters")
parser.add_argument("--rate", type=float, default=1e-3, help="peak of the learning rate")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--output", help="folder for the adapters and the table of results")
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
keras.utils.set_random_seed(arguments.seed)
if arguments.smoke:
    arguments.train, arguments.test = 4, 4

BATCH_SIZE = 8

# %% [markdown]
# ## Model and reviews

# %%
print(kt.datasets.smollm2.ATTRIBUTION)
print(kt.datasets.movie_reviews.ATTRIBUTION)
generator = kt.TextGenerator.from_pretrained(kt.datasets.smollm2.load_file())
model, tokenizer = generator.model, generator.tokenizer
print(f"{model.count_params():,} weights")

train, _, test = kt.datasets.movie_reviews.load_data()
train, test = (
    type(part)(part.texts[:size], part.labels[:size])
    for part, size in ((train, arguments.train), (test, arguments.test))
)
ANSWERS = ("Negative", "Positive")
SYSTEM = {"role": "system", "content": "You judge movie reviews: Positive or Negative."}


def conversation(text, label=None):
    """Returns the messages that ask about a review, with the right answer if a label is given."""
    messages = [SYSTEM, {"role": "user", "content": text}]
    if label is not None:
        messages.append({"role": "assistant", "content": ANSWERS[label]})
    return messages


# %% [markdown]
# ## What the model says
#
# The model's answer is the word to which `kt.decoding.score` gives the higher probability. If it
# generates freely, the model may say anything, so the share of answers that are one of the two
# words is counted too.


# %%
def answer():
    """Returns the accuracy, and the share of free answers that are one of the two words."""
    prompts = [
        kt.data.encode_chat(tokenizer, conversation(text), add_generation_prompt=True)
        for text in test.texts
    ]
    words = kt.data.encode(tokenizer, list(ANSWERS))
    scores = kt.decoding.score(
        model,
        {
            "prompt_ids": [prompt for prompt in prompts for _ in words],
            "target_ids": words * len(prompts),
        },
    )
    chosen = np.argmax(np.reshape(scores, (-1, len(words))), axis=1)
    said = [generator.chat(conversation(text), max_new_tokens=12) for text in test.texts[:20]]
    print(f"{test.texts[0]!r}: {said[0]!r}")
    as_asked = [text.strip().strip(".") in ANSWERS for text in said]
    return float(np.mean(chosen == test.labels)), float(np.mean(as_asked))


results = [("SmolLM2", *answer(), 0.0)]

# %% [markdown]
# ## Adapters
#
# All weights are frozen; each dense layer of the blocks gets two small matrices, which are trained.
# `chat_rows` gives the tokens of the answers a weight of 1, and all others 0.

# %%
started = time.time()
kt.training.enable_lora(
    model, arguments.rank, targets=("query", "key", "value", "output", "intermediate", "gate")
)
trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
print(f"{trained:,} weights are trained")

chats = [conversation(*review) for review in zip(train.texts, train.labels, strict=True)]
inputs, labels, weights = kt.data.chat_rows(tokenizer, chats, max_length=128)
print(f"rows of {labels.shape[1]} tokens, {weights.sum() / len(weights):.1f} of them answers")

steps = -(-len(chats) // BATCH_SIZE)
recipe = kt.training.bert_finetuning_recipe(steps, peak_learning_rate=arguments.rate)
# On a CPU, TensorFlow is faster without XLA, which would take many seconds to compile.
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
loss = kt.training.MaskedCrossentropy(padding_id=None)
model.compile(recipe["optimizer"], loss, jit_compile=jit_compile)
model.fit(inputs, labels, sample_weight=weights, batch_size=BATCH_SIZE)
results.append(("SmolLM2 with adapters", *answer(), time.time() - started))

# %%
lines = [
    "| model | right | answers one of the two words | training |",
    "|---|---:|---:|---:|",
]
for name, accuracy, as_asked, seconds in results:
    spent = f"{seconds:.0f} s" if seconds else "none"
    lines.append(f"| {name} | {accuracy:.1%} | {as_asked:.0%} | {spent} |")
print(f"\n{len(train.texts):,} reviews to learn from, {len(test.texts):,} to answer:\n")
print("\n".join(lines))
if arguments.output:
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    kt.training.save_lora(model, folder / "adapters.npz")
    (folder / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    size = (folder / "adapters.npz").stat().st_size
    print(f"saved {folder}/adapters.npz, {size / 2**20:.1f} MB")
