# %% [markdown]
# # Adapt a translator without forgetting
#
# Firefox's English-Portuguese model is Brazilian. With plain `model.fit` it learns the European
# Portuguese numerals, where 16 is "dezasseis" rather than "dezesseis". You see how many unseen
# numbers it translates correctly before and after, and how many of 200 ordinary sentences it still
# translates as before.
#
# Such pairs can be generated in any quantity, and the results are unambiguously right or wrong. A
# translator trained on them forgets other things. Therefore each batch comes either from the
# new pairs or from ordinary sentences whose targets are the model's own translations, so that it
# also practices what should not change. Only the decoder is trained. In the end, its weights go
# only as far from the original ones as held-out pairs require.
#
# Takes about 15 minutes on 2 CPU cores. The weights and sentences, 44 MB, are downloaded once.
#
#     python examples/adapt_translator.py --output runs/numbers
#     python examples/adapt_translator.py --mix 0
#     python examples/adapt_translator.py --pairs mine.tsv
#
# Your own pairs are lines of English, TAB, Portuguese. `--lora 16` trains adapters instead of all
# weights and prints their size; `--smoke` runs every line on a tiny sample.

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
parser = argparse.ArgumentParser(description="Adapt Firefox's English-Portuguese model.")
parser.add_argument(
    "--pairs", type=Path, help="file of pairs; the last 5%% are test data, 5%% held out"
)
parser.add_argument("--output", type=Path, default=Path("runs/numbers"), help="folder to save to")
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--mix", type=float, default=3.0, help="ordinary batches per new one")
parser.add_argument("--ordinary", type=int, default=14000, help="number of ordinary sentences")
parser.add_argument("--lora", type=int, metavar="RANK", help="train adapters of this rank")
parser.add_argument("--learning-rate", type=float, help="default 5e-5, LoRA 1e-3")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--table", type=Path, help="file with a table to append results to")
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.epochs = 1
keras.utils.set_random_seed(arguments.seed)

# %% [markdown]
# ## Pairs
#
# Numbers below a million, spelled by num2words in English and in European Portuguese, where that
# differs from Brazilian Portuguese. Each number occurs once, so the test numbers are unseen. Some
# pairs are held out to choose how far the weights go.
#
# Some forms are rare among random numbers, such as "e" before round hundreds ("dezassete mil e
# quatrocentos"). A model that has hardly seen them has to go further from its original weights.
# Therefore, the training pairs include more of them.

# %%
if arguments.pairs is not None:
    source, target = kt.datasets.tatoeba.parse_pairs(arguments.pairs)
