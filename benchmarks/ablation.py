"""Ablations: positions and heads of a GPT, regularization of a translator.

    python benchmarks/ablation.py positions --write docs/from-recurrence-to-attention.md
    python benchmarks/ablation.py regularization --write docs/from-recurrence-to-attention.md

Positions: small GPTs are trained on WikiText-2 in blocks of 64 subwords, and evaluated on such
blocks and on blocks four times as long (except for learned absolute positions, which end at 64).

Regularization: translators learn English to French from few sentences for many epochs, so that they
overfit.

All variants of a part are trained for the same number of batches, with the same seeds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from page import machine, shown_options, write_between
from translation import bleu

GPT = {
    "num_layers": 4,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "dropout": 0.0,
    "normalize_first": True,
}
GPT_VOCABULARY, CONTEXT, BATCH_SIZE = 2000, 64, 16
UNSEEN = 50_000  # subwords of the validation text to evaluate on
ROTARY = {"max_length": None, "rotary": True}
POSITIONS = {
    "learned": {},
    "none": {"max_length": None},
    "rotary": ROTARY,
    "Shaw's relative keys": {"max_length": None, "relative_positions": "shaw"},
    "T5's bias": {"max_length": None, "relative_positions": "t5"},
    "ALiBi": {"max_length": None, "relative_positions": "alibi"},
    "rotary, 2 key/value heads": {**ROTARY, "num_key_value_heads": 2},
    "rotary, 1 key/value head": {**ROTARY, "num_key_value_heads": 1},
    "rotary, gated feed-forward": {
        **ROTARY,
        "gated": True,
        "activation": "silu",
        "intermediate_dim": 341,  # as many weights as without the gate
    },
    "rotary, window of 16 in every other block": {**ROTARY, "window": (None, 16)},
}
TRANSLATOR = {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512}
TRANSLATOR_VOCABULARY, PAIRS, TESTED, SAMPLES = 4000, 5000, 1000, 4
REGULARISATION = {
    "none": {},
    "dropout 0.1": {"dropout": 0.1},
    "dropout 0.3": {"dropout": 0.3},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "L2 of 1e-5": {"l2": 1e-5},
    "subword sampling 0.5": {"sampling": 0.5},
    "dropout 0.1, smoothing, sampling": {"dropout": 0.1, "label_smoothing": 0.1, "sampling": 0.5},
}
WARMUP_STEPS = 100
# Batches and number of seeds per variant: small differences need more seeds.
BUDGET = {"positions": (700, 2), "regularization": (900, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=BUDGET, help="what to vary")
    parser.add_argument("--steps", type=int, help="training batches of each variant")
    parser.add_argument("--seeds", type=int, help="training runs of each variant")
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--write", help="Markdown page to write the table to")
    arguments = parser.parse_args()
    steps, seeds = BUDGET[arguments.part]
    arguments.steps, arguments.seeds = arguments.steps or steps, arguments.seeds or seeds
    os.environ["KERAS_BACKEND"] = arguments.backend
    run = {"positions": positions, "regularization": regularization}[arguments.part]
    options = shown_options(arguments, steps=steps, seeds=seeds, backend="jax")
    body = f"""```bash
python benchmarks/ablation.py {arguments.part}{options} --write docs/from-recurrence-to-attention.md
```

{run(arguments)}

