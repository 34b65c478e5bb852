"""The examples run from start to end, on a tiny part of the data.

Those with many models run on torch, which has nothing to trace or compile and takes half the time.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder in which the first example leaves its small GPT for the others."""
    return tmp_path_factory.mktemp("runs") / "gpt"


def run(name, *arguments):
    # Examples with many models, each of which other backends would have to compile.
    many = name.startswith(("finetune", "long", "forecast", "pretrain", "distill", "why"))
    backend = "torch" if many else os.environ["KERAS_BACKEND"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend}
    command = [sys.executable, str(ROOT / "examples" / name), "--smoke", *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "lines"),
    [
        ("finetune_classifier.py", (), ("GPT, pretrained", "GPT, from scratch")),
        ("finetune_multiple_choice.py", ("--lora", 2), ("accuracy on 64 test exchanges",)),
        ("finetune_similarity.py", (), ("words in common", "GPT, fine-tuned")),
    ],
)
def test_example_runs(name, arguments, lines, pretrained):
    output = run(name, "--pretrained", pretrained, *arguments)
    for line in lines:
        assert re.search(rf"{line}.*\d%", output), output[-2000:]
    if arguments:
        assert "layers adapted" in output
    assert (pretrained / "model.keras").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("translate_pretrained.py", "O animal estava cansado demais."),
        ("adapt_translator.py", "3 unseen pairs, exactly right: 0 before"),
        ("distill_translator.py", "| teacher (Firefox) | 16,907,265 |"),
        ("finetune_bert.py", "| 64 |"),
        ("finetune_sentence_encoder.py", "| MiniLM, fine-tuned |"),
        ("finetune_llm.py", "| SmolLM2 with adapters |"),
        ("sentence_similarity.py", "22,565,376 weights"),
        ("look_inside.py", "MiniLM"),
        ("train_translator.py", "BLEU"),
        ("train_vit.py", "Accuracy: mean"),
        ("long_range.py", "Milliseconds of a training step"),
        ("forecast_seismogram.py", "| Transformer, all at once |"),
        ("word2vec.py", "| country to its people |"),
        ("pretrain_bert.py", "| BERT: hidden whole words |"),
        ("piece_by_piece.py", "The figures are in"),
        ("reverse_digits.py", "| two beams |"),
        ("why_it_works.py", "| norm only |"),
        ("compare_vectors.py", "| cosine similarity | one-hot |"),
        ("temperature.py", "| temperature 2, top-k 3 | … "),
    ],
)
def test_examples_on_their_own(name, line, tmp_path):
    silent = name.startswith(("translate", "sentence"))
    more = () if silent else ("--output", tmp_path / "out")
    assert line in run(name, *more)
