"""Ours against plain PyTorch: the same data, batches, recipe and minutes.

    python benchmarks/translation.py --minutes 10 --write docs/benchmarks.md

Each system runs in a process of its own, alone on the machine: ours on TensorFlow (or the backend
of `--backend`), then `torch.nn.Transformer` of the same size, pre-LN, with the same tokeniser, the
same batches, label smoothing and averaging of the last checkpoints. The clock drives the learning
rate of both, after a warm-up in steps: down to 0 just as the minutes end, whatever the pace.
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SIZE = {"num_layers": 3, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024}
VOCABULARY_SIZE = 6000
TOKENS_PER_BATCH = 1024
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 400
LABEL_SMOOTHING = 0.1
NUM_CHECKPOINTS = 5
CHECKPOINT_STEPS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="training time of each system")
    parser.add_argument("--backend", default="tensorflow", help="backend that ours runs on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--write", help="Markdown file to write the table to")
    parser.add_argument("--system", choices=("ours", "torch"), help="run one, print JSON")
    arguments = parser.parse_args()
    if arguments.system:
        os.environ["KERAS_BACKEND"] = arguments.backend if arguments.system == "ours" else "torch"
        run = run_ours if arguments.system == "ours" else run_torch
        print("RESULT " + json.dumps(run(arguments)))
        return
    results = [run_in_process(system, arguments) for system in ("ours", "torch")]
    body = make_section(results, arguments)
    print(body)
    if arguments.write:
        write_section(arguments.write, "Translation: ours against PyTorch, the same minutes", body)


def run_in_process(system: str, arguments: argparse.Namespace) -> dict:
    """Runs one system alone, its progress going to the terminal, and returns its figures."""
    command = [sys.executable, __file__, "--system", system]
    for name in ("minutes", "backend", "seed", "dropout"):
        command += [f"--{name}", str(getattr(arguments, name))]
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


def load(arguments: argparse.Namespace):
    """The data that both systems share: tokeniser, batches for training and validation, test."""
    import keras

    import keras_transformer as kt

    keras.utils.set_random_seed(arguments.seed)
    train, validation, test = kt.datasets.tatoeba.load_data("fra")
    tokenizer = kt.data.train_tokenizer([*train.source, *train.target], VOCABULARY_SIZE)

    def batches(pairs, **options):
        return kt.data.TranslationBatches(
            kt.data.encode(tokenizer, pairs.source),
            kt.data.encode(tokenizer, pairs.target),
            tokens_per_batch=TOKENS_PER_BATCH,
            **options,
        )

    training = batches(train, seed=arguments.seed)
    references = kt.datasets.tatoeba.references(test)
    return tokenizer, training, batches(validation, shuffle=False), references


def endless(batches):
    """Batches of epoch after epoch."""
    while True:
        for index in range(len(batches)):
            yield batches[index]
        batches.on_epoch_end()


def bleu(translations, references) -> float:
    """Multi-reference BLEU of sacreBLEU, which wants the references as columns."""
    import sacrebleu

    streams = list(itertools.zip_longest(*references))
    return sacrebleu.corpus_bleu(translations, streams).score


def run_ours(arguments: argparse.Namespace) -> dict:
    """Trains ours with `model.fit`, and translates with `kt.Translator`."""
    import keras

    import keras_transformer as kt

    tokenizer, batches, validation, (sources, references) = load(arguments)

    model = kt.models.transformer(
        VOCABULARY_SIZE, **SIZE, dropout=arguments.dropout, normalize_first=True
    )
    recipe = kt.training.transformer_recipe(
        SIZE["hidden_dim"], label_smoothing=LABEL_SMOOTHING, learning_rate=PEAK_LEARNING_RATE
    )
    model.compile(
        optimizer=recipe["optimizer"],
        loss=recipe["loss"],
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    started = time.perf_counter()
    model.fit(
        batches,
        epochs=1000,
        verbose=2,
        callbacks=[
            kt.training.TimeBudget(arguments.minutes, WARMUP_STEPS),
            kt.training.CheckpointAveraging(NUM_CHECKPOINTS, CHECKPOINT_STEPS),
        ],
    )
    seconds = time.perf_counter() - started
    steps = int(model.optimizer.iterations)
    model.compile(loss=recipe["loss"], weighted_metrics=[], metrics=[kt.training.Perplexity()])
    scores = {
        "perplexity": model.evaluate(validation, verbose=0, return_dict=True)["perplexity"],
        "bleu": bleu(kt.Translator(model, tokenizer).translate(sources), references),
    }
    name = f"keras_transformer, {arguments.backend}"
    return figures(name, model.count_params(), steps, batches, seconds, scores)


def figures(name, parameters, steps, batches, seconds, scores) -> dict:
    """What the table shows of one run."""
    tokens = batches.num_target_tokens * steps / len(batches)
    return {
        "name": name,
        "parameters": parameters,
        "steps": steps,
        "minutes": seconds / 60,
        "tokens_per_second": tokens / seconds,
        **scores,
    }


def run_torch(arguments: argparse.Namespace) -> dict:
    """Trains plain `torch.nn.Transformer` with a plain loop."""
    import torch

    import keras_transformer as kt

    tokenizer, batches, validation, (sources, references) = load(arguments)
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
    scores = {
        "perplexity": torch_perplexity(model, validation),
        "bleu": bleu(torch_translate(model, tokenizer, sources), references),
    }
    parameters = sum(p.numel() for p in model.parameters())
    return figures("torch.nn.Transformer", parameters, steps, batches, seconds, scores)


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
    """Source, target and labels, without the rows that only fill the batch."""
    import torch

    inputs, labels = batch
    keep = torch.from_numpy(inputs["source_ids"][:, 0] != 0)
    arrays = (inputs["source_ids"], inputs["target_ids"], labels)
    return [torch.from_numpy(array).long()[keep] for array in arrays]


def torch_perplexity(model, batches) -> float:
    """Exp of the mean negative log-likelihood over all tokens."""
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


def torch_translate(model, tokenizer, sources, batch_size: int = 64) -> list[str]:
    """Greedy decoding, whole prefix each step: it is not part of the measured minutes."""
    import torch

    import keras_transformer as kt

    encoded_sources = kt.data.encode(tokenizer, sources, end=True)
    order = sorted(range(len(sources)), key=lambda index: len(encoded_sources[index]))
    results = [""] * len(sources)
    model.eval()
    with torch.no_grad():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            longest = max(len(encoded_sources[index]) for index in chosen)
            source = torch.zeros(len(chosen), longest, dtype=torch.long)
            for row, index in enumerate(chosen):
                source[row, : len(encoded_sources[index])] = torch.tensor(encoded_sources[index])
            encoded = model.encode(source)
            target = torch.full((len(chosen), 1), kt.data.START_ID)
            done = torch.zeros(len(chosen), dtype=torch.bool)
            for _ in range(longest + 50):
                logits = model.decode(target, encoded, source)[:, -1]
                logits[:, [0, 1, 2]] = -torch.inf
                token = torch.where(done, kt.data.END_ID, logits.argmax(-1))
                target = torch.cat([target, token[:, None]], 1)
                done |= token == kt.data.END_ID
                if done.all():
                    break
            texts = kt.data.decode(tokenizer, target[:, 1:].numpy())
            for index, text in zip(chosen, texts, strict=True):
                results[index] = text
    return results


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

English to French on Tatoeba: the same {VOCABULARY_SIZE:,} sub-words, batches of
{TOKENS_PER_BATCH:,} tokens, size ({SIZE["num_layers"]} + {SIZE["num_layers"]} layers, width
{SIZE["hidden_dim"]}, pre-LN), dropout {arguments.dropout:g}, label smoothing {LABEL_SMOOTHING},
Adam with a learning rate that rises for {WARMUP_STEPS} steps and falls linearly from
{PEAK_LEARNING_RATE} at the first second to 0 at the last, average of the last {NUM_CHECKPOINTS}
checkpoints. Perplexity a sub-word on the validation sentences; BLEU from greedy decoding of the
same 2,000 held-out English sentences (sacreBLEU, all their references). Each system runs alone in a
process of its own; the minutes are those of training, compilation included.
`torch.nn.Transformer` also drops attention weights and activations at the same rate.

| system | parameters | minutes | steps | target tokens a second | perplexity | BLEU |
|---|---|---|---|---|---|---|
{rows}

{machine()}
"""


if __name__ == "__main__":
    main()
