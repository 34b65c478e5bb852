"""Translation compared with plain PyTorch and KerasHub's layers: same data, recipe, size and test.

    python benchmarks/translation.py --write docs/benchmarks.md

Each system runs in a separate process, one at a time: ours on TensorFlow (or on `--backend`);
`torch.nn.Transformer` of the same size, pre-LN, with the same tokenizer, batches and training time;
and KerasHub's encoder and decoder layers on TensorFlow, with sentences padded to 40 tokens in
batches of 64, as in KerasHub's translation tutorial, and 2.5 times the training time. Label
smoothing and checkpoint averaging are the same. For all of them, the learning rate warms up for a
number of steps, then decays with elapsed time and reaches 0 when the time is up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time

from page import machine, write_section
from processes import use_all_cores

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SIZE = {"num_layers": 3, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024}
VOCABULARY_SIZE = 6000
TOKENS_PER_BATCH = 1024
PEAK_LEARNING_RATE = 2e-3
WARMUP_STEPS = 100
LABEL_SMOOTHING = 0.1
NUM_CHECKPOINTS = 5
CHECKPOINT_STEPS = 40
FIXED_LENGTH, FIXED_BATCH = 40, 64  # as in KerasHub's tutorial
MORE_MINUTES = 2.5
SYSTEMS = ("ours", "torch", "keras_hub")
TITLE = "Translation: minutes and BLEU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="training time of each system")
    parser.add_argument("--backend", default="tensorflow", help="backend for ours")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--write", help="Markdown file to write the table to")
    parser.add_argument("--system", choices=SYSTEMS, help="run one system, print JSON")
    arguments = parser.parse_args()
    if arguments.system:
        backends = {"ours": arguments.backend, "torch": "torch", "keras_hub": "tensorflow"}
        os.environ["KERAS_BACKEND"] = backends[arguments.system]
        run = {"ours": run_ours, "torch": run_torch, "keras_hub": run_keras_hub}
        print("RESULT " + json.dumps(run[arguments.system](arguments)))
        return
    use_all_cores()
    results = [run_in_process(system, arguments) for system in SYSTEMS]
    body = make_section(results, arguments)
    print(body)
    if arguments.write:
        write_section(arguments.write, TITLE, body)


def run_in_process(system: str, arguments: argparse.Namespace) -> dict:
    """Runs one system in its own process, showing its progress; returns its results."""
    command = [sys.executable, __file__, "--system", system]
    options = {name: getattr(arguments, name) for name in ("backend", "seed", "dropout")}
    options["minutes"] = arguments.minutes * (MORE_MINUTES if system == "keras_hub" else 1)
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    result = None
    for line in process.stdout:
        if line.startswith("RESULT "):
            result = json.loads(line.removeprefix("RESULT "))
        else:
            print(line, end="", flush=True)
    if process.wait() or result is None:
        raise SystemExit(f"The run of {system!r} failed with status {process.returncode}.")
    return result


def load(arguments: argparse.Namespace, num_test: int = 2000, held_out: str = "test"):
    """Returns tokenizer, training pairs, batches for training and validation, and held-out data.

    The latter are sentences with their references, from the "test" or the "validation" set.
    """
    import keras

    import keras_transformer as kt

    keras.utils.set_random_seed(arguments.seed)
    train, validation, test = kt.datasets.tatoeba.load_data("fra", num_test=num_test)
    tokenizer = kt.data.train_tokenizer([*train.source, *train.target], VOCABULARY_SIZE)

    def batches(pairs, **options):
        return kt.data.TranslationBatches(
            kt.data.encode(tokenizer, pairs.source),
            kt.data.encode(tokenizer, pairs.target),
            tokens_per_batch=TOKENS_PER_BATCH,
            **options,
        )

    training = batches(train, seed=arguments.seed)
    references = kt.datasets.tatoeba.references(test if held_out == "test" else validation)
    return tokenizer, train, training, batches(validation, shuffle=False), references


def endless(batches):
    """Yields batches, epoch after epoch."""
    while True:
        for index in range(len(batches)):
            yield batches[index]
        batches.on_epoch_end()


def bleu(translations, references) -> float:
    """Multi-reference BLEU of sacreBLEU, which expects the references as columns."""
    import sacrebleu

    streams = list(itertools.zip_longest(*references))
    return sacrebleu.corpus_bleu(translations, streams).score


def padded(rows, length: int):
    """Rows of ids as int32 (number of rows, length), truncated or padded."""
    import numpy as np

    array = np.zeros((len(rows), length), "int32")
    for row, ids in zip(array, rows, strict=True):
        row[: len(ids)] = ids[:length]
    return array


def translate_greedily(tokenizer, sources, begin, limit=None, batch_size: int = 64) -> list[str]:
    """Greedy decoding without a cache; it is not part of the measured time.

    Args:
        tokenizer: the tokenizer of the model's ids.
        sources: sentences.
        begin: takes source ids (B, S); returns a function from the generated ids (B, T) to the
            logits of the next token (B, V), as a writable array.
        limit: maximum number of new tokens; None for 50 more than the source length.
        batch_size: B, number of sentences per batch.
    """
    import numpy as np

    import keras_transformer as kt

    rows = kt.data.encode(tokenizer, sources, end=True)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))  # short ones end early
    never = [kt.data.PADDING_ID, kt.data.UNKNOWN_ID, kt.data.START_ID]
    texts = [""] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = len(rows[chosen[-1]])
        next_logits = begin(padded([rows[index] for index in chosen], longest))
        target = np.full((len(chosen), 1), kt.data.START_ID, "int32")
        done = np.zeros(len(chosen), bool)
        for _ in range(longest + 50 if limit is None else limit):
            logits = next_logits(target)
            logits[:, never] = -np.inf
            token = np.where(done, kt.data.END_ID, logits.argmax(-1)).astype("int32")
            target = np.concatenate([target, token[:, None]], axis=1)
            done |= token == kt.data.END_ID
            if done.all():
                break
        for index, text in zip(chosen, kt.data.decode(tokenizer, target[:, 1:]), strict=True):
            texts[index] = text
    return texts


def run_ours(arguments: argparse.Namespace) -> dict:
    """Trains our model on batches of equal token counts and translates with `kt.Translator`."""
    import keras

    import keras_transformer as kt

    tokenizer, _, batches, validation, (sources, references) = load(arguments)
    model = kt.models.transformer(
        VOCABULARY_SIZE, **SIZE, dropout=arguments.dropout, normalize_first=True
    )
    without_xla = False if keras.backend.backend() == "tensorflow" else "auto"
    result = fit(model, batches, batches.num_target_tokens, arguments, without_xla)
    translations = kt.Translator(model, tokenizer).translate(sources)
    return {
        "name": f"keras_transformer, {arguments.backend}",
        **result,
        "perplexity": evaluate(model, validation),
        "bleu": bleu(translations, references),
    }


def run_keras_hub(arguments: argparse.Namespace) -> dict:
    """Trains KerasHub's layers on sentences of one length, with Keras's compile defaults."""
    import numpy as np

    import keras_transformer as kt

    tokenizer, train, _, validation, (sources, references) = load(arguments)

    source, targets = (
        padded(kt.data.encode(tokenizer, texts, end=True), FIXED_LENGTH)
        for texts in (train.source, train.target)
    )
    inputs = np.pad(targets, ((0, 0), (1, 0)), constant_values=kt.data.START_ID)[:, :-1]
    inputs[inputs == kt.data.END_ID] = kt.data.PADDING_ID
    model = keras_hub_model(arguments.dropout)
    data = {"source_ids": source, "target_ids": inputs}
    result = fit(model, data, int((targets != 0).sum()), arguments, "auto", targets)

    def begin(source):
        source = source[:, :FIXED_LENGTH]
        return lambda target: np.array(model({"source_ids": source, "target_ids": target})[:, -1])

    translations = translate_greedily(tokenizer, sources, begin, FIXED_LENGTH - 1)
    return {
        "name": "KerasHub's layers, tensorflow",
        **result,
        "perplexity": evaluate(model, validation),
        "bleu": bleu(translations, references),
    }


def fit(
    model,
    data,
    num_target_tokens,
    arguments,
    jit_compile,
    labels=None,
    learning_rate=PEAK_LEARNING_RATE,
    clip_norm=None,
) -> dict:
    """Trains for the given time; returns the results for the table."""
    import keras_transformer as kt

    recipe = kt.training.transformer_recipe(
        SIZE["hidden_dim"],
        label_smoothing=LABEL_SMOOTHING,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
    )
    model.compile(recipe["optimizer"], recipe["loss"], jit_compile=jit_compile)
    started = time.perf_counter()
    model.fit(
        data,
        labels,
        batch_size=None if labels is None else FIXED_BATCH,
        epochs=1000,
        verbose=2,
        callbacks=[
            kt.training.TimeBudget(arguments.minutes, WARMUP_STEPS),
            kt.training.CheckpointAveraging(NUM_CHECKPOINTS, CHECKPOINT_STEPS),
        ],
    )
    seconds = time.perf_counter() - started
    steps = int(model.optimizer.iterations)
    steps_of_epoch = len(data) if labels is None else -(-len(labels) // FIXED_BATCH)
    tokens = num_target_tokens * steps / steps_of_epoch
    return figures(model.count_params(), steps, tokens, seconds)


def evaluate(model, validation) -> float:
    """Perplexity per token."""
    import keras

    import keras_transformer as kt

    model.compile(
        loss=kt.training.MaskedCrossentropy(),
        weighted_metrics=[],
        metrics=[kt.training.Perplexity()],
        jit_compile=keras.backend.backend() == "jax",  # without it, JAX does not compile the step
    )
    return model.evaluate(validation, verbose=0, return_dict=True)["perplexity"]


def figures(parameters, steps, tokens, seconds) -> dict:
    """The results of a training for the table."""
    return {
        "parameters": parameters,
        "steps": steps,
        "minutes": seconds / 60,
        "tokens_per_second": tokens / seconds,
    }


def keras_hub_model(dropout: float):
    """KerasHub's layers, pre-LN, with one embedding for both languages and the logits."""
    import keras
    import keras_hub

    # More positions than are trained, for a few longer sentences in the perplexity data.
    embedding = keras_hub.layers.TokenAndPositionEmbedding(
        VOCABULARY_SIZE, 256, SIZE["hidden_dim"], mask_zero=True
    )
    options = {
        "num_heads": SIZE["num_heads"],
        "intermediate_dim": SIZE["intermediate_dim"],
        "dropout": dropout,
        "normalize_first": True,
    }
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in ("source_ids", "target_ids")
    }
    encoded = embedding(inputs["source_ids"])
    for _ in range(SIZE["num_layers"]):
        encoded = keras_hub.layers.TransformerEncoder(**options)(encoded)
    encoded = keras.layers.LayerNormalization()(encoded)
    decoded = embedding(inputs["target_ids"])
    for _ in range(SIZE["num_layers"]):
        decoded = keras_hub.layers.TransformerDecoder(**options)(decoded, encoded)
    decoded = keras.layers.LayerNormalization()(decoded)
    return keras.Model(inputs, embedding.token_embedding(decoded, reverse=True))


