"""From recurrence to attention: one corpus, equal training time, BLEU by sentence length.

    python benchmarks/recurrence.py --write docs/from-recurrence-to-attention.md

This library's recurrent encoder-decoders (with a fixed context vector, and with Luong's or
Bahdanau's attention) and its Transformer learn English to French on Tatoeba, with the same
subwords, batches, loss and training time. Each runs in a separate process, one at a time. BLEU is
from beam search with 4 beams on held-out sentences, overall and by number of words.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from page import machine, shown_options, write_between
from processes import print_result, result_of, use_all_cores
from translation import (
    SIZE,
    VOCABULARY_SIZE,
    bleu,
    evaluate,
    fit,
    load,
)

WIDTH = SIZE["hidden_dim"]
SYSTEMS = {
    "RNN": {"cell": "simple", "bidirectional": False, "attention": None},
    "LSTM": {"cell": "lstm", "bidirectional": False, "attention": None},
    "GRU": {"cell": "gru", "bidirectional": False, "attention": None},
    "bidirectional GRU": {"cell": "gru", "bidirectional": True, "attention": None},
    "bidirectional GRU + Luong": {"cell": "gru", "bidirectional": True, "attention": "luong"},
    "bidirectional GRU + Bahdanau": {"cell": "gru", "bidirectional": True, "attention": "bahdanau"},
    "Transformer": None,
}
# Shortest and longest English sentence of each group, in words.
LENGTHS = ((1, 5), (6, 10), (11, 15), (16, 1000))
# Training options and their defaults.
OPTIONS = {"minutes": 4.0, "seed": 1, "dropout": 0.05, "learning_rate": None, "sentences": 2000}
NUM_TEST, LONG = 10_000, 11  # all of the few long held-out sentences are translated
# Chosen by perplexity after the full four minutes. For recurrent networks, 3e-3 beats 5e-3 (except
# for the GRU, where they are equal) and, where tried (bidirectional, without attention and with
# Bahdanau's), 1.5e-3. For the Transformer, 2e-3 beats 1.3e-3 and 3e-3. Shorter trials are
# misleading: after 600 steps, recurrent networks are ahead with 5e-3.
RECURRENT = {"learning_rate": 3e-3, "clip_norm": 1.0}
TRANSFORMER = {"learning_rate": 2e-3, "clip_norm": None}
CHART = Path(__file__).resolve().parent.parent / "docs" / "images" / "recurrence.png"
NAME = "translation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow", help="backend of all systems")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), help="systems to run")
    parser.add_argument("--minutes", type=float, help="training time of each system")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--learning-rate", type=float, help="peak learning rate for all systems")
    parser.add_argument("--sentences", type=int, help="sentences to translate per system")
    parser.set_defaults(**OPTIONS)
    parser.add_argument("--write", help="Markdown page to write the table to")
    parser.add_argument("--system", help="run one, print JSON")
    arguments = parser.parse_args()
    if arguments.system:
        print_result(measure(arguments.system, arguments))
        return
    use_all_cores()
    results = {}
    for system in arguments.systems:
        command = ["--system", system, *shlex.split(shown_options(arguments, **OPTIONS))]
        results[system] = result_of(__file__, *command, KERAS_BACKEND=arguments.backend)
        print(f"{system}: {results[system]}", flush=True)
    body = section(results, arguments)
    print(body)
    if arguments.write:
        draw(results)
        write_between(arguments.write, NAME, body)


def measure(system: str, arguments: argparse.Namespace) -> dict:
    """Trains one system and translates with it."""
    import keras

    import keras_transformer as kt

    tokenizer, _, batches, validation, held_out = load(arguments, NUM_TEST)
    if SYSTEMS[system] is None:
        settings = dict(TRANSFORMER)
        model = kt.models.transformer(
            VOCABULARY_SIZE, **SIZE, dropout=arguments.dropout, normalize_first=True
        )
    else:
        settings = dict(RECURRENT)
        model = kt.models.recurrent_seq2seq(
            VOCABULARY_SIZE, hidden_dim=WIDTH, dropout=arguments.dropout, **SYSTEMS[system]
        )
    if arguments.learning_rate is not None:
        settings["learning_rate"] = arguments.learning_rate
    jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
    result = fit(model, batches, batches.num_target_tokens, arguments, jit_compile, **settings)
    chosen = [
        (source, translations)
        for index, (source, translations) in enumerate(zip(*held_out, strict=True))
        if index < arguments.sentences or len(source.split()) >= LONG
    ]
    sources, references = map(list, zip(*chosen, strict=True))
    translations = kt.Translator(model, tokenizer).translate(sources, num_beams=4)
    by_length = {}
    for first, last in LENGTHS:
        some = [index for index, text in enumerate(sources) if first <= len(text.split()) <= last]
        score = bleu(*([texts[index] for index in some] for texts in (translations, references)))
        by_length[words(first, last)] = {"bleu": score, "sentences": len(some)}
    return {
        **result,
        "perplexity": evaluate(model, validation),
        "bleu": bleu(translations[: arguments.sentences], references[: arguments.sentences]),
        "by_length": by_length,
    }


def words(first: int, last: int) -> str:
    """Label of a length range in the table."""
    return f"{first}-{last}" if last < 1000 else f"{first}+"


def section(results: dict, arguments: argparse.Namespace) -> str:
    """The section with the table."""
    some = next(iter(results.values()))
    lengths = [f"{name} ({part['sentences']})" for name, part in some["by_length"].items()]
    columns = ["system", "parameters", "steps", "perplexity", "BLEU", *lengths]
    rows = []
    for system, result in results.items():
        cells = [
            system,
            f"{result['parameters']:,}",
            f"{result['steps']:,}",
            f"{result['perplexity']:.2f}",
            f"{result['bleu']:.1f}",
            *(f"{part['bleu']:.1f}" for part in result["by_length"].values()),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    head = "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|\n"
    options = shown_options(arguments, backend="tensorflow", systems=list(SYSTEMS), **OPTIONS)
    rates = f"The learning rate peaks at {arguments.learning_rate}."
    if arguments.learning_rate is None:
        rates = (
            f"The learning rate peaks at {RECURRENT['learning_rate']} for recurrent networks and "
            f"{TRANSFORMER['learning_rate']} for the Transformer."
        )
    return f"""```bash
python benchmarks/recurrence.py{options} --write docs/from-recurrence-to-attention.md
```

