"""How soon a translator trained from scratch reaches BLEU 30, change by change.

    python benchmarks/speedrun.py --write docs/speedrun.md

English to French on Tatoeba with plain `model.fit`, on two cores. Each system trains for several
budgets of minutes, in a separate process for each budget and seed, one at a time; the learning rate
falls to 0 as the budget ends, so every figure is that of a finished training. Compiling counts,
scoring does not. BLEU is from greedy decoding of 2,000 held-out sentences; choices were made by
that of 500 other sentences (`--held-out validation`).

Results are kept in `--results`: what was measured there is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import statistics
import time
from pathlib import Path
from typing import Any

from page import machine, shown_options, write_between
from processes import print_result, result_of, use_all_cores
from translation import bleu, evaluate, run_torch

GOAL = 30.0
TRANSFORMER = {
    "num_layers": 3,
    "num_heads": 4,
    "hidden_dim": 256,
    "intermediate_dim": 1024,
    "dropout": 0.05,
    "normalize_first": True,
}
RECURRENT = {"cell": "gru", "attention": "bahdanau", "hidden_dim": 256, "dropout": 0.05}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One system: its model, its optimizer and its batches.

    Attributes:
        model: Arguments of `kt.models.transformer`, or of `kt.models.recurrent_seq2seq` if they
            name a cell.
        optimizer: "adam" or "muon".
        rate: Peak learning rate.
        warmup: Steps until the peak.
        clip: Maximum global norm of the gradients; None for no clipping.
        smoothing: Label smoothing.
        tokens: Tokens per batch.
        shapes: Maximum number of batch shapes.
        vocabulary: Number of subwords.
        dtype: Keras's dtype policy.
        xla: Whether TensorFlow compiles the step with XLA.
        averaged: Number of checkpoints to average, 40 steps apart.
        muon: Arguments of Keras's Muon.
    """

    model: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(TRANSFORMER))
    optimizer: str = "adam"
    rate: float = 2e-3
    warmup: int = 100
    clip: float | None = None
    smoothing: float = 0.1
    tokens: int = 1024
    shapes: int = 16
    vocabulary: int = 6000
    dtype: str = "float32"
    xla: bool = False
    averaged: int = 5
    muon: dict[str, Any] = dataclasses.field(default_factory=dict)

    def but(self, **changes: Any) -> Setting:
        """The same with changes; those of `model` and `muon` are merged."""
        for name in ("model", "muon"):
            if name in changes:
                changes[name] = {**getattr(self, name), **changes[name]}
        return dataclasses.replace(self, **changes)


BASE = Setting()
SETTINGS = {
    "GRU with Bahdanau's attention": Setting(RECURRENT, rate=3e-3, clip=1.0),
    "Transformer, as in the benchmark": BASE,
}
PYTORCH = "torch.nn.Transformer"
SYSTEMS = [*SETTINGS, PYTORCH]
# Options of the table and their defaults.
OPTIONS = {
    "systems": SYSTEMS,
    "minutes": [2, 4, 12],
    "seeds": [1, 2, 3],
    "backend": "tensorflow",
    "held_out": "test",
    "change": "{}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", help="systems to run, by name")
    parser.add_argument("--minutes", nargs="+", type=float, help="budgets")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--backend", help="backend of all systems of ours")
    parser.add_argument("--held-out", choices=("test", "validation"))
    parser.add_argument("--change", help="JSON: changes to try on each system")
    parser.set_defaults(**OPTIONS)
    parser.add_argument("--results", type=Path, default=Path("runs/speedrun"))
    parser.add_argument("--write", help="Markdown page to write the table to")
    parser.add_argument("--system", help="run one training, print JSON")
    parser.add_argument("--smoke", action="store_true", help="tiny models and little data")
    arguments = parser.parse_args()
    if arguments.system:
        print_result(measure(arguments))
        return
    use_all_cores()
    runs = [
        (system, minutes, seed)
        for minutes in sorted(arguments.minutes)
        for seed in arguments.seeds
        for system in arguments.systems
    ]
    results = {run: kept(run, arguments) for run in runs}
    body = section(results, arguments)
    print(body)
    if arguments.write:
        write_between(arguments.write, "speedrun", body)