{machine()}
"""
    print(body)
    if arguments.write:
        write_between(arguments.write, arguments.part, body)


def measured(variants: dict, measure: Callable, arguments: argparse.Namespace) -> dict:
    """Measures each variant with each seed; returns a list of results per variant."""
    import keras

    results: dict = {}
    for variant, options in variants.items():
        results[variant] = []
        for seed in range(1, arguments.seeds + 1):
            keras.utils.clear_session()
            keras.utils.set_random_seed(seed)
            results[variant].append(measure(options, seed))
            print(f"{variant}, seed {seed}: {results[variant][-1]}", flush=True)
    return results


def cells(found: list[dict], **digits: int) -> list[str]:
    """Formats the named figures with the given digits, all seeds side by side."""
    rows = []
    for name, number in digits.items():
        values = [each[name] for each in found]
        rows.append(" / ".join("-" if x is None else f"{x:.{number}f}" for x in values))
    return rows


def seeds_of(arguments: argparse.Namespace) -> str:
    """The sentence about seeds below a table."""
    if arguments.seeds == 1:
        return "One seed."
    return f"{arguments.seeds} seeds, shown side by side."


def fit(model, batches, steps: int) -> float:
    """Trains for this many batches; returns the seconds of all but the first."""
    import keras

    ended: list[float] = []

    def count(batch, logs):
        ended.append(time.perf_counter())
        model.stop_training = len(ended) == steps

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=count)
    model.fit(batches, epochs=-(-steps // len(batches)), verbose=0, callbacks=[callback])
    return ended[-1] - ended[0]


def positions(arguments: argparse.Namespace) -> str:
    """Trains the GPTs; perplexity per subword at the trained length and at four times that."""
    import keras_transformer as kt

    train, validation, _ = kt.datasets.wikitext2.load_data()
    tokenizer = kt.data.train_tokenizer(
        train.lines, GPT_VOCABULARY, lossless=True, symbols=("<unk>",)
    )

    def as_stream(lines):
        rows = kt.data.encode(tokenizer, lines, end=True)
        return [token_id for row in rows for token_id in row]

    known, unseen = as_stream(train.lines), as_stream(validation.lines)[:UNSEEN]
    lengths = (CONTEXT, 4 * CONTEXT)

    def measure(options, seed):
        batches = kt.data.LanguageModelBatches(known, CONTEXT, BATCH_SIZE, seed=seed)
        model = kt.models.gpt(GPT_VOCABULARY, **{"max_length": CONTEXT, **GPT, **options})
        recipe = kt.training.gpt1_pretraining_recipe(
            arguments.steps, WARMUP_STEPS, peak_learning_rate=3e-3
        )
        model.compile(recipe["optimizer"], recipe["loss"])
        seconds = fit(model, batches, arguments.steps)
        figures = {"parameters": model.count_params()}
        figures["milliseconds"] = 1000 * seconds / (arguments.steps - 1)
        model.compile(loss=recipe["loss"], metrics=[kt.training.Perplexity()])
        for length in lengths:
            figures[f"at_{length}"] = None
            if "max_length" in options or length == CONTEXT:  # else positions are untrained
                windows = kt.data.SlidingWindows(unseen, length, batch_size=8)
                result = model.evaluate(windows, verbose=0, return_dict=True)
                figures[f"at_{length}"] = result["perplexity"]
        return figures

    rows = [
        f"| | weights | ms per step | perplexity at {CONTEXT} | at {4 * CONTEXT} |",
        "|---|---|---|---|---|",
    ]
    digits = {"milliseconds": 0, **{f"at_{length}": 1 for length in lengths}}
    for variant, found in measured(POSITIONS, measure, arguments).items():
        row = [variant, f"{found[0]['parameters']:,}", *cells(found, **digits)]
        rows.append(f"| {' | '.join(row)} |")
    return (
        f"{arguments.steps:,} batches of {BATCH_SIZE} x {CONTEXT} subwords of WikiText-2 each, on "
        f"{arguments.backend}: {GPT['num_layers']} pre-LN blocks, width {GPT['hidden_dim']}, "
        f"{GPT_VOCABULARY:,} subwords. Perplexity per subword on {UNSEEN:,} subwords of the "
        f"validation text, each with at least half a block of context. {seeds_of(arguments)}\n\n"
        + "\n".join(rows)
    )


def regularization(arguments: argparse.Namespace) -> str:
    """Trains the translators on few sentences; evaluates them on these and on new ones."""
    import keras_transformer as kt

    train, validation, test = kt.datasets.tatoeba.load_data("fra")
    known = (train.source[:PAIRS], train.target[:PAIRS])
    tokenizer = kt.data.train_tokenizer([*known[0], *known[1]], TRANSLATOR_VOCABULARY)
    sources, references = kt.datasets.tatoeba.references(test)
    sources, references = sources[:TESTED], references[:TESTED]

    def encoded(texts, sampling=None):
        if sampling is None:
            return kt.data.encode(tokenizer, texts)
        rows = []
        for seed in range(SAMPLES):
            rows += kt.data.encode(tokenizer, texts, sampling=sampling, seed=seed)
        return rows

    def batches(pairs, sampling=None, **options):
        rows = (encoded(texts, sampling) for texts in pairs)
        return kt.data.TranslationBatches(*rows, 1024, max_shapes=4, **options)

    seen = batches([texts[:TESTED] for texts in known], shuffle=False)
    new = batches((validation.source, validation.target), shuffle=False)

    def measure(options, seed):
        training = batches(known, options.get("sampling"), seed=seed)
        model = kt.models.transformer(
            TRANSLATOR_VOCABULARY,
            **TRANSLATOR,
            dropout=options.get("dropout", 0.0),
            normalize_first=True,
        )
        kt.training.add_l2(model, options.get("l2", 0.0))
        rate = kt.training.WarmupCosineSchedule(2e-3, WARMUP_STEPS, arguments.steps)
        recipe = kt.training.transformer_recipe(
            TRANSLATOR["hidden_dim"],
            label_smoothing=options.get("label_smoothing", 0.0),
            learning_rate=rate,
        )
        model.compile(recipe["optimizer"], recipe["loss"])
        fit(model, training, arguments.steps)
        kt.training.add_l2(model, 0)
        model.compile(loss=kt.training.MaskedCrossentropy(), metrics=[kt.training.Perplexity()])
        translations = kt.Translator(model, tokenizer).translate(sources)
        figures = {"bleu": bleu(translations, references)}
        for name, data in (("seen", seen), ("new", new)):
            result = model.evaluate(data, verbose=0, return_dict=True)
            figures[name] = result["perplexity"]
        return figures

    rows = ["| | perplexity, training sentences | new sentences | BLEU |", "|---|---|---|---|"]
    for variant, found in measured(REGULARISATION, measure, arguments).items():
        rows.append(f"| {' | '.join([variant, *cells(found, seen=2, new=1, bleu=1)])} |")
    return (
        f"{PAIRS:,} pairs of Tatoeba, {arguments.steps:,} batches of 1,024 tokens each, on "
        f"{arguments.backend}: {TRANSLATOR['num_layers']} + {TRANSLATOR['num_layers']} pre-LN "
        f"blocks, width {TRANSLATOR['hidden_dim']}, {TRANSLATOR_VOCABULARY:,} subwords; BLEU of "
        f"{TESTED:,} held-out sentences, decoded greedily. Subwords are sampled {SAMPLES} times. "
        f"{seeds_of(arguments)}\n\n" + "\n".join(rows)
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