def run_torch(arguments: argparse.Namespace, held_out: str = "test") -> dict:
    """Trains `torch.nn.Transformer` in a plain loop, and scores it on held-out sentences."""
    import torch

    import keras_transformer as kt

    tokenizer, _, batches, validation, (sources, references) = load(arguments, held_out=held_out)
    torch.manual_seed(arguments.seed)
    model = torch_model(arguments.dropout)
    step, checkpoints, steps = torch_step(model), [], 0
    stream = endless(batches)
    budget = kt.training.TimeBudget(arguments.minutes, WARMUP_STEPS)
    started = time.perf_counter()
    while (used := (time.perf_counter() - started) / (60 * arguments.minutes)) < 1.0:
        loss = step(next(stream), PEAK_LEARNING_RATE * budget.factor(steps + 1, used))
        steps += 1
        if steps % CHECKPOINT_STEPS == 0:
            checkpoints.append({k: v.clone() for k, v in model.state_dict().items()})
            checkpoints = checkpoints[-NUM_CHECKPOINTS:]
        if steps % 500 == 0:
            print(f"torch: {steps} steps, loss {loss:.3f}", flush=True)
    seconds = time.perf_counter() - started
    if checkpoints:
        mean = {k: sum(c[k] for c in checkpoints) / len(checkpoints) for k in checkpoints[0]}
        model.load_state_dict(mean)
    parameters = sum(p.numel() for p in model.parameters())
    tokens = batches.num_target_tokens * steps / len(batches)
    return {
        "name": "torch.nn.Transformer",
        **figures(parameters, steps, tokens, seconds),
        "perplexity": torch_perplexity(model, validation),
        "bleu": bleu(translate_greedily(tokenizer, sources, torch_begin(model)), references),
    }


