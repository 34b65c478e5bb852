"""What `tpu_check.py` reads from compiled programs, and what it makes of it."""

import re
from collections import Counter

import pytest
from tpu_check import Results, body, check, check_all
from tpu_library import requirement
from tpu_results import (
    GIB,
    count_collectives,
    find_largest,
    fits,
    guess_batch,
    largest_batch,
    least_batch,
    needed_memory,
    tables,
)
from tpu_rows import MODEL_AXIS, MODELS, VARIANTS, Row, make_rows, smoke_rows

PROGRAM = """HloModule jit_train_step, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%add.3 (x: f32[], y: f32[]) -> f32[] {
  ROOT %add.4 = f32[] add(f32[] %x, f32[] %y)
}

%async_computation (p: f32[8]) -> f32[64] {
  ROOT %all-gather.9 = f32[64]{0:T(256)} all-gather(f32[8]{0} %p), dimensions={0}
}

%branch_a (p: f32[8]) -> f32[8] {
  ROOT %all-reduce.4 = f32[8]{0} all-reduce(f32[8]{0} %p), channel_id=3, to_apply=%add.3
}

%branch_b (p: f32[8]) -> f32[8] {
  ROOT %p = f32[8]{0} parameter(0)
}

%body.1_spmd (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %each = f32[8]{0} all-reduce(f32[8]{0} %p), channel_id=4, to_apply=%add.3
  %choice = f32[8]{0} conditional(s32[] %i, f32[8] %p), branch_computations={%branch_a, %branch_b}
  ROOT %out = (s32[], f32[8]{0}) tuple(s32[] %i, f32[8]{0} %choice)
}

%condition (state: (s32[], f32[8])) -> pred[] {
  ROOT %less = pred[] compare(s32[] %i, s32[] %n), direction=LT
}

ENTRY %main.7 (p: f32[8]) -> f32[8] {
  %all-reduce.1 = (f32[8]{0}, bf16[16,32]{1,0:T(8,128)(2,1)}) all-reduce(f32[8]{0} %p), channel_id=1
  %all-reduce-start = f32[8]{0:T(256)S(1)} all-reduce-start(f32[8]{0} %p), metadata={op_name="x"}
  %all-reduce-done = f32[8]{0} all-reduce-done(f32[8]{0} %all-reduce-start)
  %name = ((f32[8]{0}), f32[64]{0}, s32[]) async-start(f32[8]{0} %p), calls=%async_computation
  %permute = u32[2]{0} collective-permute(u32[2]{0} %q), metadata={op_name="all-gather(x)"}
  %get-tuple-element = f32[8]{0} get-tuple-element((f32[8]{0}) %all-reduce.1), index=0
  %while.2 = (s32[], f32[8]{0}) while((s32[], f32[8]) %t), condition=%condition, body=%body.1_spmd
  ROOT %fusion = f32[8]{0} fusion(f32[8]{0} %all-reduce-done), kind=kLoop, calls=%fused
}
"""
ROW = Row("fit", "gpt1", "v5e", 8, 1, "", 64, True)


def result(arguments=1.0, temporaries=3.0, needs=None, **collectives):
    """The result of a program that takes some GiB; of one that does not fit with `needs`."""
    if needs is not None:
        return {"programs": {"step": {"fits": False, "needs": needs * GIB, "seconds": 2.0}}}
    program = {
        "fits": True,
        "arguments": arguments * GIB,
        "temporaries": temporaries * GIB,
        "outputs": 0,
        "collectives": {name.replace("_", "-"): count for name, count in collectives.items()},
        "seconds": 61.4,
    }
    return {"programs": {"step": program}}


def test_collectives_are_counted_once_each():
    expected = {"all-reduce": 2, "all-gather": 1, "collective-permute": 1}
    assert count_collectives(PROGRAM) == {**expected, "all-reduce in loops": 2}
    assert count_collectives("ROOT %add = f32[] add(f32[] %x, f32[] %y)") == {}


def test_needed_memory_is_read_from_the_message():
    message = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "hbm. Used 21.50G of 15.75G hbm. Exceeded hbm capacity by 5.75G."
    )
    assert needed_memory(message) == 21.5 * GIB
    assert needed_memory(message.replace("21.50G", "512.0M")) == GIB // 2
    assert needed_memory("RESOURCE_EXHAUSTED: something else") is None


# === The largest batch ===


