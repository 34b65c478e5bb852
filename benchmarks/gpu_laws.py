"""The library's invariants on a GPU, in float32 by its tests and in bfloat16.

In float32 a selection of the tests runs as it is. In bfloat16 the same models and cases are
checked with the tolerance of its eight bits.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gpu_device import multiply_float32_exactly

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SYSTEMS = ("bfloat16", "float32")  # the quick one first
MODELS = ("transformer", "transformer_relative_bias_in_a_window", "gpt", "gpt_pre_norm_grouped")
SMOKE_MODELS = ("gpt",)
LAWS = {
    "1": "Cached decoding equals the full pass",
    "2": "Positions cannot see the future",
    "3": "Padding does not affect results",
    "4": "A reloaded model is identical",
    "5": "A query that may attend to nothing gives zeros, never NaN",
    "6": "One beam is greedy; enough beams find what exhaustive search finds",
    "7": "Logits match the reference",
}
# File and functions of the tests of each law.
TESTS = {
    "1": ["laws/test_cache_equals_full.py::cached_logits_are_those_of_the_full_pass"],
    "2": ["laws/test_future_cannot_leak.py::a_changed_token_changes_nothing_before_it"],
    "3": [
        "laws/test_padding_cannot_matter.py::more_padding_changes_nothing",
        "laws/test_padding_cannot_matter.py::other_examples_change_nothing",
        "laws/test_padding_cannot_matter.py::packed_sequences_of_a_model_do_not_see_each_other",
    ],
    "4": ["laws/test_reload_is_identical.py::weights_alone_reload"],
    "5": [
        "laws/test_always_finite.py::logits_are_finite_with_rows_of_padding",
        "laws/test_always_finite.py::attention_gives_zeros_where_nothing_is_seen",
    ],
    "6": [
        "decoding/test_beam_search.py::one_beam_is_greedy",
        "decoding/test_beam_search.py::enough_beams_find_what_brute_force_finds",
    ],
    "7": ["parity/test_gpt2.py::logits", "parity/test_marian.py::logits"],
}
TESTS = {law: [f"tests/{one.replace('::', '::test_')}" for one in TESTS[law]] for law in TESTS}
# Relative to the largest logit. Where other shapes or dtypes are compared, as in
# tests/laws/test_always_finite.py; where the same program runs twice, almost nothing.
TOLERANCES = {"1": 0.15, "2": 0.02, "3": 0.15, "4": 0.02, "5": 0.0, "7": 0.15}
DESCRIPTION = (
    f"Small random models, each with every test of a law: {', '.join(MODELS)}. In float32, without "
    "TF32, the number of the library's own tests that pass, with their tolerances. In "
    "`mixed_bfloat16`, the largest difference relative to the largest logit, which must be at most "
    f"{TOLERANCES['1']} (laws 2 and 4: {TOLERANCES['2']}); for law 7, from the model in float32."
)


def results(system: str, smoke: bool) -> Iterator[dict]:
    """Checks the laws in one dtype, and yields a result for each."""
    if system == "bfloat16":
        yield from differences(smoke)
        return
    multiply_float32_exactly()
    yield from outcomes_of_tests(smoke)


class Outcomes:
    """A plugin of pytest that leaves out other models, and counts the outcomes of tests."""

    def __init__(self, models: tuple[str, ...]):
        self.models = models
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items):
        def is_wanted(item):
            parameters = getattr(getattr(item, "callspec", None), "params", {})
            half = parameters.get("policy", "float32") not in ("float32", "mixed_bfloat16")
            return parameters.get("name", self.models[0]) in self.models and not half

        items[:] = [item for item in items if is_wanted(item)]

    def pytest_collectreport(self, report):
        # A module that is skipped or cannot be imported.
        if report.outcome != "passed":
            self._count(report)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self._count(report)

    def _count(self, report):
        self.counts[report.outcome] += 1
        if report.outcome == "failed":
            self.failed.append(f"{report.nodeid}: {str(report.longrepr)[-300:]}")


def outcomes_of_tests(smoke: bool) -> Iterator[dict]:
    """Runs the tests of each law, those of one model only with `smoke`."""
    import pytest

    laws = ("1", "2", "3") if smoke else LAWS
    for law in laws:
        outcomes = Outcomes(SMOKE_MODELS if smoke else MODELS)
        paths = [str(ROOT / path) for path in TESTS[law]]
        # A warning of a GPU library is not a failure of a law.
        options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "--no-header"]
        pytest.main([*options, f"--rootdir={ROOT}", *paths], plugins=[outcomes])
        holds = outcomes.counts["failed"] == 0 and outcomes.counts["passed"] > 0
        yield {"task": law, "holds": holds, **outcomes.counts, "tests": outcomes.failed}


def differences(smoke: bool) -> Iterator[dict]:
    """Yields the largest difference over the models, relative to the largest logit, of each law."""
    from tests.laws.models import make_case

    names = SMOKE_MODELS if smoke else MODELS
    cases = {name: make_case(name, dtype="mixed_bfloat16") for name in names}
    laws = {
        "1": cached,
        "2": future,
        "3": padding,
        "4": reloaded,
        "5": nothing_seen,
        "7": from_float32,
    }
    for law, difference_of in laws.items():
        try:
            difference = max(difference_of(name, case) for name, case in cases.items())
            found = {"holds": difference <= TOLERANCES[law], "difference": difference}
        except Exception as error:  # the other laws are checked all the same
            found = {"problem": f"{type(error).__name__}: {error}"[:120]}
        yield {"task": law, **found}


def _ids():
    from tests.harness import token_ids
    from tests.laws.models import V

    return token_ids(2, 5, vocabulary_size=V), token_ids(2, 7, vocabulary_size=V, seed=1)


def _relative(actual, expected) -> float:
    from tests.harness import to_numpy

    actual, expected = to_numpy(actual), to_numpy(expected)
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return float("inf")
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def cached(name: str, case) -> float:
    """Law 1: single steps over a cache, from the full pass."""
    from tests.laws.pieces import cached_logits

    target, source = _ids()
    return _relative(cached_logits(case, target, source, (1,) * 5, 3), case(target, source))


def future(name: str, case) -> float:
    """Law 2: all outputs before a changed token, from those without the change."""
    from tests.laws.models import V

    target, source = _ids()
    changed = target.copy()
    changed[:, 3] = 1 + target[:, 3] % (V - 1)
    before, after = case(target, source), case(changed, source)
    return _relative(after[:, :3], before[:, :3])


def padding(name: str, case) -> float:
    """Law 3: outputs with more padding, from those without it."""
    target, source = _ids()
    wider = [np.pad(ids, ((0, 0), (0, 4))) for ids in (target, source)]
    return _relative(case(*wider)[:, :5], case(target, source))


def reloaded(name: str, case) -> float:
    """Law 4: a saved and loaded model, from the model itself."""
    import keras

    target, source = _ids()
    with tempfile.TemporaryDirectory() as folder:
        case.model.save(f"{folder}/model.keras")
        loaded = case._replace(model=keras.saving.load_model(f"{folder}/model.keras"))
    return _relative(loaded(target, source), case(target, source))


def nothing_seen(name: str, case) -> float:
    """Law 5: 0, or infinite if a row of padding makes a logit infinite or NaN."""
    target, source = _ids()
    target[0], source[0] = 0, 0
    logits = case(target, source)
    return _relative(logits, logits)


def from_float32(name: str, case) -> float:
    """Law 7: the model in mixed bfloat16, from the same one in float32."""
    from tests.laws.models import get_case

    target, source = _ids()
    return _relative(case(target, source), get_case(name)(target, source))


def table(results: list[dict]) -> str:
    """A row for each law."""
    found: dict[tuple[str, str], dict] = {(one["system"], one["task"]): one for one in results}
    columns = ("float32", "bfloat16")
    rows = [["law", *columns], ["---"] * 3]
    for law, title in LAWS.items():
        cells = []
        for system in columns:
            one = found.get((system, law)) or found.get((system, "")) or {}
            cells.append(cell(one, system, law))
        rows.append([f"{law}. {title}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(one: dict, system: str, law: str) -> str:
    """What was found for one law in one dtype."""
    if "holds" not in one:
        # In eight bits two tokens often have equal logits, of which either may be chosen.
        return one.get("problem", "not run") if (system, law) != ("bfloat16", "6") else ""
    mark = "" if one["holds"] else "**broken**: "
    if "difference" in one:
        return f"{mark}{one['difference']:.1g}"
    text = f"{mark}{one['passed']} of {one['passed'] + one['failed']} tests"
    return text + (f", {one['skipped']} skipped" if one["skipped"] else "")
