"""Time and memory to load a Marian checkpoint with 60 million weights, and SmolLM2 from GGUF.

    python benchmarks/loading.py --write docs/benchmarks.md

The folder is saved by Hugging Face with random weights, in float32 and in float16; SmolLM2 has 135
million weights of about 4 bits. Each backend loads them in a new process that has already built a
small model. Memory (Linux) is the peak of the process while loading, minus what it held before, and
is compared with the size of the weights in float32.
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
    parser.add_argument("--measure", help="load this folder or file, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print_result(measure(arguments.measure))
        return
    import keras_transformer as kt

    rows, counts = [], []
    with tempfile.TemporaryDirectory() as temporary:
        save_reference(Path(temporary))
        smollm2 = kt.datasets.smollm2.load_file()
        files = {
            "Marian, float32": Path(temporary) / "float32" / "model.safetensors",
            "Marian, float16": Path(temporary) / "float16" / "model.safetensors",
            "SmolLM2, GGUF": smollm2,
        }
        for name, path in files.items():
            size = path.stat().st_size
            source = path if path == smollm2 else path.parent
            for backend in BACKENDS:
                print(f"{name} on {backend} ...", flush=True)
                result = result_of(__file__, "--measure", str(source), KERAS_BACKEND=backend)
                rows.append(
                    f"| {backend} | {name} | {size / 1e6:.0f} | {result['seconds']:.1f} "
                    f"| {result['peak'] / 1e6:.0f} "
                    f"| {result['peak'] / (4 * result['parameters']):.2f} |"
                )
            counts.append(result["parameters"])
    table = "\n".join(rows)
    body = f"""```bash
python benchmarks/loading.py --write docs/benchmarks.md
```

`kt.pretrained.load` of a Marian checkpoint with {counts[0]:,} weights and of SmolLM2 with
{counts[-1]:,}, in a process that has already built a small model. Memory is the peak of the process
while loading, minus what it held before; the loaded model is float32.

| backend | file | MB on disk | seconds | MB of memory | memory / float32 weights |
|---|---|---|---|---|---|
{table}

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Loading a checkpoint", body)


if __name__ == "__main__":
    main()
