"""Time of each part of a training step, measured by leaving the part out.

    python benchmarks/step_parts.py --write docs/benchmarks.md

The step of `training_step.py`, complete and with one part removed or reduced at a time, each in its
own process, and its bare matrix products. Parts overlap and compilers fuse them, so the differences
need not add up.
"""

from __future__ import annotations

import argparse
import os
import statistics

from page import machine, shown_options, write_section
from processes import print_result, result_of
from training_step import (
    BACKENDS,
    DROPOUT,
    EPOCHS,
    SIZE,
    STEPS,
    VOCABULARY_SIZE,
    data,
    products_epoch,
    timed_fit,
    times_of,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WHOLE = "the complete step"
VARIANTS = {
    WHOLE: {},
    "without any dropout": {"dropout": 0.0},
    "SGD instead of Adam": {"adam": False},
    "a vocabulary of 80 instead of 8,000": {"vocabulary_size": 80},
}
PRODUCTS = "bare products"
TITLE = "Where a training step goes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), help="backends to run")
    parser.add_argument("--rounds", type=int, default=1, help="how often all variants take turns")
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", help="run one variant, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print_result({"step": measure(arguments.measure)})
        return
    names = [*VARIANTS, PRODUCTS]
    runs = [(backend, name) for backend in arguments.backends for name in names]
    times: dict = {run: [] for run in runs}
    for _ in range(arguments.rounds):
        for backend, name in runs:
            result = result_of(__file__, "--measure", name, KERAS_BACKEND=backend)
            print(f"{name} on {backend}: {result}", flush=True)
            times[backend, name].append(result["step"])
    rows = []
    for name in names:
        cells = []
        for backend in arguments.backends:
            step = statistics.median(times[backend, name])
            less = statistics.median(times[backend, WHOLE]) - step
            cells.append(f"{step:,.0f}" + ("" if name == WHOLE else f" ({less:,.0f} less)"))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    head = f"| ms | {' | '.join(arguments.backends)} |\n|---{'|---' * len(arguments.backends)}|"
    options = shown_options(arguments, backends=list(BACKENDS), rounds=1)
    body = f"""```bash
python benchmarks/step_parts.py{options} --write docs/benchmarks.md
```

Our model, as in "A training step": the median of {EPOCHS * (STEPS - 1)} steps, with one part
removed or reduced at a time. Parts overlap, and compilers fuse them, so the differences need not
add up. With a vocabulary of 80, the output projection, the loss and the optimizer's work on three
large matrices almost disappear. TensorFlow's steps vary by some tens of milliseconds between
processes, depending on how its threads are placed on the cores.

{head}
{chr(10).join(rows)}

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, TITLE, body)


def measure(name: str) -> float:
    """Milliseconds per step of one variant."""
    epoch = products_epoch() if name == PRODUCTS else fit_epoch(**VARIANTS[name])
    return statistics.median(times_of(epoch)[1])


def fit_epoch(vocabulary_size: int = VOCABULARY_SIZE, dropout: float = DROPOUT, adam: bool = True):
    """Returns a function that runs `fit` on n batches."""
    import keras

    import keras_transformer as kt

    model = kt.models.transformer(
        vocabulary_size,
        vocabulary_size,
        **SIZE,
        dropout=dropout,
        attention_dropout=dropout,
        share_embeddings=False,
        normalize_first=True,
    )
    optimizer = keras.optimizers.Adam(1e-4) if adam else keras.optimizers.SGD(1e-4)
    model.compile(optimizer, kt.training.MaskedCrossentropy())

    def epoch(steps):
        inputs, labels = data(steps)
        inputs = {name: 1 + ids % (vocabulary_size - 1) for name, ids in inputs.items()}
        labels = 1 + labels % (vocabulary_size - 1)
        return timed_fit(model, inputs, labels)

    return epoch


if __name__ == "__main__":
    main()