@pytest.mark.parametrize("start", [8, 64, 128])
@pytest.mark.parametrize("limit", [3, 8, 100, 128, 129, 700, 5000])
def test_the_largest_batch_is_found(start, limit):
    tried = {}

    def batch_fits(batch):
        assert batch not in tried
        tried[batch] = result() if batch <= limit else result(needs=17.0)
        return batch <= limit

    find_largest(batch_fits, start, least=8, tries=20)
    doublings = [start * 2**power for power in range(-10, 20)]
    expected = max((batch for batch in doublings if 8 <= batch <= limit), default=0)
    assert largest_batch(tried) == (expected, True)


def test_a_search_is_bounded():
    tried = {}
    find_largest(lambda batch: bool(tried.setdefault(batch, result())), 8, least=8, tries=3)
    assert list(tried) == [8, 16, 32]
    assert largest_batch(tried) == (32, False)
    assert largest_batch({}) == (0, False)
    assert largest_batch({8: result(), 32: result(needs=17.0)}) == (8, False)


def test_a_search_starts_where_memory_says_it_ends():
    # 16 GiB: (16 - 1) / 3 = 5, so 4 times the batch.
    assert guess_batch(ROW, result(), 64) == 256
    assert guess_batch(ROW._replace(chip="v6e"), result(), 64) == 512
    assert guess_batch(ROW, result(temporaries=14.0), 64) == 64
    assert guess_batch(ROW, result(temporaries=0.0), 64) == 64
    assert guess_batch(ROW, result(needs=17.0), 64) == 32
    assert guess_batch(ROW, result(needs=40.0), 64) == 16
    assert guess_batch(ROW, {"programs": {"step": {"fits": False, "needs": None}}}, 64) == 32
    assert guess_batch(ROW, result(needs=1e4), 64) == 8  # a row for each of the chips
    assert guess_batch(ROW._replace(model_axis=4), result(needs=1e4), 64) == 2


# === Rows ===


def test_rows_have_files_of_their_own():
    rows = make_rows()
    assert len({row.file_name for row in rows}) == len({row.name for row in rows}) == len(rows)
    assert all(re.fullmatch(r"[a-z0-9_-]+\.json", row.file_name) for row in rows)


def test_rows_cover_slices_splits_and_variants():
    rows = make_rows()
    slices = Counter((row.chip, row.chips, row.mesh) for row in rows)
    splits = {(1, "batch"), (8, "batch"), (8, "2x4"), (16, "batch"), (16, "4x4")}
    assert set(slices) == {(chip, *split) for chip in ("v5e", "v6e") for split in splits}
    assert {row.variant for row in rows} == set(VARIANTS)
    for model in ("transformer_base", "transformer_big", "gpt1"):
        assert {row.chips for row in rows if row.model == model and row.program == "fit"} == {
            1,
            8,
            16,
        }
    assert {row.program for row in rows} == {"fit", "generate", "beam_search"}


def test_batches_can_be_split():
    for row in [*make_rows(), *smoke_rows()]:
        assert row.batch % least_batch(row) == 0, row
        assert row.chips % row.model_axis == 0, row
    heads = {"transformer_base": 8, "transformer_big": 16, "gpt1": 12}
    assert all(heads[model.build] % MODEL_AXIS == 0 for model in MODELS.values())


def test_the_requirement_of_libtpu():
    lines = ["numpy>=2", 'jaxlib==0.10.2; extra == "tpu"', 'libtpu==0.0.42.*; extra == "tpu"']
    assert requirement(lines) == "libtpu==0.0.42.*"
    pytest.importorskip("jax")
    with pytest.raises(SystemExit, match="names no version of libtpu"):
        requirement(lines[:2])


# === Keeping results ===


class Compiler:
    """Counts compilations; batches above a limit do not fit, and some fail."""

    def __init__(self, limit=1000, failing=()):
        self.limit, self.failing, self.batches = limit, set(failing), []

    def __call__(self, row, batch):
        self.batches.append(batch)
        if batch in self.failing:
            raise SystemExit("tpu_check.py failed with status -6:\nCheck failed: size > 0\n")
        return result(temporaries=0.01) if batch <= self.limit else result(needs=20.0)


def test_an_interrupted_check_goes_on(tmp_path):
    pytest.importorskip("jax")
    first = Compiler(limit=300_000)
    assert check(ROW, Results(tmp_path, first), tries=2)
    assert first.batches == [64, 65_536, 131_072]
    again = Compiler(limit=300_000)
    assert check(ROW, Results(tmp_path, again), tries=4)
    assert again.batches == [262_144, 524_288]
    assert largest_batch(Results(tmp_path, again).of(ROW)) == (262_144, True)
    assert [path.name for path in tmp_path.iterdir()] == ["fit-gpt1-v5e-8-batch.json"]


