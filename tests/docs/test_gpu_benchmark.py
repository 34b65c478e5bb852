"""benchmarks/gpu.py without a GPU: its parts, and all of it on tiny models."""

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import keras_transformer as kt

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.slow
def test_everything_runs_on_tiny_models(tmp_path):
    page = tmp_path / "benchmarks.md"
    before = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    output = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--smoke", "--write", str(page)]
    # torch has nothing to compile: a fraction of the time here.
    environment = {**os.environ, "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run([*command, "--output", str(output)], env=environment, check=True, timeout=300)
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["backend"] == "torch" and content["gpu"] is None
    found = {(one["part"], one["system"], one["task"]): one for one in content["results"]}
    # Only flash attention needs a GPU.
    problems = {key: one["problem"] for key, one in found.items() if "problem" in one}
    assert {key[1] for key in problems} <= {"flash"}, problems
    count = {part: sum(key[0] == part for key in found) for part, *_ in found}
    assert count == {"laws": 6 + 3, "training": 2 * 4, "decoding": 4 * 2, "attention": 2 * 4}
    assert all(one["holds"] for one in content["results"] if one["part"] == "laws")
    for one in content["results"]:
        if one["part"] == "training":
            assert one["milliseconds"] > 0 and one["tokens_per_second"] > 0 and one["tflops"] > 0
    after = page.read_text(encoding="utf-8")
    begin, end = "<!-- gpu, torch -->", "<!-- end of gpu, torch -->"
    assert after.partition(begin)[0] == before.partition(begin)[0]
    assert after.partition(end)[2] == before.partition(end)[2]
    written = after.partition(begin)[2].partition(end)[0]
    for title in ("Invariants", "A training step", "Decoding", "Attention"):
        assert f"**{title}.**" in written
    assert "| gpt1 | KerasHub's layers |" in written


@pytest.mark.parametrize("is_translator", [False, True])
def test_flops_are_those_of_all_matrix_products(module, is_translator):
    training = module("gpu_training")
    size = {**training.SMOKE, "batch": 3, "length": 7}
    sizes = {name: value for name, value in size.items() if name not in ("batch", "length")}
    model = (kt.models.transformer if is_translator else kt.models.gpt)(**sizes)
    kernels = sum(math.prod(one.shape) for one in model.weights if one.path.endswith("kernel"))
    logits = size["vocabulary_size"] * size["hidden_dim"]
    num_attentions = 3 if is_translator else 1
    scores = num_attentions * size["num_layers"] * 2 * size["length"] * size["hidden_dim"]
    expected = 6 * 3 * 7 * (kernels + logits + scores)
    assert training.training_flops(size, is_translator) == expected


def script(path, *lines):
    """A script that can print results."""
    head = [f"import sys, time; sys.path.insert(0, {str(BENCHMARKS)!r})"]
    path.write_text("\n".join([*head, "from processes import print_result", *lines]))
    return str(path)


def test_results_come_before_a_process_ends(module, tmp_path):
    path = script(tmp_path / "s.py", "print_result({'a': 1})", "time.sleep(60)")
    started = time.monotonic()
    results = module("processes").results_as_they_come(path, seconds=50)
    assert next(results) == {"a": 1}
    results.close()  # ends the process
    assert time.monotonic() - started < 40


@pytest.mark.slow
def test_a_process_that_takes_too_long_is_stopped(module, tmp_path):
    path = script(tmp_path / "s.py", "print('noise')", "print_result({'a': 1})", "time.sleep(60)")
    results = list(module("processes").results_as_they_come(path, seconds=6))
    assert results == [{"a": 1}, {"problem": "stopped after 6 s"}]


def test_a_process_that_fails_says_why(module, tmp_path):
    path = script(tmp_path / "s.py", "print_result({'a': 1})", "raise ValueError('no luck')")
    results = list(module("processes").results_as_they_come(path, seconds=60))
    assert results == [{"a": 1}, {"problem": "ended with status 1: ValueError: no luck"}]


def test_a_task_that_fails_becomes_a_line(module):
    gpu = module("gpu")

    def fail(error):
        raise error

    tasks = {
        "a": lambda: {"milliseconds": 1.0},
        "b": lambda: fail(MemoryError("CUDA out of memory. Tried to allocate 7 GiB")),
        "c": lambda: fail(ModuleNotFoundError("No module named 'x'", name="x")),
        "d": lambda: fail(ValueError("a | b\nc")),
    }
    assert list(gpu.results_of_tasks(tasks)) == [
        {"task": "a", "milliseconds": 1.0},
        {"task": "b", "problem": "out of memory"},
        {"task": "c", "problem": "not installed: x"},
        {"task": "d", "problem": "ValueError: a / b c"},
    ]


def test_parts_for_which_no_time_is_left_are_skipped(module):
    gpu = module("gpu")
    arguments = argparse.Namespace(parts=["training", "attention"], seconds=20.0, smoke=False)
    found = list(gpu.results(arguments, started=time.monotonic() - 15))
    assert [(one["part"], one["system"]) for one in found] == [
        *(("training", system) for system in ("ours", "keras_hub", "torch", "hugging_face")),
        *(("attention", system) for system in ("dense", "blockwise", "fused", "flash")),
    ]
    assert {one["problem"] for one in found} == {"skipped: the time was up"}


def test_tables_have_ratios_and_what_is_missing(module):
    training = module("gpu_training")
    times = {"tokens_per_second": 3000.0, "tflops": 250.0, "first": 7.0}
    results = [
        {"task": "gpt1", "system": "ours", "milliseconds": 20.0, **times},
        {"task": "gpt1", "system": "keras_hub", "milliseconds": 40.0, **times},
        {"task": "gpt1", "system": "torch", "problem": "out of memory"},
        {"task": "", "system": "hugging_face", "problem": "skipped: the time was up"},
    ]
    rows = training.table(results, peak=1000.0).splitlines()[2:]
    assert rows == [
        "| gpt1 | keras_transformer | 20.0 | 3,000 | 250 | 25% | 0.50 |  |  | 7.0 |",
        "| gpt1 | KerasHub's layers | 40.0 | 3,000 | 250 | 25% |  |  |  | 7.0 |",
        "| gpt1 | torch.nn.Transformer | out of memory |  |  |  |  |  |  |  |",
        "|  | Hugging Face | skipped: the time was up |  |  |  |  |  |  |  |",
    ]
    assert "share" not in training.table(results, peak=None)
    attention = module("gpu_attention")
    results = [
        {"task": "1024", "system": "dense", "milliseconds": 1.234, "peak": 5_600_000},
        {"task": "2048", "system": "dense", "problem": "out of memory"},
        {"task": "", "system": "fused", "problem": "stopped after 9 s"},
    ]
    assert attention.table(results).splitlines()[2:] == [
        "| 1,024 | 1.23 | 6 | not run |  | stopped after 9 s |  | not run |  |",
        "| 2,048 | out of memory |  | not run |  | stopped after 9 s |  | not run |  |",
    ]
    laws = module("gpu_laws")
    results = [
        {"task": "1", "system": "float32", "holds": True, "passed": 8, "failed": 0, "skipped": 0},
        {"task": "1", "system": "bfloat16", "holds": False, "difference": 0.5},
        {"task": "2", "system": "float32", "holds": False, "passed": 7, "failed": 1, "skipped": 2},
    ]
    rows = laws.table(results).splitlines()[2:]
    assert rows[0] == "| 1. Cached decoding equals the full pass | 8 of 8 tests | **broken**: 0.5 |"
    assert rows[1].endswith("| **broken**: 7 of 8 tests, 2 skipped | not run |")
    assert rows[5].endswith("| not run |  |")


def test_every_test_of_a_law_exists(module):
    laws = module("gpu_laws")
    assert sorted(laws.TESTS) == sorted(laws.LAWS)
    for tests in laws.TESTS.values():
        for test in tests:
            path, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
