"""Time and memory to load a Marian checkpoint with 60 million weights.

    python benchmarks/loading.py --write docs/benchmarks.md

The folder is saved by Hugging Face with random weights, in float32 and in float16. Each backend
loads it in a new process that has already built a small model. Memory (Linux) is the peak of the
process while loading, minus what it held before, and is compared with the size of the file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from decoding_translation import reference_marian
from memory import growth, start_counting
from page import machine, write_section
from processes import print_result, result_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKENDS = ("tensorflow", "jax", "torch")


def save_reference(folder: Path) -> None:
    """Saves the translation benchmark's model in both dtypes."""
    model = reference_marian()
    model.save_pretrained(folder / "float32")
    model.half().save_pretrained(folder / "float16")


def measure(folder: str) -> dict:
    """Measures loading the folder in this process."""
    import keras_transformer as kt

    kt.models.transformer(100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
    before, started = start_counting(), time.perf_counter()
    model = kt.pretrained.load(folder)
    return {
        "seconds": time.perf_counter() - started,
        "peak": growth(before),
        "parameters": model.count_params(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", help="load this folder, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print_result(measure(arguments.measure))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        save_reference(Path(temporary))
        for dtype in ("float32", "float16"):
            folder = Path(temporary) / dtype
            size = (folder / "model.safetensors").stat().st_size
            for backend in BACKENDS:
                print(f"{dtype} on {backend} ...", flush=True)
                result = result_of(__file__, "--measure", str(folder), KERAS_BACKEND=backend)
                rows.append(
                    f"| {backend} | {dtype} | {size / 1e6:.0f} | {result['seconds']:.1f} "
                    f"| {result['peak'] / 1e6:.0f} | {result['peak'] / size:.2f} |"
                )
    table = "\n".join(rows)
    body = f"""```bash
python benchmarks/loading.py --write docs/benchmarks.md
```

`kt.pretrained.load` of a Marian checkpoint with {result["parameters"]:,} weights, in a process that
has already built a small model. Memory is the peak of the process while loading, minus what it held
before; the loaded model is float32.

| backend | file | MB on disk | seconds | MB of memory | memory / file |
|---|---|---|---|---|---|
{table}

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Loading a checkpoint", body)


if __name__ == "__main__":
    main()