def test_searches_come_last_and_leave_failures_out(tmp_path):
    pytest.importorskip("jax")
    compiler, written = Compiler(limit=500, failing=[128]), []
    rows = [ROW, ROW._replace(chips=16, batch=128), ROW._replace(program="generate", search=False)]
    failed = check_all(rows, Results(tmp_path, compiler), 3, lambda: written.append(1))
    assert failed == [rows[1].name]
    assert compiler.batches[:3] == [64, 128, 64] and len(written) == 4
    assert all(batch > 128 for batch in compiler.batches[3:])


def test_a_failure_is_kept_and_tried_again(tmp_path, capsys):
    pytest.importorskip("jax")
    assert not check(ROW, Results(tmp_path, Compiler(failing=[64])))
    assert "failed: Check failed: size > 0" in capsys.readouterr().out
    kept = Results(tmp_path, Compiler()).of(ROW)
    assert list(kept) == [64] and "status -6" in kept[64]["error"]
    mended = Compiler()
    assert check(ROW, Results(tmp_path, mended), tries=0)
    assert mended.batches == [64] and fits(Results(tmp_path, mended).of(ROW)[64])


def test_a_failed_search_leaves_the_first_result(tmp_path):
    pytest.importorskip("jax")
    results = Results(tmp_path, Compiler(failing=[65_536]))
    assert not check(ROW, results)
    kept = results.of(ROW)
    assert fits(kept[64]) and "error" in kept[65_536]
    assert "| 64 or more |" in tables({ROW: kept})


def test_results_of_another_jax_do_not_count(tmp_path):
    pytest.importorskip("jax")
    check(ROW, Results(tmp_path, Compiler()), tries=0)
    path = tmp_path / ROW.file_name
    path.write_text(re.sub(r'"jax": "[^"]*"', '"jax": "0.1.0"', path.read_text()))
    assert Results(tmp_path, Compiler()).of(ROW) == {}


# === Tables ===


def test_a_table_of_training():
    beam = Row("beam_search", "transformer_base", "v6e", 16, 4, "", 32, False)
    programs = result(0.25, 0.5)["programs"]["step"]
    big = ROW._replace(model="gpt1, 2,048 tokens", variant="dense attention")
    text = tables(
        {
            ROW: {64: result(1.3, 3.17, all_reduce=1), 128: result(), 256: result(needs=20.0)},
            big: {64: result(needs=21.5)},
            beam: {32: {"programs": {"first token": programs, "loop": programs}}},
            ROW._replace(chip="v6e"): {},
            ROW._replace(chips=16): {64: {"error": "no"}},
        }
    )
    assert text == (
        "| model | variant | slice | split | rows | arguments, GiB | temporaries, GiB "
        "| collectives | compiled in, s | largest batch |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| `gpt1` | as built | v5e-8 | batch | 64 | 1.30 | 3.17 | 1 all-reduce | 61 | 128 |\n"
        "| gpt1, 2,048 tokens | dense attention | v5e-8 | batch | 64 |  | does not fit: 21.5 "
        "|  | 2 | none tried |\n\n"
        "| function | model | program | slice | split | rows | arguments, GiB "
        "| temporaries, GiB | collectives | compiled in, s |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| `beam_search` | `transformer_base` | first token | v6e-16 | 4x4 | 32 | 0.25 | 0.50 "
        "| none | 61 |\n"
        "| `beam_search` | `transformer_base` | loop | v6e-16 | 4x4 | 32 | 0.25 | 0.50 "
        "| none | 61 |"
    )


def test_the_page_says_what_was_compiled_and_what_was_not(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setattr("tpu_check.libtpu_version", lambda: "0.0.42.1")
    monkeypatch.setattr("tpu_check.machine", lambda: "2026-11-29, 2 CPU cores.")
    results = Results(tmp_path, Compiler(failing=[128]))
    other = ROW._replace(chips=16, batch=128)
    for row in (ROW, other):
        check(row, results, tries=0)
    text = body([ROW, other, ROW._replace(chip="v6e")], results, " --smoke")
    assert "2 of 3 of the rows have been compiled. Failed: fit gpt1 v5e-16 batch." in text
    assert "nothing ran on one" in text and "python benchmarks/tpu_check.py --smoke" in text
