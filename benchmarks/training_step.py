"""A training step compared with KerasHub's layers, plain PyTorch, and bare matrix products.

    python benchmarks/training_step.py --write docs/benchmarks.md

A translator with 4 + 4 layers, width 256, 4 heads, feed-forward width 1,024, two vocabularies of
8,000, an untied output matrix and dropout 0.1, on batches of 64 sentences of 32 tokens without
padding. Cross-entropy, Adam, and `model.fit` for the Keras systems with Keras's default compile
settings. Each system runs in a separate process, one at a time; a step is measured from the end of
one batch to the end of the next, without the work of `fit` before and after.

"Bare products" are the matrix products of such a step, forward and backward, and nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time

import numpy as np
from page import machine, shown_options, write_section
from processes import print_result, result_of
from products import products_of_step

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

VOCABULARY_SIZE = 8000
SIZE = {"num_layers": 4, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024}
BATCH, LENGTH, DROPOUT = 64, 32, 0.1
STEPS, EPOCHS = 6, 5
NAMES = {
    "ours": "keras_transformer",
    "keras_hub": "KerasHub's layers",
    "torch": "torch.nn.Transformer",
    "products": "bare products",
}
TITLE = "A training step"
BACKENDS = ("tensorflow", "jax", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), help="backends to run")
    parser.add_argument("--rounds", type=int, default=1, help="how often all systems take turns")
    parser.add_argument("--title", default=TITLE, help="title of the section")
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", help="run one system, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print_result(measure(arguments.measure))
        return
    runs = [(s, b) for b in arguments.backends for s in ("products", "ours", "keras_hub")]
    if "torch" in arguments.backends:
        runs.append(("torch", "torch"))
    results: dict = {run: [] for run in runs}
    for _ in range(arguments.rounds):
        for system, backend in runs:
            result = result_of(__file__, "--measure", system, KERAS_BACKEND=backend)
            print(f"{NAMES[system]} on {backend}: {result}", flush=True)
            results[system, backend].append(result)
    body = section(results, arguments)
    print(body)
    if arguments.write:
        write_section(arguments.write, arguments.title, body)


def milliseconds(value: float) -> str:
    """Milliseconds with a sensible number of digits."""
    return f"{value:,.0f}" if value > 20 else f"{value:.2f}"


def section(results: dict, arguments: argparse.Namespace) -> str:
    """The section with the table; ratios are taken within a round."""

    def ratio(run, other):
        if run == other or other not in results:
            return ""
        pairs = zip(results[run], results[other], strict=True)
        return f"{statistics.median(a['step'] / b['step'] for a, b in pairs):.2f}"

    def median(run, key):
        return statistics.median(result[key] for result in results[run])

    products = [run for run in results if run[0] == "products"]
    fastest = min(products, key=lambda run: median(run, "step"))
    rows = []
    for run in results:
        step = median(run, "step")
        cells = [
            f"{NAMES[run[0]]}, {run[1]}",
            milliseconds(step),
            milliseconds(median(run, "fastest")),
            ratio(run, ("keras_hub", run[1])),
            ratio(run, ("torch", "torch")),
            ratio(run, ("products", run[1])),
            ratio(run, fastest),
            f"{median(run, 'first'):.1f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    options = shown_options(arguments, backends=list(BACKENDS), rounds=1, title=TITLE)
    columns = (
        "system",
        "ms per step",
        "fastest, ms",
        "/ KerasHub's",
        "/ torch.nn.Transformer",
        "/ its bare products",
        f"/ bare products, {fastest[1]}",
        "first step, s",
    )
    head = "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|\n"
    return f"""```bash
python benchmarks/training_step.py{options} --write docs/benchmarks.md
```

{SIZE["num_layers"]} + {SIZE["num_layers"]} layers, width {SIZE["hidden_dim"]}, {BATCH} sentences of
{LENGTH} tokens, a vocabulary of {VOCABULARY_SIZE:,}, untied embeddings, dropout {DROPOUT}, Adam,
float32. The cross-entropy is `kt.training.MaskedCrossentropy` for our model, Keras's own for
KerasHub's layers and PyTorch's for PyTorch. Ratios compare times, so below 1 is faster; each is
the median over rounds in which all systems take turns. A step time is the median of
{EPOCHS * (STEPS - 1)} steps, each measured from the end of one batch to the end of the next.

{head}{chr(10).join(rows)}

