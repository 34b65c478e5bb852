# %% [markdown]
# # BERT and GPT
#
# Two ways to learn from the same text. GPT predicts the next subword from those before it; BERT
# predicts masked subwords, or masked whole words, from both sides. Three models of the same size
# are trained on WikiText-2 for the same time.
#
# Their perplexities are not comparable, because the tasks differ. Instead, you see how well a
# logistic regression classifies movie reviews by the frozen hidden states of each model, how BERT
# fills in gaps, and a chart of the losses.
#
# Takes about 10 minutes on 2 CPU cores.
#
#     python examples/pretrain_bert.py --output runs/bert
#
# `--smoke` runs every line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np
from finetuning_common import as_wikitext
from sklearn.linear_model import LogisticRegression

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Compare BERT's and GPT's pretraining.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/bert"), help="folder for model, table and chart"
)
parser.add_argument("--minutes", type=float, default=2.5, help="training time of each model")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.minutes = 0.03
arguments.output.mkdir(parents=True, exist_ok=True)
started = time.time()
CONTEXT, BATCH_SIZE, PEAK = 64, 16, 1e-3
VOCABULARY_SIZE = 700 if arguments.smoke else 4000
SIZE = {
    "num_layers": 1 if arguments.smoke else 2,
    "num_heads": 4,
    "hidden_dim": 32 if arguments.smoke else 128,
    "intermediate_dim": 64 if arguments.smoke else 512,
    "max_length": 128,
    "dropout": 0.0,
}

# %% [markdown]
# ## Text
#
# One stream of subwords. `<mask>` is a vocabulary symbol that does not occur in the text.

# %%
train, validation, _ = kt.datasets.wikitext2.load_data()
print(kt.datasets.wikitext2.ATTRIBUTION)
train_lines, validation_lines = train.lines, validation.lines
if arguments.smoke:
    train_lines, validation_lines = train_lines[:600], validation_lines[:60]
tokenizer = kt.data.train_tokenizer(
    train_lines, VOCABULARY_SIZE, lossless=True, symbols=("<unk>", "<mask>")
)
MASK = tokenizer.token_to_id("<mask>")


def as_stream(lines):
    rows = kt.data.encode(tokenizer, lines, end=True)
    return [token_id for row in rows for token_id in row]


train_ids, validation_ids = as_stream(train_lines), as_stream(validation_lines)
word_starts = kt.data.word_starts(tokenizer)


def next_word(token_ids, **options):
    return kt.data.LanguageModelBatches(token_ids, CONTEXT, BATCH_SIZE, **options)


def hidden_words(token_ids, whole=False, **options):
    return kt.data.MaskedLanguageModelBatches(
        token_ids,
        CONTEXT,
        BATCH_SIZE,
        mask_id=MASK,
        vocabulary_size=VOCABULARY_SIZE,
        word_starts=word_starts if whole else None,
        **options,
    )


# %% [markdown]
# ## Models and training
#
# The same size, recipe and training time. The learning rate warms up for 100 steps, then decays
# with elapsed time and reaches 0 when the time is up.

# %%


def make_bert():
    bert = kt.models.bert(VOCABULARY_SIZE, pooler=False, masked_lm=True, **SIZE)
    inputs, outputs = bert.input, bert.output
    return keras.Model(inputs, outputs["logits"]), keras.Model(inputs, outputs["output"])


def make_gpt():
    gpt = kt.models.gpt(VOCABULARY_SIZE, normalize_first=True, **SIZE)
    hidden = gpt.get_layer("decoder")(gpt.get_layer("token_embedding")(gpt.input["token_ids"]))
    return gpt, keras.Model(gpt.input, hidden)


MODELS = {
    "GPT: the next subword": (make_gpt, next_word, {}),
    "BERT: hidden subwords": (make_bert, hidden_words, {}),
    "BERT: hidden whole words": (make_bert, hidden_words, {"whole": True}),
}


class Curve(keras.callbacks.Callback):
    """Records the loss of each batch; Keras reports the running mean of the epoch."""

    def __init__(self):
        super().__init__()
        self.losses, self.before = [], 0.0

    def on_train_batch_end(self, batch, logs):
        self.before = 0.0 if batch == 0 else self.before
        so_far = (batch + 1) * logs["loss"]
        self.losses.append(so_far - self.before)
        self.before = so_far


jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"


