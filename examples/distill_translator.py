# %% [markdown]
# # Distill a translator, and learn from back-translation
#
# Two of Firefox's models produce the data: one translates English sentences of Tatoeba into
# Portuguese; the other, the teacher, translates these back into English. You see BLEU and chrF of
# the teacher and of three much smaller students against the English sentences, and how many
# sentences each of them translates per second.
#
# Students that translate Portuguese to English are trained on three sets of targets:
#
# * what people wrote, the English sentences. Their sources are machine translations, so these pairs
#   are back-translated.
# * the teacher's translations: sequence-level knowledge distillation. They are more regular than
#   human writing, and easier for a small model to learn.
# * both, with the back-translated sources tagged.
#
# A student has two encoder blocks instead of its teacher's six, one SSRU decoder block instead of
# two, and a smaller vocabulary. All train for the same time with plain `model.fit`.
#
# Takes about 15 minutes on 2 CPU cores. The weights and sentences, 44 MB, are downloaded once.
#
#     python examples/distill_translator.py --output runs/distilled
#
# The translations of Firefox's models are kept in the output folder, so that an interrupted run can
# continue. `--smoke` runs every line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import sacrebleu

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Distill Firefox's Portuguese-English model.")
parser.add_argument("--output", type=Path, default=Path("runs/distilled"), help="output folder")
parser.add_argument("--sentences", type=int, default=12000, help="number of sentences to train on")
parser.add_argument("--minutes", type=float, default=3.0, help="training time of each student")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
NUM_TEST = 1000
VOCABULARY_SIZE = 4000
MODEL = {"num_layers": 2, "num_heads": 4, "hidden_dim": 192, "intermediate_dim": 768}
WARMUP_STEPS = 100
if arguments.smoke:
    arguments.sentences, NUM_TEST, VOCABULARY_SIZE = 160, 12, 400
    MODEL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
kt.decoding.set_jit_compile(False)  # many batch shapes, each used only a few times

# %% [markdown]
# ## Portuguese sources
#
# The file is tied to these sentences and settings: if the command is repeated, only missing
# sentences are translated.

# %%
train, validation, test = kt.datasets.tatoeba.load_data("fra")
print(kt.datasets.tatoeba.ATTRIBUTION)
print(kt.datasets.firefox_models.ATTRIBUTION)
english = list(dict.fromkeys(train.source))[: arguments.sentences]
english_validation = list(dict.fromkeys(validation.source))[: 8 if arguments.smoke else 200]
english_test = list(dict.fromkeys(test.source))[:NUM_TEST]


def load_teacher(languages):
    folder = kt.datasets.firefox_models.load_folder(languages)
    return kt.Translator.from_pretrained(folder)


writer = load_teacher("en-pt")
portuguese = kt.translate_corpus(writer, english, arguments.output / "portuguese.jsonl")
portuguese_validation = writer.translate(english_validation)
portuguese_test = writer.translate(english_test)
del writer

# %% [markdown]
# ## The teacher's translations, and filters
#
# The teacher's scores show which Portuguese sentences differ in meaning from the English ones that
# they were translated from.

# %%
teacher = load_teacher("pt-en")
distilled = kt.translate_corpus(teacher, portuguese, arguments.output / "teacher.jsonl")
scores = kt.score_translations(teacher, portuguese, english)
back_translated = kt.data.filter_pairs(
    portuguese, english, max_length_ratio=3.0, scores=scores, keep=0.95
)
distilled = kt.data.filter_pairs(portuguese, distilled, max_length_ratio=3.0)
print(f"{len(back_translated[0]):,} pairs with the sentences of people as targets")
print(f"{len(distilled[0]):,} pairs with the translations of the teacher as targets")

# %% [markdown]
# ## Students
#
# The tag is a reserved token of the vocabulary. Sources without it are translated as the teacher
# would. BLEU and chrF on the validation sentences are printed after every other epoch.

# %%
tokenizer = kt.data.train_tokenizer(
    [*portuguese, *english], VOCABULARY_SIZE, symbols=["<BT>"], character_coverage=0.9999
)
tagged = kt.data.add_tag(tokenizer, back_translated[0], "<BT>")
both = [*distilled[0], *tagged], [*distilled[1], *back_translated[1]]


def train_student(sources, targets):
    """Trains a student for some minutes."""
    keras.utils.set_random_seed(arguments.seed)
    batches = kt.data.TranslationBatches(
        kt.data.encode(tokenizer, sources),
        kt.data.encode(tokenizer, targets),
        tokens_per_batch=1024,
        max_shapes=1 if arguments.smoke else 8,
        seed=arguments.seed,
    )
    model = kt.models.transformer(
        VOCABULARY_SIZE,
        **MODEL,
        dropout=0.05,
        num_decoder_layers=1,
        decoder_recurrence="ssru",
        normalize_first=True,
    )
    recipe = kt.training.transformer_recipe(MODEL["hidden_dim"], learning_rate=3e-3)
    # On a CPU, TensorFlow is faster without XLA, which would take many seconds to compile.
    jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(**recipe, jit_compile=jit_compile)
    student = kt.Translator(model, tokenizer)
    evaluation = kt.training.TranslationEvaluation(
        student,
        portuguese_validation,
        english_validation,
        every_epochs=2,
        num_samples=2,
        verbose=1,
        max_new_tokens=32,
    )
    budget = kt.training.TimeBudget(arguments.minutes, WARMUP_STEPS)
    epochs = 1 if arguments.smoke else 20
    model.fit(batches, epochs=epochs, verbose=2, callbacks=[budget, evaluation])
    return student


# %%
translators = {"teacher (Firefox)": teacher}
for name, pairs in {
    "student, human targets": back_translated,
    "student, targets of the teacher": distilled,
    "student, both, with tags": both,
}.items():
    print(f"\n{name}: {len(pairs[0]):,} pairs")
    translators[name] = train_student(*pairs)
translators[name].save(arguments.output / "translator")

# %% [markdown]
# ## Results
#
# The second of two runs is timed: the first one compiles.

# %%
lines = [
    "| translator | weights | BLEU | chrF | sentences per second |",
    "|---|---:|---:|---:|---:|",
]
for name, translator in translators.items():
    translator.translate(portuguese_test)
    started = time.time()
    translations = translator.translate(portuguese_test)
    seconds = time.time() - started
    bleu = sacrebleu.corpus_bleu(translations, [english_test]).score
    chrf = sacrebleu.corpus_chrf(translations, [english_test]).score
    cells = [name, f"{translator.model.count_params():,}", f"{bleu:.1f}", f"{chrf:.1f}"]
    lines.append(f"| {' | '.join(cells)} | {len(portuguese_test) / seconds:.0f} |")
print(f"\n{len(english_test):,} test sentences:\n")
print("\n".join(lines))
(arguments.output / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
