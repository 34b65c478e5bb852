"""Compiles training steps and decoding for TPU slices, on a machine without a TPU.

    make tpu-check
    python benchmarks/tpu_check.py --write docs/many-devices.md

XLA compiles the programs of `fit`, `generate` and `beam_search` for described slices of 1, 8 and 16
chips, and says what they need: nothing runs on a TPU, and nothing is said about speed. The results
of each row are kept in a folder after each compilation, so that an interrupted run goes on where it
stopped; rows that failed are tried again. All rows take many hours; `--only` selects some. After a
change to the library, delete the folder.

    python benchmarks/tpu_check.py --list
    python benchmarks/tpu_check.py --only "fit gpt1 v5e-8" beam_search
    python benchmarks/tpu_check.py --smoke            # tiny models, one chip: a few minutes
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable
from pathlib import Path

from page import machine, write_between
from processes import print_result, result_of
from tpu_library import library_path
from tpu_results import (
    GIB,
    MOST_TRIES,
    find_largest,
    fits,
    guess_batch,
    least_batch,
    tables,
)
from tpu_rows import MEMORY, MODELS, SMOKE_MODELS, VARIANTS, Row, make_rows, smoke_rows

FOLDER = "runs/tpu-check"
HOURS = 3.0  # the most that one compilation may take
_OF_TRANSLATORS, _OF_GPT = MODELS["transformer_base"].length, MODELS["gpt1"].length
TOKENS = f"{_OF_TRANSLATORS} + {_OF_TRANSLATORS} (translators) or {_OF_GPT} (`gpt1`)"


class Results:
    """The results of rows, one JSON file for each: what every batch that was compiled needs.

    Args:
        folder: The folder of the files.
        measure: Compiles a row for a batch, in a separate process; raises SystemExit on failure.
    """

    def __init__(self, folder: Path, measure: Callable[[Row, int], dict]):
        self.folder, self.measure = folder, measure
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, row: Row) -> dict[int, dict]:
        """The results of a row for each batch; {} if there are none, or none of this version."""
        path = self.folder / row.file_name
        kept = json.loads(path.read_text()) if path.is_file() else {}
        if kept.get("jax") != importlib.metadata.version("jax"):
            return {}
        return {int(batch): result for batch, result in kept["batches"].items()}

    def get(self, row: Row, batch: int) -> dict:
        """The result for a batch: the kept one, or that of compiling now unless it failed."""
        kept = self.of(row)
        if batch not in kept or "error" in kept[batch]:
            print(f"  {batch:,} rows ... ", end="", flush=True)
            started = time.perf_counter()
            try:
                result = self.measure(row, batch)
            except SystemExit as error:
                result = {"error": str(error)[-3000:]}
            self._keep(row, {**kept, batch: result})
            print(f"{summary(result)} ({time.perf_counter() - started:.0f} s)", flush=True)
            kept[batch] = result
        if "error" in kept[batch]:
            raise RuntimeError(kept[batch]["error"])
        return kept[batch]

    def _keep(self, row, batches):
        jax = importlib.metadata.version("jax")
        text = json.dumps({"name": row.name, "jax": jax, "batches": batches}, indent=1)
        path = self.folder / row.file_name
        # A kill must not leave half a file.
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)


def summary(result: dict) -> str:
    """A result in a few words."""
    if "error" in result:
        return "failed: " + result["error"].strip().splitlines()[-1]
    if not fits(result):
        return "does not fit"
    programs = result["programs"].values()
    sizes = [(one["arguments"] / GIB, one["temporaries"] / GIB) for one in programs]
    return ", ".join(f"{size[0]:.2f} + {size[1]:.2f} GiB" for size in sizes)


def check(row: Row, results: Results, tries: int = MOST_TRIES) -> bool:
    """Compiles a row, and looks for its largest batch; returns whether all of it compiled."""
    try:
        first = results.get(row, row.batch)
        if row.search and tries:
            start = guess_batch(row, first, row.batch)
            find_largest(
                lambda batch: fits(results.get(row, batch)), start, least_batch(row), tries
            )
    except RuntimeError:
        return False  # it has been reported, and kept
    return True


def check_all(
    rows: list[Row], results: Results, tries: int, after_each: Callable[[], None]
) -> list[str]:
    """Compiles all rows, and then looks for the largest batches; returns the names of failures."""
    failed: list[str] = []
    searches = [row for row in rows if row.search and tries]
    for index, row in enumerate([*rows, *searches]):
        if row.name in failed:
            continue
        is_search = index >= len(rows)
        aim = ", largest batch" if is_search else ""
        print(f"[{index + 1}/{len(rows) + len(searches)}] {row.name}{aim}", flush=True)
        if not check(row, results, tries if is_search else 0):
            failed.append(row.name)
        after_each()
    return failed


def measure(row: Row, batch: int) -> dict:
    """Compiles a row for a batch in a new process, so that a crash of the compiler ends only it."""
    environment = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "TPU_LIBRARY_PATH": str(library_path()),
        "TPU_SKIP_MDS_QUERY": "1",  # do not look for a TPU's metadata server
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={row.model_axis}",
    }
    request = json.dumps([*row._replace(batch=batch)])
    return result_of(__file__, "--compile", request, timeout=3600 * HOURS, **environment)


def compile_row(row: Row) -> dict:
    """Compiles a row in this process."""
    import keras
    from tpu_programs import decoding_programs, fit_programs

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = {**MODELS, **SMOKE_MODELS}[row.model]
    programs = fit_programs if row.program == "fit" else decoding_programs
    return {"programs": programs(row, model, VARIANTS[row.variant])}


def body(rows: list[Row], results: Results, options: str) -> str:
    """The part of the page: how it was made, the tables, and what is missing."""
    found = {row: results.of(row) for row in rows}
    complete = [row for row in rows if row.batch in found[row]]
    failed = [row.name for row in complete if "error" in found[row][row.batch]]
    count = "All" if len(complete) == len(rows) else f"{len(complete)} of {len(rows)}"
    memory = ", ".join(f"{size} GiB ({chip})" for chip, size in MEMORY.items())
    return f"""```bash
python benchmarks/tpu_check.py{options} --write docs/many-devices.md
```

