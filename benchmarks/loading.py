"""Seconds and memory to load a Marian checkpoint of 60 million weights.

    python benchmarks/loading.py --write docs/benchmarks.md

The folder is saved by Hugging Face with random weights, in float32 and in float16. Each backend
loads it in a fresh process that has built a small model before. Memory is that of the process
(Linux): its peak while loading less what it held before, against the size of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import machine, write_section

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKENDS = ("tensorflow", "jax", "torch")


def save_reference(folder: Path) -> None:
    """Saves the base size with 32,000 ids, twice."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=32_000,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        max_position_embeddings=512,
        pad_token_id=31_999,
        eos_token_id=0,
        decoder_start_token_id=31_999,
        activation_function="swish",
        scale_embedding=True,
    )
    model = transformers.MarianMTModel(config)
    model.save_pretrained(folder / "float32")
    model.half().save_pretrained(folder / "float16")


def memory(key: str) -> int:
    """Bytes that the process holds (VmRSS), or the most that it has held (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}.")


def measure(folder: str) -> dict:
    """Loads the folder in this process."""
    import keras_transformer as kt

    kt.models.transformer(100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, started = memory("VmRSS"), time.perf_counter()
    model = kt.pretrained.load(folder)
    return {
        "seconds": time.perf_counter() - started,
        "peak": memory("VmHWM") - before,
        "parameters": model.count_params(),
    }


def measure_in_process(folder: Path, backend: str) -> dict:
    command = [sys.executable, __file__, "--measure", str(folder)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    if process.returncode:
        raise SystemExit(process.stderr[-3000:])
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", help="load this folder, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        save_reference(Path(temporary))
        for dtype in ("float32", "float16"):
            folder = Path(temporary) / dtype
            size = (folder / "model.safetensors").stat().st_size
            for backend in BACKENDS:
                print(f"{dtype} on {backend} ...", flush=True)
                result = measure_in_process(folder, backend)
                rows.append(
                    f"| {backend} | {dtype} | {size / 1e6:.0f} | {result['seconds']:.1f} "
                    f"| {result['peak'] / 1e6:.0f} | {result['peak'] / size:.2f} |"
                )
    table = "\n".join(rows)
    body = f"""```bash
python benchmarks/loading.py --write docs/benchmarks.md
```

`kt.pretrained.load` of a Marian checkpoint with {result["parameters"]:,} weights, in a process that
has built a small model before. Memory is the most that the process held while loading beyond what
it held before; the model itself is float32.

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