else:
    from num2words import num2words

    def is_portuguese(number):
        return bool({16, 17, 19} & {number % 100, number // 1000 % 100})

    numbers = np.random.default_rng(arguments.seed).permutation(1_000_000).tolist()
    numbers = [number for number in numbers if is_portuguese(number)]
    count = 60 if arguments.smoke else 6700
    rare = [number for number in numbers[count:] if 0 in (number % 100, number // 1000 % 100)]
    rare = rare[: count // 12]
    numbers = [*rare, *numbers[len(rare) : count]]  # held-out and test pairs are the last ones
    source = [f"It costs {num2words(number, lang='en')} euros." for number in numbers]
    target = [f"Custa {num2words(number, lang='pt')} euros." for number in numbers]
num_test = num_held_out = max(1, len(source) // 20)
if arguments.pairs is None and not arguments.smoke:
    num_test, num_held_out = 300, 1000
pairs = list(zip(source, target, strict=True))
test, held_out = pairs[-num_test:], pairs[-num_test - num_held_out : -num_test]
source, target = (one[: -num_test - num_held_out] for one in (source, target))
tatoeba, _, tatoeba_test = kt.datasets.tatoeba.load_data("fra")
ordinary = list(dict.fromkeys(tatoeba_test.source))[: 4 if arguments.smoke else 200]
to_repeat = list(dict.fromkeys(tatoeba.source))
to_repeat = np.random.default_rng(arguments.seed).permutation(to_repeat).tolist()
to_repeat = to_repeat[: 16 if arguments.smoke else arguments.ordinary]

# %% [markdown]
# ## The original model

# %%
folder = kt.datasets.firefox_models.load_folder("en-pt")
print(kt.datasets.firefox_models.ATTRIBUTION)
translator = kt.Translator.from_pretrained(folder)
# The shortlist was built for web text: the new translations may need words that it lacks.
translator.shortlist = None
kt.decoding.set_jit_compile(False)  # many batch shapes, each used only a few times


def number_right(pairs) -> int:
    translations = translator.translate([english for english, _ in pairs])
    return sum(found == pair[1] for found, pair in zip(translations, pairs, strict=True))


def show(pairs) -> None:
    for english, portuguese in pairs:
        print(f"  {english}\n    {translator.translate([english])[0]}\n    {portuguese}")


before = number_right(test)
show(test[:3])
ordinary_before = translator.translate(ordinary)

# %% [markdown]
# ## Training
#
# The start, end and padding ids come from the tokenizer and must be passed to batches and recipe.
# The learning rate warms up slowly, because Adam's first steps are as large for unimportant words
# as for all others. Label smoothing would teach the model to be less sure of its own translations.

# %%
tokenizer, model = translator.source_tokenizer, translator.model


def make_batches(source, target):
    return kt.data.TranslationBatches(
        kt.data.encode(tokenizer, source),
        kt.data.encode(tokenizer, target),
        tokens_per_batch=1024,
        max_shapes=1 if arguments.smoke else 4,
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        padding_id=tokenizer.padding_id,
    )


original = translator.model.get_weights()
batches = make_batches(source, target)
if arguments.mix > 0:
    started = time.time()
    repeated = translator.translate(to_repeat, verbose=1)
    print(f"Translated {len(to_repeat):,} sentences in {time.time() - started:.0f} seconds")
    batches = kt.data.MixedBatches(
        [batches, make_batches(to_repeat, repeated)],
        weights=[1, arguments.mix],
        num_batches=round((1 + arguments.mix) * len(batches)),
        seed=arguments.seed,
    )
if arguments.lora:
    adapt(model, arguments.lora)
else:
    model.get_layer("encoder").trainable = False
    model.get_layer("token_embedding").trainable = False
rate = arguments.learning_rate or (1e-3 if arguments.lora else 5e-5)
steps = arguments.epochs * len(batches)
recipe = kt.training.transformer_recipe(
    hidden_dim=256,
    learning_rate=kt.training.WarmupCosineSchedule(rate, steps // 10 + 1, steps + 2),
    label_smoothing=0.0,
    padding_id=tokenizer.padding_id,
)
# On a CPU, TensorFlow is faster without XLA, which would take many seconds to compile.
jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
model.compile(**recipe, jit_compile=jit_compile)
trained = sum(weight.numpy().size for weight in model.trainable_weights) / model.count_params()
started = time.time()
model.fit(batches, epochs=arguments.epochs, verbose=2)
seconds = time.time() - started
print(f"Fine-tuned in {seconds:.0f} seconds")

# %% [markdown]
# The adapters are saved in a separate file and then merged into the weights.

# %%
if arguments.lora:
    adapters = arguments.output.with_name(f"{arguments.output.name}-adapters.npz")
    adapters.parent.mkdir(parents=True, exist_ok=True)
    kt.training.save_lora(model, adapters)
    logits = model.predict_on_batch(batches[0][0])
    kt.training.merge_lora(model)
    difference = np.abs(model.predict_on_batch(batches[0][0]) - logits).max()

# %% [markdown]
# ## Only as far as needed
#
# Between the original and the fine-tuned weights lie models that know the new pairs and have
# forgotten less (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). The model closest
# to the original that translates the held-out pairs as well as the fine-tuned one, up to one in a
# thousand, is kept.

# %%
fine_tuned = model.get_weights()
needed = number_right(held_out)
for way in np.arange(0.6, 1.02, 0.05).round(2):
    model.set_weights(
        [
            old + way * (new - old) if old.dtype.kind == "f" else new
            for old, new in zip(original, fine_tuned, strict=True)
        ]
    )
    right = number_right(held_out)
    print(f"{way:.0%} of the way: {right} of {len(held_out)} held-out pairs right")
    if right >= 0.999 * needed:
        break

# %% [markdown]
# ## What was learned and what was forgotten

# %%
after = number_right(test)
show(test[:3])
ordinary_after = translator.translate(ordinary)
changed = [pair for pair in zip(ordinary_before, ordinary_after, strict=True) if len({*pair}) > 1]
kept = len(ordinary) - len(changed)
translator.save(arguments.output)
print(f"The translator is in {arguments.output}.")
if arguments.lora:
    sizes = [path.stat().st_size for path in (adapters, arguments.output / "model.keras")]
    print(f"The adapter file is {sizes[0] / sizes[1]:.2%} of the size of the model file.")
    print(f"The logits with adapters and with merged weights differ by at most {difference:.1e}.")
print(f"{len(test)} unseen pairs, exactly right: {before} before, {after} after")
print(f"{len(ordinary)} ordinary sentences, translated as before: {kept}")
score = 100.0
if changed:
    import sacrebleu

    old, new = zip(*changed, strict=True)
    score = sacrebleu.corpus_chrf(list(new), [list(old)]).score
    print(f"chrF of the others against their translations before: {score:.1f}")
    for before_it, after_it in changed[:3]:
        print(f"  {before_it}\n    {after_it}")
if arguments.table is not None:
    cells = [
        f"LoRA, rank {arguments.lora}" if arguments.lora else "decoder",
        f"{trained:.2%}",
        f"{arguments.mix:g} : 1",
        f"{seconds:.0f}",
        f"{way:.0%}",
        f"{before} before, {after} after",
        str(kept),
        f"{score:.1f}",
    ]
    heads = ["weights trained", "share", "ordinary : new batches", "seconds", "way"]
    heads += [f"right, of {len(test)} unseen numbers", f"unchanged, of {len(ordinary)} ordinary"]
    heads += ["chrF of the changed"]
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    with arguments.table.open("a", encoding="utf-8") as file:
        if file.tell() == 0:
            file.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
        file.write(f"| {' | '.join(cells)} |\n")
