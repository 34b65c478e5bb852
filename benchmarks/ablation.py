"""One part changed at a time: positions and heads of a GPT, regularisation of a translator.

    python benchmarks/ablation.py positions --write docs/from-recurrence-to-attention.md
    python benchmarks/ablation.py regularisation --write docs/from-recurrence-to-attention.md

Positions: small GPTs learn WikiText-2 for as many batches each, from blocks of 128 sub-words, and
are measured on such blocks and on ones four times as long, which they have never seen. Where the
positions are learned one by one there is nothing to measure beyond.

Regularisation: translators learn English to French from few sentences, for as many minutes each, so
that they come to know them by heart.

Each variant runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import time

from page import machine, shown_options, write_between
from processes import print_result, result_of
from translation import SIZE as TRANSLATOR
from translation import bleu

GPT = {
    "num_layers": 4,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "dropout": 0.0,
    "normalize_first": True,
}
GPT_VOCABULARY, CONTEXT, BATCH_SIZE = 4000, 128, 16
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
    "rotary, gated network": {
        **ROTARY,
        "gated": True,
        "activation": "silu",
        "intermediate_dim": 341,  # as many weights as the plain one
    },
    "rotary, every other block sees 32": {**ROTARY, "window": (None, 32)},
}
TRANSLATOR_VOCABULARY, PAIRS, SAMPLES = 4000, 10_000, 4
NOTHING = {"dropout": 0.0, "label_smoothing": 0.0, "l2": 0.0, "sampling": None}
REGULARISATION = {
    "nothing": NOTHING,
    "dropout 0.1": {**NOTHING, "dropout": 0.1},
    "dropout 0.3": {**NOTHING, "dropout": 0.3},
    "label smoothing 0.1": {**NOTHING, "label_smoothing": 0.1},
    "L2 of 1e-5": {**NOTHING, "l2": 1e-5},
    "sub-word sampling 0.2": {**NOTHING, "sampling": 0.2},
    "dropout 0.3, smoothing, sampling": {
        "dropout": 0.3,
        "label_smoothing": 0.1,
        "l2": 0.0,
        "sampling": 0.2,
    },
}
PARTS = {"positions": POSITIONS, "regularisation": REGULARISATION}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS, help="what to change")
    parser.add_argument("--steps", type=int, default=1500, help="batches of each GPT")
    parser.add_argument("--minutes", type=float, default=1.5, help="training of each translator")
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", help="Markdown page to write the table to")
    parser.add_argument("--variant", help="run one, print JSON")
    arguments = parser.parse_args()
    measure = {"positions": measure_gpt, "regularisation": measure_translator}[arguments.part]
    if arguments.variant:
        print_result(measure(PARTS[arguments.part][arguments.variant], arguments))
        return
    results = {}
    for variant in PARTS[arguments.part]:
        options = [
            part
            for name in ("steps", "minutes", "seed")
            for part in (f"--{name}", str(getattr(arguments, name)))
        ]
        command = (arguments.part, "--variant", variant, *options)
        results[variant] = result_of(__file__, *command, KERAS_BACKEND=arguments.backend)
        print(f"{variant}: {results[variant]}", flush=True)
    table = {"positions": positions_table, "regularisation": regularisation_table}
    options = shown_options(arguments, steps=1500, minutes=1.5, backend="jax", seed=1)
    command = f"python benchmarks/ablation.py {arguments.part}{options}"
    body = f"""```bash
{command} --write docs/from-recurrence-to-attention.md
```

{table[arguments.part](results, arguments)}

