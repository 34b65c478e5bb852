"""Random damage to files, loaded in a separate process; fuzz.py tries much more of it."""

import os

import pytest

from tests.robustness.fuzz import GOOD, SUBJECT_NAMES, fuzz

# A different number tries different damage: FUZZ_FIRST=1000 python -m pytest tests/robustness.
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
SEEDS = 40
SECONDS = 45.0
# Subjects and seeds that failed once.
KEPT = (("tokenizer_json", 1022), ("merges", 29))


def failures(results):
    return [result for result in results if result["outcome"] not in GOOD]


@pytest.mark.slow
def test_every_loader_survives_damaged_files():
    print(f"seeds {FIRST} to {FIRST + SEEDS - 1} of {', '.join(SUBJECT_NAMES)}")
    cases = [(name, seed) for seed in range(FIRST, FIRST + SEEDS) for name in SUBJECT_NAMES]
    results = list(fuzz([*KEPT, *cases], SUBJECT_NAMES, SECONDS))
    assert len(results) >= len(KEPT) + len(SUBJECT_NAMES)
    assert not failures(results)
    # Most damage is detected. The rest only changes values, or files that are not read.
    refused = sum(result["outcome"] == "refused" for result in results)
    assert refused > len(results) / 3


def test_the_subjects_have_these_names():
    pytest.importorskip("gguf")
    from tests.robustness.subjects import SUBJECTS

    assert tuple(SUBJECTS) == SUBJECT_NAMES


def test_the_same_seed_does_the_same_damage():
    from random import Random

    from tests.robustness.mutations import mutate

    contents = {"x.json": b'{"a": [1, 2, {"b": "c"}], "d": 0.5}', "x.bin": bytes(range(256))}
    for name, content in contents.items():
        damaged = [mutate(content, name, Random(seed)) for seed in range(200)]
        assert damaged == [mutate(content, name, Random(seed)) for seed in range(200)]
        assert len({*damaged}) > 100
