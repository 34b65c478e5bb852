"""`speedrun.py`: what it trains, keeps and reports."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import speedrun

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({2: 10.0, 4: 20.0, 12: 40.0}, 8.0),
        ({12: 40.0, 2: 10.0, 4: 30.0}, 4.0),
        ({2: 31.0, 4: 35.0}, 2.0),
        ({2: 10.0, 4: 29.9}, None),
        # Noise: the first budget that reaches the goal counts.
        ({2: 20.0, 4: 30.0, 12: 29.0}, 4.0),
    ],
)
def test_minutes_to_the_goal(scores, expected):
    assert speedrun.minutes_to_goal(scores) == pytest.approx(expected)


def test_changes_of_a_model_are_merged():
    changed = speedrun.BASE.but(rate=1e-3, model={"num_layers": 2}, muon={"ns_steps": 3})
    assert changed.rate == 1e-3 and changed.muon == {"ns_steps": 3}
    assert changed.model == {**speedrun.TRANSFORMER, "num_layers": 2}
    assert speedrun.BASE.model == speedrun.TRANSFORMER


def test_the_table_has_means_of_the_seeds():
    names = ["one", "another"]
    options = {"systems": names, "minutes": [2.0, 4.0], "seeds": [1, 2], "write": "page.md"}
    options |= {"backend": "jax", "change": "{}", "held_out": "test"}
    scores = {"one": ((10, 12), (31, 33)), "another": ((8, 9), (20, 21))}
    results = {
        (name, minutes, seed): {"bleu": bleu, "parameters": 7_000_000}
        for name in names
        for minutes, found in zip((2.0, 4.0), scores[name], strict=True)
        for seed, bleu in zip((1, 2), found, strict=True)
    }
    body = speedrun.section(results, argparse.Namespace(**options))
    assert "| one | 7,000,000 | **11.0** (10.0 / 12.0) | **32.0** (31.0 / 33.0) | 3.8 |" in body
    assert "| another | 7,000,000 | **8.5** (8.0 / 9.0) | **20.5** (20.0 / 21.0) | more" in body
    assert "speedrun.py --systems one another --minutes 2.0 4.0 --seeds 1 2 --backend jax" in body


@pytest.mark.slow
def test_a_system_is_trained_once(tmp_path):
    systems = ["Transformer, as in the benchmark"]
    command = [sys.executable, str(ROOT / "benchmarks" / "speedrun.py"), "--smoke", "--backend"]
    command += ["torch", "--minutes", "0.02", "--seeds", "1", "--results", str(tmp_path)]
    command += ["--change", json.dumps({"warmup": 2}), "--systems", *systems]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert all(f"\n{name}" in f"\n{first}" for name in systems)
    # Nothing is measured again: the same table, without the lines of new results.
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert again.splitlines()[0] == "```bash" and again in first