def torch_model(dropout: float):
    """`torch.nn.Transformer` with one shared embedding and sinusoidal positions."""
    import math

    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            width = SIZE["hidden_dim"]
            self.embedding = nn.Embedding(VOCABULARY_SIZE, width, padding_idx=0)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)
            self.dropout = nn.Dropout(dropout)
            self.transformer = nn.Transformer(
                width,
                SIZE["num_heads"],
                SIZE["num_layers"],
                SIZE["num_layers"],
                SIZE["intermediate_dim"],
                dropout,
                batch_first=True,
                norm_first=True,
            )
            angles = torch.arange(512)[:, None] * torch.exp(
                torch.arange(0, width, 2) * (-math.log(10000.0) / width)
            )
            positions = torch.stack([angles.sin(), angles.cos()], -1).reshape(512, width)
            self.register_buffer("positions", positions)

        def embed(self, ids):
            x = self.embedding(ids) * self.embedding.embedding_dim**0.5
            return self.dropout(x + self.positions[: ids.shape[1]])

        def encode(self, source):
            return self.transformer.encoder(self.embed(source), src_key_padding_mask=source == 0)

        def decode(self, target, encoded, source):
            length = target.shape[1]
            causal = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
            hidden = self.transformer.decoder(
                self.embed(target),
                encoded,
                tgt_mask=causal,
                tgt_key_padding_mask=target == 0,
                memory_key_padding_mask=source == 0,
                tgt_is_causal=True,
            )
            return hidden @ self.embedding.weight.T

    model = Model()
    for name, parameter in model.transformer.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