Compiled for these slices on a machine without a TPU; nothing ran on one. Everything is in
`mixed_bfloat16`, and each model has its recipe. Rows are those of a step on all chips together, of
{TOKENS} tokens. Memory is that of one chip, which has
{memory}; all but the logs of a step's results take the place of its arguments. "batch" is
`DataParallel`; "2x4" is `ModelParallel` with `kt.training.layout_map`, each copy of the weights
split over 4 chips. The largest batch is the largest that fits among those compiled, each twice the
one before.

{tables(found)}

{count} of the rows have been compiled.{" Failed: " + ", ".join(failed) + "." if failed else ""}
libtpu {libtpu_version()}. {machine()}
"""


def write(rows: list[Row], results: Results, arguments: argparse.Namespace) -> None:
    """Writes the tables to the page of `--write`, if there is one."""
    if arguments.write:
        write_between(arguments.write, "tpu", body(rows, results, ""))


def libtpu_version() -> str:
    """The version of the compiler, from the folder next to it."""
    folders = library_path().parent.parent.glob("libtpu-*.dist-info")
    versions = [folder.name.split("-")[1].removesuffix(".dist") for folder in folders]
    return versions[0] if versions else "of unknown version"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], help="compile rows with these in the name")
    parser.add_argument("--smoke", action="store_true", help="tiny models, one v5e chip")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--tries", type=int, default=MOST_TRIES, help="batches of a search, or 0")
    parser.add_argument("--folder", default=FOLDER, help="folder of the results")
    parser.add_argument("--write", help="Markdown page to write the tables to")
    parser.add_argument("--compile", help="compile one row, print JSON")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.compile:
        print_result(compile_row(Row(*json.loads(arguments.compile))))
        return
    rows = smoke_rows() if arguments.smoke else make_rows()
    wanted = [
        row for row in rows if not arguments.only or any(t in row.name for t in arguments.only)
    ]
    if arguments.list:
        print("\n".join(row.name for row in wanted))
        return
    library_path()  # or stop right away
    folder = Path(arguments.folder, "smoke") if arguments.smoke else Path(arguments.folder)
    results = Results(folder, measure)
    failed = check_all(wanted, results, arguments.tries, lambda: write(rows, results, arguments))
    print(body(rows, results, " --smoke" if arguments.smoke else ""))
    if failed:
        raise SystemExit(f"{len(failed)} rows failed: {', '.join(failed)}. Run again to retry.")


if __name__ == "__main__":
    main()