{arguments.minutes:g} minutes of training each on {arguments.backend}, including compilation:
{VOCABULARY_SIZE:,} subwords, width {WIDTH}; one recurrent layer per side and direction, and
{SIZE["num_layers"]} + {SIZE["num_layers"]} blocks for the Transformer. {rates}
Gradients of recurrent networks are clipped to a norm of {RECURRENT["clip_norm"]:g}. One seed.
BLEU by the number of words in the English sentence, with the number of sentences in parentheses.
Sentences with {LONG} or more words are all of those among {NUM_TEST:,} held-out sentences; the
shorter ones, and the overall BLEU, are from {arguments.sentences:,}.

{head}{chr(10).join(rows)}

![BLEU by sentence length](images/{CHART.name})

{machine()}
"""


def draw(results: dict) -> None:
    """Plots BLEU against the number of words."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for system, result in results.items():
        parts = result["by_length"]
        style = "--" if (SYSTEMS[system] or {"attention": ""})["attention"] is None else "-"
        scores = [part["bleu"] for part in parts.values()]
        axes.plot(list(parts), scores, style, marker="o", label=system)
    axes.set(xlabel="words of the source", ylabel="BLEU", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    CHART.parent.mkdir(exist_ok=True)
    figure.savefig(CHART, dpi=130)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