{machine()}
"""
    print(body)
    if arguments.write:
        write_between(arguments.write, arguments.part, body)


def measure_gpt(options: dict, arguments: argparse.Namespace) -> dict:
    """Trains one GPT; perplexity a sub-word at the length it knows, and at four times that."""
    import keras

    import keras_transformer as kt

    keras.utils.set_random_seed(arguments.seed)
    train, validation, _ = kt.datasets.wikitext2.load_data()
    tokenizer = kt.data.train_tokenizer(
        train.lines, GPT_VOCABULARY, lossless=True, symbols=("<unk>",)
    )

    def as_stream(text):
        lines = kt.data.encode(tokenizer, text.lines, end=True)
        return [token_id for line in lines for token_id in line]

    batches = kt.data.LanguageModelBatches(
        as_stream(train), CONTEXT, BATCH_SIZE, seed=arguments.seed
    )
    model = kt.models.gpt(GPT_VOCABULARY, **{"max_length": CONTEXT, **GPT, **options})
    recipe = kt.training.gpt1_pretraining_recipe(arguments.steps, 100, peak_learning_rate=3e-3)
    model.compile(recipe["optimizer"], recipe["loss"])
    model.fit(batches, steps_per_epoch=1, verbose=0)  # compiles
    started = time.perf_counter()
    model.fit(batches, steps_per_epoch=arguments.steps - 1, verbose=0)
    seconds = time.perf_counter() - started
    perplexity = {}
    for length in (CONTEXT, 4 * CONTEXT):
        if "max_length" not in options and length > CONTEXT:
            continue  # positions that were never learned
        windows = kt.data.SlidingWindows(as_stream(validation), length, batch_size=8)
        model.compile(loss=recipe["loss"], metrics=[kt.training.Perplexity()])
        result = model.evaluate(windows, verbose=0, return_dict=True)
        perplexity[str(length)] = result["perplexity"]
    return {
        "parameters": model.count_params(),
        "milliseconds": 1000 * seconds / (arguments.steps - 1),
        "perplexity": perplexity,
    }


def positions_table(results: dict, arguments: argparse.Namespace) -> str:
    """The table of the GPTs."""
    rows = [
        f"| | weights | a step | perplexity at {CONTEXT} | at {4 * CONTEXT} |",
        "|---|---|---|---|---|",
    ]
    for variant, result in results.items():
        known, beyond = (
            f"{result['perplexity'][str(n)]:.1f}" if str(n) in result["perplexity"] else "-"
            for n in (CONTEXT, 4 * CONTEXT)
        )
        step = f"{result['milliseconds']:.0f} ms"
        rows.append(f"| {variant} | {result['parameters']:,} | {step} | {known} | {beyond} |")
    return (
        f"{arguments.steps:,} batches of {BATCH_SIZE} x {CONTEXT} sub-words of WikiText-2 each, on "
        f"{arguments.backend}: {GPT['num_layers']} pre-LN blocks, width {GPT['hidden_dim']}, "
        f"{GPT_VOCABULARY:,} sub-words. Perplexity a sub-word on the validation text, each token "
        "with at least half a block before it. One seed.\n\n" + "\n".join(rows)
    )


def measure_translator(options: dict, arguments: argparse.Namespace) -> dict:
    """Trains one translator on few sentences; what it knows of them, and of others."""
    import keras

    import keras_transformer as kt

    keras.utils.set_random_seed(arguments.seed)
    train, validation, test = kt.datasets.tatoeba.load_data("fra")
    source, target = train.source[:PAIRS], train.target[:PAIRS]
    tokenizer = kt.data.train_tokenizer([*source, *target], TRANSLATOR_VOCABULARY)

    def encoded(texts, sampling=None):
        if sampling is None:
            return kt.data.encode(tokenizer, texts)
        rows = []
        for seed in range(SAMPLES):
            rows += kt.data.encode(tokenizer, texts, sampling=sampling, seed=seed)
        return rows

    def batches(source, target, **more):
        return kt.data.TranslationBatches(source, target, 1024, max_shapes=8, **more)

    sampling = options["sampling"]
    training = batches(encoded(source, sampling), encoded(target, sampling), seed=arguments.seed)
    model = kt.models.transformer(
        TRANSLATOR_VOCABULARY, **TRANSLATOR, dropout=options["dropout"], normalize_first=True
    )
    if options["l2"]:
        kt.training.add_l2(model, options["l2"])
    recipe = kt.training.transformer_recipe(
        TRANSLATOR["hidden_dim"], label_smoothing=options["label_smoothing"], learning_rate=2e-3
    )
    model.compile(recipe["optimizer"], recipe["loss"])
    model.fit(
        training, epochs=1000, verbose=0, callbacks=[kt.training.TimeBudget(arguments.minutes, 300)]
    )
    steps = int(model.optimizer.iterations)
    kt.training.add_l2(model, 0)
    model.compile(loss=kt.training.MaskedCrossentropy(), metrics=[kt.training.Perplexity()])

    def perplexity(source, target):
        data = batches(encoded(source), encoded(target), shuffle=False)
        return model.evaluate(data, verbose=0, return_dict=True)["perplexity"]

    sources, references = kt.datasets.tatoeba.references(test)
    translations = kt.Translator(model, tokenizer).translate(sources[:1000])
    passes = steps / len(training) * (1 if sampling is None else SAMPLES)
    return {
        "passes": passes,
        "known": perplexity(source, target),
        "new": perplexity(validation.source, validation.target),
        "bleu": bleu(translations, references[:1000]),
    }


def regularisation_table(results: dict, arguments: argparse.Namespace) -> str:
    """The table of the translators."""
    rows = ["| | passes | perplexity, seen sentences | new ones | BLEU |", "|---|---|---|---|---|"]
    for variant, result in results.items():
        cells = [f"{result['passes']:.0f}", f"{result['known']:.2f}", f"{result['new']:.1f}"]
        rows.append(f"| {variant} | {' | '.join(cells)} | {result['bleu']:.1f} |")
    return (
        f"{PAIRS:,} pairs of Tatoeba, {arguments.minutes:g} minutes each on {arguments.backend}: "
        f"{TRANSLATOR['num_layers']} + {TRANSLATOR['num_layers']} pre-LN blocks, width "
        f"{TRANSLATOR['hidden_dim']}, {TRANSLATOR_VOCABULARY:,} sub-words; BLEU of 1,000 held-out "
        f"sentences, greedily. Sub-words are sampled {SAMPLES} times. One seed.\n\n"
        + "\n".join(rows)
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