{machine()}
"""


def measure(system: str) -> dict:
    """Seconds of the first step, and milliseconds of later steps."""
    epoch = {
        "ours": lambda: keras_epoch(*our_model()),
        "keras_hub": lambda: keras_epoch(*keras_hub_model()),
        "torch": torch_epoch,
        "products": products_epoch,
    }[system]()
    first, times = times_of(epoch)
    return {"first": first, "step": statistics.median(times), "fastest": min(times)}


def times_of(epoch) -> tuple[float, list[float]]:
    """Seconds of the first step, and the milliseconds of all steps in later epochs."""
    started = time.perf_counter()
    epoch(1)
    first = time.perf_counter() - started
    return first, [step for _ in range(EPOCHS) for step in epoch(STEPS)]


def timed_fit(model, inputs, labels, batch_size=BATCH) -> list[float]:
    """Runs `fit` for an epoch; milliseconds from the end of one batch to the end of the next."""
    import keras

    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    options = {"batch_size": batch_size, "epochs": 1, "verbose": 0, "shuffle": False}
    model.fit(inputs, labels, **options, callbacks=[clock])
    return between(ends)


def between(ends: list[float]) -> list[float]:
    """Milliseconds between successive times."""
    return [1000 * (end - start) for start, end in itertools.pairwise(ends)]


def data(steps: int) -> tuple[dict, np.ndarray]:
    """Random ids without padding."""
    shape = (steps * BATCH, LENGTH)
    source, target, labels = (
        np.random.default_rng(seed).integers(1, VOCABULARY_SIZE, shape).astype("int32")
        for seed in range(3)
    )
    return {"source_ids": source, "target_ids": target}, labels


def keras_epoch(model, loss):
    """Returns a function that runs `fit` on n batches."""
    import keras

    model.compile(keras.optimizers.Adam(1e-4), loss)

    def epoch(steps):
        inputs, labels = data(steps)
        return timed_fit(model, inputs, labels)

    return epoch


def our_model():
    """This library's model, pre-LN, with the loss of its recipes."""
    import keras_transformer as kt

    model = kt.models.transformer(
        VOCABULARY_SIZE,
        VOCABULARY_SIZE,
        **SIZE,
        dropout=DROPOUT,
        attention_dropout=DROPOUT,
        share_embeddings=False,
        normalize_first=True,
    )
    return model, kt.training.MaskedCrossentropy()


def keras_hub_model():
    """KerasHub's layers and Keras's loss, combined as in KerasHub's translation tutorial."""
    import keras
    import keras_hub

    def embed(ids):
        return keras_hub.layers.TokenAndPositionEmbedding(
            VOCABULARY_SIZE, LENGTH, SIZE["hidden_dim"]
        )(ids)

    options = {
        "num_heads": SIZE["num_heads"],
        "intermediate_dim": SIZE["intermediate_dim"],
        "dropout": DROPOUT,
        "normalize_first": True,
    }
    source = keras.Input((None,), dtype="int32", name="source_ids")
    target = keras.Input((None,), dtype="int32", name="target_ids")
    encoded = embed(source)
    for _ in range(SIZE["num_layers"]):
        encoded = keras_hub.layers.TransformerEncoder(**options)(encoded)
    decoded = embed(target)
    for _ in range(SIZE["num_layers"]):
        decoded = keras_hub.layers.TransformerDecoder(**options)(decoded, encoded)
    logits = keras.layers.Dense(VOCABULARY_SIZE)(keras.layers.Dropout(DROPOUT)(decoded))
    model = keras.Model({"source_ids": source, "target_ids": target}, logits)
    return model, keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def torch_epoch():
    """`torch.nn.Transformer` in a plain training loop."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    width = SIZE["hidden_dim"]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.source = nn.Embedding(VOCABULARY_SIZE, width)
            self.target = nn.Embedding(VOCABULARY_SIZE, width)
            self.positions = nn.Parameter(torch.zeros(LENGTH, width))
            layers = (SIZE["num_layers"],) * 2
            self.transformer = nn.Transformer(
                width,
                SIZE["num_heads"],
                *layers,
                SIZE["intermediate_dim"],
                DROPOUT,
                batch_first=True,
                norm_first=True,
            )
            self.logits = nn.Linear(width, VOCABULARY_SIZE)

        def forward(self, source, target):
            causal = nn.Transformer.generate_square_subsequent_mask(LENGTH, device=source.device)
            hidden = self.transformer(
                self.source(source) + self.positions,
                self.target(target) + self.positions,
                tgt_mask=causal,
                tgt_is_causal=True,
            )
            return self.logits(hidden)

    model = Model().to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    loss_function = nn.CrossEntropyLoss()

    def epoch(steps):
        inputs, labels = data(steps)
        arrays = (inputs["source_ids"], inputs["target_ids"], labels)
        source, target, labels = (torch.from_numpy(x).long().to(device) for x in arrays)
        ends = []
        for start in range(0, steps * BATCH, BATCH):
            rows = slice(start, start + BATCH)
            logits = model(source[rows], target[rows])
            loss = loss_function(logits.flatten(0, 1), labels[rows].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()
            ends.append(time.perf_counter())
        return between(ends)

    return epoch


def products_epoch():
    """The bare products of such a step."""
    width, inner = SIZE["hidden_dim"], SIZE["intermediate_dim"]
    # 4 in the encoder's attention and 8 in the decoder's two; one feed-forward network in each.
    kernels = ([(width, width)] * 12 + [(width, inner), (inner, width)] * 2) * SIZE["num_layers"]
    kernels.append((width, VOCABULARY_SIZE))
    return products_of_step(BATCH, LENGTH, SIZE["num_heads"], kernels, 3 * SIZE["num_layers"])


if __name__ == "__main__":
    main()
