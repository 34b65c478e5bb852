"""Results of `tpu_check.py`: what a compiled program says, the largest batch, and the tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from tpu_rows import MEMORY, Row

GIB = 2**30
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# An instruction is `%name = shape opcode(operands), attributes`, in a computation whose first line
# is `%name (parameters) -> shape {`. Of an asynchronous operation, the first half counts.
_COLLECTIVE = re.compile(
    rf"^\s+(?:ROOT )?%?\S+ = .*?[\s)]({'|'.join(COLLECTIVES)})(?:-start)?\(", re.MULTILINE
)
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{\n((?:.*\n)*?)^\}", re.MULTILINE)
_BODY = re.compile(r"[ ,]body=%?([\w.-]+)")
_CALLED = re.compile(r"[ ,](?:\w*computations?|calls|to_apply|body|condition)=(\{.*?\}|%?[\w.-]+)")
# What XLA says when a program does not fit.
_NEEDS = re.compile(r"Used ([\d.]+)([GMK]) of [\d.]+[GMK] hbm")
# How many sizes are tried after the first one.
MOST_TRIES = 4


def count_collectives(text: str) -> dict[str, int]:
    """Counts the collective operations in a compiled program, those in loops separately.

    Args:
        text: The program in XLA's text form.

    Returns:
        The number of each kind that occurs, such as `{"all-reduce": 1, "all-gather in loops": 2}`.
    """
    computations = {name: lines for name, lines in _COMPUTATION.findall(text)}
    called = {
        name: {part.strip(" %{}") for group in _CALLED.findall(lines) for part in group.split(",")}
        for name, lines in computations.items()
    }
    in_loops: set[str] = set()
    waiting = {body for lines in computations.values() for body in _BODY.findall(lines)}
    while waiting:
        in_loops |= waiting
        waiting = set().union(*(called.get(name, set()) for name in waiting)) - in_loops
    counts = {}
    for where, names in (("", computations.keys() - in_loops), (" in loops", in_loops)):
        found = [kind for name in names for kind in _COLLECTIVE.findall(computations.get(name, ""))]
        counts |= {kind + where: found.count(kind) for kind in COLLECTIVES if kind in found}
    return counts


def needed_memory(message: str) -> int | None:
    """The bytes that a program needs, from XLA's message that it does not fit; None without any."""
    found = _NEEDS.search(message)
    if found is None:
        return None
    return round(float(found[1]) * {"G": GIB, "M": 2**20, "K": 2**10}[found[2]])


def fits(result: Mapping) -> bool:
    """Whether all programs of a result fit into a chip's memory."""
    return all(program["fits"] for program in result["programs"].values())


def guess_batch(row: Row, result: Mapping, batch: int) -> int:
    """The batch to try next, from the memory of a first one: that batch times a power of two."""
    limit, factor = MEMORY[row.chip] * GIB, 1.0
    for program in result["programs"].values():
        if not program["fits"]:
            factor = limit / program["needs"] if program.get("needs") else 0.5
        elif program["temporaries"]:
            factor = (limit - program["arguments"]) / program["temporaries"]
    power = math.floor(math.log2(max(factor, 2.0**-6)))
    power = min(power, -1) if not fits(result) else max(power, 0)
    return max(least_batch(row), math.floor(batch * 2.0**power))


def least_batch(row: Row) -> int:
    """One row for each part of the batch."""
    return row.chips // row.model_axis


def find_largest(
    batch_fits: Callable[[int], bool], start: int, least: int, tries: int = MOST_TRIES
) -> None:
    """Doubles a batch that fits until one does not, or halves one that does not until one does.

    Args:
        batch_fits: Compiles for a batch, and keeps the result for `largest_batch`.
        start: The first batch.
        least: The smallest batch to try.
        tries: The largest number of batches to try.
    """
    batch = start
    grows = batch_fits(batch)
    for _ in range(tries - 1):
        batch = 2 * batch if grows else batch // 2
        if batch < least or batch_fits(batch) != grows:
            return


def largest_batch(results: Mapping[int, Mapping]) -> tuple[int, bool]:
    """The largest batch that fits among those compiled (0 for none), and whether twice is too much.

    Args:
        results: The result for each batch.
    """
    fitting = [batch for batch, result in results.items() if fits(result)]
    if not fitting:
        return 0, bool(results)
    twice = results.get(2 * max(fitting))
    return max(fitting), twice is not None and not fits(twice)


# === Tables ===

_HEAD = ("variant", "slice", "split", "rows", "arguments, GiB", "temporaries, GiB")
_FIT_HEAD = ("model", *_HEAD, "collectives", "compiled in, s", "largest batch")
_DECODING_HEAD = ("function", "model", "program", *_HEAD[1:], "collectives", "compiled in, s")


def tables(results: Mapping[Row, Mapping[int, Mapping]]) -> str:
    """The tables of training and decoding in Markdown; rows without a result are left out."""
    fit, decoding = [], []
    for row, of_row in results.items():
        result = of_row.get(row.batch)
        if result is None or "error" in result:
            continue
        if row.program == "fit":
            fit.append(_fit_cells(row, result, of_row))
        else:
            decoding += _decoding_cells(row, result)
    parts = [_table(head, rows) for head, rows in ((_FIT_HEAD, fit), (_DECODING_HEAD, decoding))]
    return "\n\n".join(part for part in parts if part)


def _table(head, rows):
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _fit_cells(row, result, of_row):
    (program,) = result["programs"].values()
    of_row = {batch: one for batch, one in of_row.items() if "error" not in one}
    largest, is_largest = largest_batch(of_row)
    text = f"{largest:,}" if largest else "none tried"
    place = (f"{row.chip}-{row.chips}", row.mesh)
    variant = row.variant or "as built"
    cells = [f"`{row.model}`" if " " not in row.model else row.model, variant, *place]
    more = "" if is_largest or not largest else " or more"
    return [*cells, *_program_cells(row, program), text + more]


def _decoding_cells(row, result):
    place = (f"{row.chip}-{row.chips}", row.mesh)
    return [
        [f"`{row.program}`", f"`{row.model}`", name, *place, *_program_cells(row, program)]
        for name, program in result["programs"].items()
    ]


def _program_cells(row, program):
    if not program["fits"]:
        needs = program.get("needs")
        text = "does not fit" + (f": {needs / GIB:.1f}" if needs else "")
        return [f"{row.batch:,}", "", text, "", f"{program['seconds']:.0f}"]
    counts = program["collectives"].items()
    return [
        f"{row.batch:,}",
        f"{program['arguments'] / GIB:.2f}",
        f"{program['temporaries'] / GIB:.2f}",
        ", ".join(f"{count} {kind}" for kind, count in counts) or "none",
        f"{program['seconds']:.0f}",
    ]
