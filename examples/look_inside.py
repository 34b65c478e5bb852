# %% [markdown]
# # What does "it" look at?
#
# "The animal didn't cross the street because it was too tired": here "it" is the animal. With "too
# wide" it is the street. You see how much "it" attends to either noun in every head of two real
# encoders, Firefox's English-Portuguese translator and MiniLM, whatever the answer is, and then the
# translator's alignment and its beam search.
#
# Takes less than a minute on 2 CPU cores. The weights, 22 and 84 MB, are downloaded once.
#
#     python examples/look_inside.py
#
# `--smoke` looks at MiniLM only.

# %%
from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description='Show which heads look from "it" to which noun.')
parser.add_argument("--output", type=Path, default=Path("runs/look-inside"), help="folder")
parser.add_argument("--smoke", action="store_true", help="look at MiniLM only")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)

SENTENCE = "The animal didn't cross the street because it was too {}."
WORDS, NOUNS = ("tired", "wide"), ("animal", "street")

# %% [markdown]
# ## The models and their tokens
#
# A function for each model maps a sentence to its tokens as text and the inputs of its encoder.


# %%
def open_translator():
    return kt.Translator.from_pretrained(kt.datasets.firefox_models.load_folder("en-pt"))


def firefox():
    translator = open_translator()

    def read(sentence):
        ids = kt.data.encode(translator.source_tokenizer, [sentence], end=True)
        texts = [translator.source_tokenizer.id_to_token(token_id) for token_id in ids[0]]
        start = [[translator.target_tokenizer.start_id]]
        return texts, {"source_ids": ids, "target_ids": start}

    return translator.model, read


def minilm():
    folder = kt.datasets.minilm.load_folder()
    tokenizer = kt.pretrained.load_tokenizer(folder)

    def read(sentence):
        ids = kt.data.encode(tokenizer, [sentence], start=True, end=True)
        return [tokenizer.id_to_token(token_id) for token_id in ids[0]], {"token_ids": ids}

    return kt.pretrained.load(folder), read


def place(tokens, word):
    """Position of the token for a word, whatever marker its tokenizer uses for spaces."""
    return [token.strip("\u2581").lower() for token in tokens].index(word)


# %% [markdown]
# ## Every head
#
# `kt.visualize.attention_scores` returns the weights of all layers and heads. The rest is looking
# up the row of "it" and the columns of the two nouns.


# %%
def weights_of_it(model, read):
    """Weights from "it" to each noun in each sentence: (2 sentences, 2 nouns, layers, heads)."""
    found = []
    for word in WORDS:
        tokens, inputs = read(SENTENCE.format(word))
        scores = kt.visualize.attention_scores(model, inputs)["encoder_self_attention"]
        rows = np.stack([layer[0, :, place(tokens, "it")] for layer in scores])  # (L, N, S)
        found.append([rows[..., place(tokens, noun)] for noun in NOUNS])
    return np.array(found)


models = {"MiniLM": minilm} if arguments.smoke else {"Firefox en-pt": firefox, "MiniLM": minilm}
results = {name: weights_of_it(*make()) for name, make in models.items()}

# %% [markdown]
# ## The picture, and the heads that change their mind

# %%
figure, axes = plt.subplots(
    len(results), 4, figsize=(11, 2.6 * len(results)), squeeze=False, layout="constrained"
)
for row, (name, weights) in zip(axes, results.items(), strict=True):
    for index, axis in enumerate(row):
        sentence, noun = divmod(index, 2)
        image = axis.imshow(weights[sentence, noun], vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axis.set_title(f'{name}, "{WORDS[sentence]}":\nit → {NOUNS[noun]}', fontsize=10)
        axis.set_xlabel("head")
        axis.set_ylabel("layer")
        axis.set_xticks(range(weights.shape[3]))
        axis.set_yticks(range(weights.shape[2]))
        axis.tick_params(labelsize=8)
figure.colorbar(image, ax=axes, shrink=0.6, label="attention weight")
figure.savefig(arguments.output / "it.png", dpi=130)

lines = [
    '| model | heads | largest weight from "it" to "animal" ("too tired") '
    '| to "street" ("too wide") '
    "| heads that prefer the right noun in both sentences | mean weight on the right noun, on the "
    "wrong noun |",
    "|---|---|---|---|---|---|",
]
for name, weights in results.items():
    (tired_animal, tired_street), (wide_animal, wide_street) = weights
    both = (tired_animal > tired_street) & (wide_street > wide_animal)
    best = []
    for values in (tired_animal, wide_street):
        layer, head = np.unravel_index(values.argmax(), values.shape)
        best.append(f"{values.max():.2f} (layer {layer}, head {head})")
    right = (tired_animal.mean() + wide_street.mean()) / 2
    wrong = (tired_street.mean() + wide_animal.mean()) / 2
    lines.append(
        f"| {name} | {both.size} | {best[0]} | {best[1]} | {int(both.sum())} | "
        f"{right:.3f}, {wrong:.3f} |"
    )
table = "\n".join(lines)
chart = '![Attention from "it" to either noun, for every layer and head](images/it.png)'
(arguments.output / "tables.md").write_text(f"{table}\n\n{chart}\n", encoding="utf-8")
print(table)
print(f"The picture is {arguments.output / 'it.png'}.")

# %% [markdown]
# ## Other pictures of the translator
#
# Each figure can also be saved as an interactive page, `.save("figure.html")`.

# %%
alignment = tree = None
if not arguments.smoke:
    translator, sentence = open_translator(), SENTENCE.format("tired")
    alignment = kt.visualize.alignment(translator, sentence)
    alignment.save(arguments.output / "alignment.png")
    tree = kt.visualize.beam_tree(translator, "The cat sat on the mat.", num_beams=3)
    tree.save(arguments.output / "beam-tree.png")
alignment

# %%
tree
