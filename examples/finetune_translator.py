# %% [markdown]
# # Fine-tune a translator
#
# Firefox's English-Portuguese model is Brazilian. With plain `model.fit` it learns the numbers of
# Portugal, where 16 is "dezasseis" and not "dezesseis": any amount of exact pairs, and a test that
# cannot be argued with.
#
#     python examples/finetune_translator.py --output runs/numbers
#     python examples/finetune_translator.py --pairs mine.tsv
#
# Pairs of your own are lines of English, TAB, Portuguese.
#
# It prints how many unseen numbers come out right before and after, and how many of 200 ordinary
# sentences are still translated as before. `--lora 16` trains adapters in place of all weights, and
# prints how small they are; `--smoke` runs every line on a sliver.

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
from finetuning_common import adapt

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Fine-tune Firefox's English-Portuguese model.")
parser.add_argument("--pairs", type=Path, help="pairs of your own; the last twentieth is the test")
parser.add_argument("--output", type=Path, default=Path("runs/numbers"), help="folder to save to")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--lora", type=int, metavar="RANK", help="train adapters of this rank")
parser.add_argument("--learning-rate", type=float, help="by default 1e-4, LoRA 2e-3")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a sliver")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.epochs = 1
keras.utils.set_random_seed(arguments.seed)

# %% [markdown]
# ## Pairs
#
# Numbers below a million, as num2words says them in English and in the Portuguese of Portugal,
# where that differs from Brazil's. Each number occurs once: the test's were never trained on.

# %%
if arguments.pairs is not None:
    source, target = kt.datasets.tatoeba.parse_pairs(arguments.pairs)
else:
    from num2words import num2words

    def is_portuguese(number):
        return bool({16, 17, 19} & {number % 100, number // 1000 % 100})

    numbers = np.random.default_rng(arguments.seed).permutation(1_000_000).tolist()
    numbers = [number for number in numbers if is_portuguese(number)]
    numbers = numbers[: 60 if arguments.smoke else 6000]
    source = [f"It costs {num2words(number, lang='en')} euros." for number in numbers]
    target = [f"Custa {num2words(number, lang='pt')} euros." for number in numbers]
num_test = max(1, len(source) // 20)
test = list(zip(source[-num_test:], target[-num_test:], strict=True))
_, _, tatoeba = kt.datasets.tatoeba.load_data("fra")
ordinary = list(dict.fromkeys(tatoeba.source))[: 4 if arguments.smoke else 200]

# %% [markdown]
# ## The model as it comes

# %%
folder = kt.datasets.firefox_models.load_folder("en-pt")
print(kt.datasets.firefox_models.ATTRIBUTION)
translator = kt.Translator.from_pretrained(folder)
# The shortlist was made for the texts of the web: what is learned now may need other words.
translator.shortlist = None
kt.decoding.set_jit_compile(False)  # batches of many shapes, each a few times


def number_right(translator) -> int:
    translations = translator.translate([english for english, _ in test], verbose=1)
    for (english, portuguese), found in list(zip(test, translations, strict=True))[:3]:
        print(f"  {english}\n    {found}\n    {portuguese}")
    pairs = zip(translations, test, strict=True)
    return sum(found == portuguese for found, (_, portuguese) in pairs)


before = number_right(translator)
ordinary_before = translator.translate(ordinary)

# %% [markdown]
# ## Fine-tuning
#
# The tokeniser knows the ids that start, end and pad; batches and recipe have to be told. The rate
# rises slowly: Adam's first steps would be as long for words that hardly matter as for all others.

# %%
tokenizer, model = translator.source_tokenizer, translator.model
batches = kt.data.TranslationBatches(
    kt.data.encode(tokenizer, source[:-num_test]),
    kt.data.encode(tokenizer, target[:-num_test]),
    tokens_per_batch=1024,
    max_shapes=1 if arguments.smoke else 4,
    start_id=tokenizer.start_id,
    end_id=tokenizer.end_id,
    padding_id=tokenizer.padding_id,
)
if arguments.lora:
    adapt(model, arguments.lora)
rate = arguments.learning_rate or (2e-3 if arguments.lora else 1e-4)
steps = arguments.epochs * len(batches)
recipe = kt.training.transformer_recipe(
    hidden_dim=256,
    learning_rate=kt.training.WarmupCosineSchedule(rate, steps // 10 + 1, steps + 2),
    padding_id=tokenizer.padding_id,
)
# On a CPU, TensorFlow is faster without XLA, which would compile for many seconds.
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
model.compile(**recipe, jit_compile=jit_compile)
started = time.time()
model.fit(batches, epochs=arguments.epochs, verbose=2)
print(f"fine-tuned in {time.time() - started:.0f} seconds")

# %% [markdown]
# Adapters have a file of their own. Merged, the model is as if it had never had any.

# %%
if arguments.lora:
    adapters = arguments.output.with_name(f"{arguments.output.name}-adapters.npz")
    adapters.parent.mkdir(parents=True, exist_ok=True)
    kt.training.save_lora(model, adapters)
    logits = model.predict_on_batch(batches[0][0])
    kt.training.merge_lora(model)
    difference = np.abs(model.predict_on_batch(batches[0][0]) - logits).max()

# %% [markdown]
# ## What it has learned, and what it has forgotten

# %%
after = number_right(translator)
ordinary_after = translator.translate(ordinary)
kept = sum(old == new for old, new in zip(ordinary_before, ordinary_after, strict=True))
translator.save(arguments.output)
print(f"the translator is in {arguments.output}")
if arguments.lora:
    sizes = [path.stat().st_size for path in (adapters, arguments.output / "model.keras")]
    print(f"the adapters' file is {sizes[0] / sizes[1]:.2%} of the model's")
    print(f"the logits of adapters and merged weights differ by at most {difference:.1e}")
print(f"{len(test)} unseen pairs, exactly right: {before} before, {after} after")
print(f"{len(ordinary)} ordinary sentences, translated as before: {kept}")