def learn(make, batches, options):
    keras.utils.set_random_seed(arguments.seed)
    model, body = make()
    recipe = kt.training.transformer_recipe(
        SIZE["hidden_dim"], label_smoothing=0.0, learning_rate=PEAK, clip_norm=1.0
    )
    model.compile(**recipe, jit_compile=jit_compile)
    curve = Curve()
    model.fit(
        batches(train_ids, seed=arguments.seed, **options),
        epochs=1000,
        verbose=0,
        callbacks=[kt.training.TimeBudget(arguments.minutes, 100), curve],
    )
    result = model.evaluate(
        batches(validation_ids, shuffle=False, **options), verbose=0, return_dict=True
    )
    return model, body, {**result, "losses": curve.losses}


# %% [markdown]
# ## What they have learned
#
# A review is represented by the mean of its hidden states. The models are not trained on reviews.

# %%
reviews, _, unseen = kt.datasets.movie_reviews.load_data()
print(kt.datasets.movie_reviews.ATTRIBUTION)
limit = 200 if arguments.smoke else None


def features(body, texts):
    rows = kt.data.encode(tokenizer, map(as_wikitext, texts[:limit]), max_length=CONTEXT)
    ids = keras.utils.pad_sequences(rows, CONTEXT, padding="post")
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids)}
    inputs = {name: inputs[name] for name in body.input}
    states, real = body.predict(inputs, batch_size=64, verbose=0), ids[..., None] > 0
    return (states * real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)


rows = [
    "| | steps | perplexity of its predictions | accuracy | movie reviews |",
    "|---|---|---|---|---|",
]
curves = {}
for name, (make, batches, options) in MODELS.items():
    model, body, result = learn(make, batches, options)
    classifier = LogisticRegression(max_iter=2000)
    classifier.fit(features(body, reviews.texts), reviews.labels[:limit])
    score = classifier.score(features(body, unseen.texts), unseen.labels[:limit])
    curves[name] = result["losses"]
    cells = [f"{len(curves[name]):,}", f"{result['perplexity']:.1f}"]
    cells += [f"{result['masked_accuracy']:.1%}", f"{score:.1%}"]
    rows.append(f"| {name} | {' | '.join(cells)} |")
    print(f"{rows[-1]} {time.time() - started:.0f} s", flush=True)

# %% [markdown]
# ## Gaps
#
# What the last BERT predicts for `<mask>`.

# %%
GAPS = [
    "the game was released in <mask> for the PlayStation .",
    "he was born in the <mask> of London .",
    "the song reached number one on the <mask> .",
]
filled = []
for text, ids in zip(GAPS, kt.data.encode(tokenizer, GAPS), strict=True):
    token_ids = np.array([ids], "int32")
    logits = model({"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids)})
    logits = keras.ops.convert_to_numpy(logits)[0, ids.index(MASK)]
    best = np.argsort(-logits)[:5]
    found = ", ".join(tokenizer.id_to_token(int(i)).replace("\u2581", "") or "-" for i in best)
    filled.append(f"* {text} {found}".replace("<mask>", "`<mask>`"))
print("\n".join(filled))
model.save(arguments.output / "model.keras")

# %% [markdown]
# ## Training curves
#
# GPT makes a prediction at every subword, BERT only at 15 % of them, so it needs more text.

# %%
MEAN_OF = 2 if arguments.smoke else 20  # batches
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name, losses in curves.items():
    losses = losses[: len(losses) // MEAN_OF * MEAN_OF]
    means = np.reshape(losses, (-1, MEAN_OF)).mean(axis=1)
    axes.plot(MEAN_OF * np.arange(1, len(means) + 1), means, label=name)
axes.set(xlabel="batches", ylabel="nats per prediction")
axes.grid(alpha=0.3)
axes.legend(fontsize=8)
figure.savefig(arguments.output / "bert.png", dpi=130)

text = (
    f"{arguments.minutes:g} minutes of training each on {keras.backend.backend()}: "
    f"{SIZE['num_layers']} blocks, width {SIZE['hidden_dim']}, {VOCABULARY_SIZE:,} subwords, "
    f"context length {CONTEXT}. The last column is the accuracy of a logistic regression on the "
    f"mean of the hidden states, for {len(unseen.texts[:limit]):,} movie reviews. One seed."
)
parts = [text, "\n".join(rows), "![Training loss](images/bert.png)"]
parts += ["Predictions of the last model for gaps:", "\n".join(filled)]
(arguments.output / "tables.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
print(
    f"Done in {time.time() - started:.0f} seconds; model, table and chart are in {arguments.output}"
)
