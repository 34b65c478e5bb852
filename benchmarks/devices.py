"""Agreement of training on several devices with training on one, step by step.

    python benchmarks/devices.py --write docs/many-devices.md

The devices are parts of one CPU, and the models are small: this checks correctness, not speed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from page import machine, write_between

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# The tests use the same models and cases.
from tests.training.many_devices import MODELS, result_of, start, start_two  # noqa: E402

# Name of each case in the table.
ON_JAX = {
    "data_parallel": "`DataParallel`, 8 devices",
    "2x4": "`ModelParallel`, 2 x 4 devices",
    "4x2": "`ModelParallel`, 4 x 2 devices",
    "1x8": "`ModelParallel`, 1 x 8 devices",
}
# Losses this close count as equal: the order of float32 sums differs.
TOLERANCE = 1e-4


def of_two(backend: str, *arguments: str) -> dict:
    """The results of the first of two processes that train together."""
    return [result_of(process) for process in start_two(backend, *arguments)][0]


def row(backend: str, name: str, found: dict, expected: dict) -> str:
    """A table row: the largest difference between losses at the same step."""
    cells = []
    for model in MODELS:
        if model not in found:
            cells.append("")
            continue
        pairs = zip(found[model]["loss"], expected[model]["loss"], strict=True)
        largest = max(abs(one - other) for one, other in pairs)
        if not largest <= TOLERANCE:
            raise SystemExit(f"{backend}, {name}, {model}: the losses differ by {largest:.1e}.")
        cells.append(f"{largest:.1e}")
    return f"| {backend} | {name} | {' | '.join(cells)} |"


def table() -> tuple[str, str]:
    """All rows, and the first and last losses."""
    rows = ["| Keras on | devices | " + " | ".join(MODELS) + " |", "|---" * 5 + "|"]
    jax = result_of(start("jax", "losses", "one", *ON_JAX))
    rows += [row("JAX", name, jax[case], jax["one"]) for case, name in ON_JAX.items()]
    rows.append(row("JAX", "2 processes", of_two("jax", "process", *MODELS), jax["one"]))
    tensorflow = result_of(start("tensorflow", "losses", "one", "mirrored"))
    name = "`MirroredStrategy`, 2 devices"
    rows.append(row("TensorFlow", name, tensorflow["mirrored"], tensorflow["one"]))
    torch = result_of(start("torch", "losses", "one:gpt"))
    name = "2 processes, a custom loop"
    rows.append(row("torch", name, of_two("torch", "torch_process"), torch["one"]))
    curves = [jax["one"][model]["loss"] for model in ("gpt", "translator")]
    falls = [f"from {curve[0]:.2f} to {curve[-1]:.2f}" for curve in curves]
    return "\n".join(rows), (
        f"{len(curves[0])} steps each; the loss falls {falls[0]} (gpt) and {falls[1]} (translator)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", help="Markdown page to write the table to")
    arguments = parser.parse_args()
    rows, steps = table()
    body = f"""```bash
python benchmarks/devices.py --write docs/many-devices.md
```

{rows}

{steps} {machine()}
"""
    print(body)
    if arguments.write:
        write_between(arguments.write, "devices", body)


if __name__ == "__main__":
    main()
