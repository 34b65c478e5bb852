"""Shared by the fine-tuning examples: arguments, the pretrained GPT, and its training."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import keras_transformer as kt

MAX_LENGTH = 96


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--pretrained", default="runs/gpt", help="output folder of examples/train_gpt.py"
    )
    parser.add_argument(
        "--pretrain-minutes", type=float, default=10.0, help="pretraining time if there is no GPT"
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, help="peak; default 5e-4, LoRA 2e-3")
    parser.add_argument("--lora", type=int, metavar="RANK", help="train adapters of this rank")
    parser.add_argument("--limit", type=int, help="limit on training examples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--smoke", action="store_true", help="run everything once, on a tiny sample"
    )
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    if arguments.smoke:
        arguments.limit, arguments.epochs = 64, 1
    return arguments


def load_pretrained(arguments: argparse.Namespace):
    """Loads the GPT and its tokenizer, training them first if needed."""
    folder = Path(arguments.pretrained)
    if not (folder / "model.keras").is_file():
        command = [sys.executable, str(Path(__file__).with_name("train_gpt.py"))]
        command += ["--output", str(folder), "--minutes", str(arguments.pretrain_minutes)]
        command += ["--epochs", "20"] if arguments.pretrain_minutes > 20 else []
        command += ["--smoke"] if arguments.smoke else []
        print(f"There is no GPT in {folder}: pretraining one now with\n  {' '.join(command)}")
        subprocess.run(command, check=True)
    # Not compiled: the optimizer of the pretraining is no longer needed.
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    return model, kt.data.load_tokenizer(folder / "tokenizer")


def from_scratch(lm: keras.Model) -> keras.Model:
    """The same model with new random weights."""
    return lm.__class__.from_config(lm.get_config())


def as_wikitext(text: str) -> str:
    """Spaces a text as in WikiText-2, on which the GPT was trained."""
    text = re.sub(r"([.,!?;:()\"]|'')", r" \1 ", text)
    return " ".join(re.sub(r"(\w)'(\w)", r"\1 '\2", text).split())


def encode(tokenizer, texts) -> list[list[int]]:
    return kt.data.encode(tokenizer, [as_wikitext(text) for text in texts])


def adapt(model: keras.Model, rank: int) -> None:
    """Adds low-rank adapters to a model and prints how many weights train."""
    adapted = kt.training.enable_lora(model, rank)
    trained = sum(weight.numpy().size for weight in model.trainable_weights)
    share = trained / model.count_params()
    print(f"{len(adapted)} layers adapted: {trained:,} weights train, {share:.2%} of all")


def train(model: keras.Model, train_batches, validation_batches, arguments) -> None:
    """Trains with GPT-1's recipe and a learning rate that suits a small model."""
    peak = arguments.learning_rate or (2e-3 if arguments.lora else 5e-4)
    if arguments.lora:
        adapt(model, arguments.lora)
    recipe = kt.training.gpt1_finetuning_recipe(
        total_steps=arguments.epochs * len(train_batches), peak_learning_rate=peak
    )
    # On a CPU, TensorFlow is faster without XLA, which would take many seconds to compile.
    jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(**recipe, jit_compile=jit_compile)
    started = time.time()
    model.fit(
        train_batches,
        validation_data=validation_batches,
        epochs=arguments.epochs,
        verbose=2,
    )
    print(f"Fine-tuned in {time.time() - started:.0f} seconds")


def test_accuracy(model: keras.Model, batches) -> float:
    return model.evaluate(batches, return_dict=True, verbose=0)["accuracy"]