def torch_batch(batch):
    """Source, target and labels, without rows that only pad the batch."""
    import torch

    inputs, labels = batch
    keep = torch.from_numpy(inputs["source_ids"][:, 0] != 0)
    arrays = (inputs["source_ids"], inputs["target_ids"], labels)
    return [torch.from_numpy(array).long()[keep] for array in arrays]


def torch_perplexity(model, batches) -> float:
    """Exponential of the mean negative log-likelihood over all tokens."""
    import math

    import torch
    from torch import nn

    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for index in range(len(batches)):
            source, target, labels = torch_batch(batches[index])
            logits = model.decode(target, model.encode(source), source)
            total += nn.functional.cross_entropy(
                logits.reshape(-1, VOCABULARY_SIZE),
                labels.reshape(-1),
                ignore_index=0,
                reduction="sum",
            ).item()
            count += int((labels != 0).sum())
    return math.exp(total / count)


def torch_step(model):
    """One optimizer step of the paper's Adam on one batch."""
    import torch
    from torch import nn

    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9)
    loss_function = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=LABEL_SMOOTHING)

    def step(batch, learning_rate):
        source, target, labels = torch_batch(batch)
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad(set_to_none=True)
        logits = model.decode(target, model.encode(source), source)
        loss = loss_function(logits.reshape(-1, VOCABULARY_SIZE), labels.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_begin(model):
    """The `begin` function of `translate_greedily` for PyTorch: encodes the source once."""
    import torch

    def begin(source):
        source = torch.from_numpy(source).long()
        with torch.no_grad():
            encoded = model.encode(source)

        def next_logits(target):
            with torch.no_grad():
                return model.decode(torch.from_numpy(target).long(), encoded, source)[:, -1].numpy()

        return next_logits

    model.eval()
    return begin


def make_section(results: list[dict], arguments: argparse.Namespace) -> str:
    """The section of docs/benchmarks.md."""
    rows = "\n".join(
        f"| {r['name']} | {r['parameters']:,} | {r['minutes']:.1f} | {r['steps']:,} "
        f"| {r['tokens_per_second']:,.0f} | {r['perplexity']:.2f} | {r['bleu']:.2f} |"
        for r in results
    )
    return f"""```bash
python benchmarks/translation.py --minutes {arguments.minutes:g} --write docs/benchmarks.md
```

English to French on Tatoeba. All systems have the same vocabulary of {VOCABULARY_SIZE:,} subwords,
size ({SIZE["num_layers"]} + {SIZE["num_layers"]} layers, width {SIZE["hidden_dim"]}, pre-LN),
dropout of {arguments.dropout:g} and label smoothing of {LABEL_SMOOTHING}. Adam's learning rate
warms up for {WARMUP_STEPS} steps and decays linearly with time, from {PEAK_LEARNING_RATE} at the
start to 0 at the end; the last {NUM_CHECKPOINTS} checkpoints are averaged. Perplexity is per
subword on the validation sentences; BLEU is from greedy decoding of the same 2,000 held-out English
sentences (sacreBLEU, all references). Each system runs in a separate process, one at a time;
minutes are training time, including compilation. Our model and PyTorch's use the same batches of
{TOKENS_PER_BATCH:,} tokens. KerasHub's layers use batches of {FIXED_BATCH} sentences padded to
{FIXED_LENGTH} tokens and train for {MORE_MINUTES} times as long. `torch.nn.Transformer` also
applies dropout to attention weights and activations, at the same rate. TensorFlow uses two threads
per core.

| system | parameters | minutes | steps | target tokens per second | perplexity | BLEU |
|---|---|---|---|---|---|---|
{rows}

{machine()}
"""


if __name__ == "__main__":
    main()