def kept(run: tuple[str, float, int], arguments: argparse.Namespace) -> dict:
    """The result of one training, measured now unless it was before."""
    system, minutes, seed = run
    name = "-".join([system, f"{minutes:g}", str(seed), arguments.held_out, arguments.backend])
    if arguments.change != "{}":
        name += "-" + arguments.change
    path = arguments.results / f"{''.join(c if c.isalnum() else '-' for c in name)}.json"
    if path.is_file():
        return json.loads(path.read_text())
    options = ["--system", system, "--minutes", str(minutes), "--seeds", str(seed)]
    options += ["--held-out", arguments.held_out, "--change", arguments.change]
    backend = "torch" if system == PYTORCH else arguments.backend
    options += ["--backend", backend, *(["--smoke"] if arguments.smoke else [])]
    result = result_of(__file__, *options, KERAS_BACKEND=backend)
    print(f"{name}: {result}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return result


def measure(arguments: argparse.Namespace) -> dict:
    """Trains one system for one budget with one seed, and scores it."""
    minutes, seed = arguments.minutes[0], arguments.seeds[0]
    if arguments.system == PYTORCH:
        torch_options = argparse.Namespace(minutes=minutes, seed=seed, dropout=0.05)
        return run_torch(torch_options, arguments.held_out)
    import keras

    import keras_transformer as kt

    setting = SETTINGS[arguments.system].but(**json.loads(arguments.change))
    if arguments.smoke:
        setting = smaller(setting)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(setting.dtype)
    tokenizer, batches, validation, (sources, references) = load(setting, arguments, seed)
    model = compiled(setting)
    started = time.perf_counter()
    model.fit(
        batches,
        epochs=1000,
        verbose=2,
        callbacks=[
            kt.training.TimeBudget(minutes, setting.warmup),
            kt.training.CheckpointAveraging(setting.averaged, save_freq=40),
        ],
    )
    seconds = time.perf_counter() - started
    steps = int(model.optimizer.iterations)
    translations = kt.Translator(model, tokenizer).translate(sources)
    return {
        "parameters": model.count_params(),
        "steps": steps,
        "minutes": seconds / 60,
        "tokens_per_second": batches.num_target_tokens / len(batches) * steps / seconds,
        "perplexity": evaluate(model, validation),
        "bleu": bleu(translations, references),
    }


def smaller(setting: Setting) -> Setting:
    """The same with a model, a vocabulary and batches for a test."""
    sizes = {"hidden_dim": 32} | ({} if "cell" in setting.model else {"intermediate_dim": 64})
    return setting.but(model=sizes, vocabulary=600, shapes=1)


def load(setting: Setting, arguments: argparse.Namespace, seed: int):
    """Tokenizer, batches to train on and to validate with, and held-out sentences."""
    import keras_transformer as kt

    train, validation, test = kt.datasets.tatoeba.load_data("fra")
    if arguments.smoke:
        train, validation, test = (
            type(part)(part.source[:count], part.target[:count])
            for part, count in ((train, 2000), (validation, 30), (test, 30))
        )
    tokenizer = kt.data.train_tokenizer([*train.source, *train.target], setting.vocabulary)

    def batches(pairs, **options):
        return kt.data.TranslationBatches(
            kt.data.encode(tokenizer, pairs.source),
            kt.data.encode(tokenizer, pairs.target),
            tokens_per_batch=setting.tokens,
            max_shapes=setting.shapes,
            **options,
        )

    held_out = test if arguments.held_out == "test" else validation
    return (
        tokenizer,
        batches(train, seed=seed),
        batches(validation, shuffle=False),
        kt.datasets.tatoeba.references(held_out),
    )


def compiled(setting: Setting):
    """The model, ready for `fit`."""
    import keras

    import keras_transformer as kt

    build = kt.models.recurrent_seq2seq if "cell" in setting.model else kt.models.transformer
    model = build(setting.vocabulary, **setting.model)
    recipe = kt.training.transformer_recipe(
        setting.model["hidden_dim"],
        label_smoothing=setting.smoothing,
        learning_rate=setting.rate,
        clip_norm=setting.clip,
    )
    optimizer = recipe["optimizer"]
    if setting.optimizer == "muon":
        options = {"weight_decay": None, "adam_weight_decay": None, "adam_beta_2": 0.98}
        optimizer = keras.optimizers.Muon(
            setting.rate, global_clipnorm=setting.clip, **{**options, **setting.muon}
        )
    jit_compile = setting.xla if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, recipe["loss"], jit_compile=jit_compile)
    return model


def minutes_to_goal(scores: dict[float, float]) -> float | None:
    """Minutes at which the mean BLEU passes the goal, between the budgets that enclose it.

    Args:
        scores: BLEU by minutes, at least one.

    Returns:
        A straight line's value between the last budget below the goal and the first one at it, the
        first budget if that is reached at once, or None if no budget reaches the goal.
    """
    before = None
    for minutes, score in sorted(scores.items()):
        if score >= GOAL:
            if before is None:
                return minutes
            share = (GOAL - before[1]) / (score - before[1])
            return before[0] + share * (minutes - before[0])
        before = minutes, score
    return None


def section(results: dict, arguments: argparse.Namespace) -> str:
    """The part of the page with the table."""
    budgets = sorted(arguments.minutes)
    rows = []
    for system in arguments.systems:
        some = results[system, budgets[0], arguments.seeds[0]]
        means, cells = {}, [system, f"{some['parameters']:,}"]
        for minutes in budgets:
            scores = [results[system, minutes, seed]["bleu"] for seed in arguments.seeds]
            means[minutes] = statistics.fmean(scores)
            listed = " / ".join(f"{score:.1f}" for score in scores)
            cells.append(f"**{means[minutes]:.1f}** ({listed})" if len(scores) > 1 else listed)
        reached = minutes_to_goal(means)
        cells.append(f"more than {budgets[-1]:g}" if reached is None else f"{reached:.1f}")
        rows.append("| " + " | ".join(cells) + " |")
    columns = ["system", "parameters", *(f"BLEU, {minutes:g} min" for minutes in budgets)]
    columns.append(f"minutes to BLEU {GOAL:g}")
    command = f"python benchmarks/speedrun.py{shown_options(arguments, **OPTIONS)}"
    if arguments.write:
        command += f" --write {shlex.quote(arguments.write)}"
    head = "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|\n"
    return f"```bash\n{command}\n```\n\n{head}{chr(10).join(rows)}\n\n{machine()}\n"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
