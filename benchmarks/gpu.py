"""One command for a machine with an NVIDIA GPU: invariants, training, decoding and attention.

    KERAS_BACKEND=torch python benchmarks/gpu.py --write docs/benchmarks.md

It takes at most 8 minutes, for the backend that KERAS_BACKEND names (torch, jax or tensorflow),
which must be installed with CUDA. Each system runs in its own process, one at a time, because
every framework takes the GPU's memory for itself. What is missing, fails or does not fit into
memory or time becomes a line in the tables. Each result is written to a JSON file at once.
`--smoke` runs everything on tiny models, on a CPU too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import datetime
from pathlib import Path

from page import machine, shown_options, write_between
from processes import print_result, results_as_they_come

SECONDS = 470  # the last lines take some more
# Share of the time; what a part does not need goes to those after it.
PARTS = {"laws": 0.25, "training": 0.4, "decoding": 0.2, "attention": 0.15}
TITLES = {
    "laws": "Invariants",
    "training": "A training step",
    "decoding": "Decoding",
    "attention": "Attention",
}
# The time to start a process and compile; less is not worth starting one.
LEAST_SECONDS = 10
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # KerasHub imports TensorFlow on every backend: none may take all of the memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
OF_LAWS = {
    # float32 is multiplied as such, not rounded to TF32.
    "NVIDIA_TF32_OVERRIDE": "0",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    # Otherwise the tests would make JAX compile without optimization.
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
}


def part_module(part: str):
    """The module of a part, imported in the processes that measure."""
    import gpu_attention
    import gpu_decoding
    import gpu_laws
    import gpu_training

    modules = (gpu_laws, gpu_training, gpu_decoding, gpu_attention)
    return dict(zip(PARTS, modules, strict=True))[part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny models, on a CPU too")
    parser.add_argument("--output", type=Path, help="JSON file, runs/gpu-<backend>.json by default")
    parser.add_argument("--write", help="Markdown page to write the tables to")
    parser.add_argument("--run", nargs="+", help="run a part's system, print JSON")
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.smoke)
        return
    started = time.monotonic()
    device = find_device(arguments)
    path = arguments.output or Path("runs", f"gpu-{device['backend']}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"started": datetime.now().isoformat(timespec="seconds"), **device, "results": []}
    for result in smoke_results(arguments) if arguments.smoke else results(arguments, started):
        content["results"].append(result)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print({key: value for key, value in result.items() if key != "tests"}, flush=True)
    body = section(content, arguments)
    print(body)
    if arguments.write:
        write_between(arguments.write, f"gpu, {device['backend']}", body)


def run(what: list[str], smoke: bool) -> None:
    """Prints the device; or runs a system of a part, or with `smoke` whole parts."""
    if what == ["device"]:
        run_device()
    elif smoke:
        for part in what:
            for system in part_module(part).SYSTEMS:
                run_system(part, system, smoke)
    else:
        run_system(*what, smoke=smoke)


def find_device(arguments: argparse.Namespace) -> dict:
    """Name and peak of the GPU, found in a process that ends and lets go of it."""
    found = results_as_they_come(__file__, "--run", "device", seconds=120, **ENVIRONMENT)
    device = list(found)[0]
    if "problem" in device:
        raise SystemExit(f"The backend cannot be used: {device['problem']}")
    if device["gpu"] is None and not arguments.smoke:
        raise SystemExit(
            f"Keras on {device['backend']} finds no GPU. Set KERAS_BACKEND to a backend that is "
            "installed with CUDA, or pass --smoke to try everything on a CPU."
        )
    return device


def results(arguments: argparse.Namespace, started: float):
    """Runs all systems of all parts, and yields what they measure."""
    share = 0.0
    for part in arguments.parts:
        share += PARTS[part] / sum(PARTS[one] for one in arguments.parts)
        deadline = started + share * arguments.seconds
        for system in part_module(part).SYSTEMS:
            left = deadline - time.monotonic()
            where = {"part": part, "system": system, "task": ""}
            if left < LEAST_SECONDS:
                yield {**where, "problem": "skipped: the time was up"}
                continue
            environment = {**ENVIRONMENT, **(OF_LAWS if part == "laws" else {})}
            options = ("--run", part, system)
            for one in results_as_they_come(__file__, *options, seconds=left, **environment):
                yield {**where, **one}


def smoke_results(arguments: argparse.Namespace):
    """Runs everything in one process, because nothing is measured on tiny models."""
    options = ("--smoke", "--run", *arguments.parts)
    environment = {**ENVIRONMENT, **OF_LAWS}
    first = arguments.parts[0]
    where = {"part": first, "system": part_module(first).SYSTEMS[0], "task": ""}
    for one in results_as_they_come(__file__, *options, seconds=arguments.seconds, **environment):
        yield {**where, **one}


def run_device() -> None:
    """Prints which GPU the backend has."""
    from gpu_device import PEAK_TFLOPS, backend_name, gpu_name

    name = gpu_name()
    print_result({"backend": backend_name(), "gpu": name, "peak": PEAK_TFLOPS.get(name)})


def run_system(part: str, system: str, smoke: bool) -> None:
    """Runs all tasks of a system in this process, and prints their results."""
    module = part_module(part)
    if part == "laws":
        found = module.results(system, smoke)
    else:
        found = results_of_tasks(module.tasks(system, smoke))
    for one in found:
        print_result({"part": part, "system": system, **one})


def results_of_tasks(tasks: dict):
    """Runs tasks one after the other, and yields a result whatever becomes of each."""
    from gpu_device import release_memory

    while tasks:
        name = next(iter(tasks))
        try:
            # Not kept: the task holds the model.
            result = tasks.pop(name)()
        except Exception as error:  # out of memory, a missing package, an unsupported argument
            result = {"problem": problem_of(error)}
        yield {"task": name, **result}
        release_memory()


def problem_of(error: Exception) -> str:
    """What to write into the table instead of a result."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    signs = ("OutOfMemory", "out of memory", "RESOURCE_EXHAUSTED", "ResourceExhausted", "OOM")
    if any(sign in text for sign in signs):
        return "out of memory"
    return " ".join(text.split())[:80].replace("|", "/")


def section(content: dict, arguments: argparse.Namespace) -> str:
    """The tables of all parts."""
    backend, name = content["backend"], content["gpu"] or "no GPU, tiny models"
    options = shown_options(arguments, seconds=SECONDS, parts=list(PARTS))
    options += " --smoke" if arguments.smoke else ""
    blocks = [
        f"```bash\nKERAS_BACKEND={backend} python benchmarks/gpu.py{options} "
        "--write docs/benchmarks.md\n```",
        f"**{name}**, Keras on {backend}.",
    ]
    for part in arguments.parts:
        found = [one for one in content["results"] if one["part"] == part]
        module = part_module(part)
        table = module.table(found, *([content["peak"]] if part == "training" else []))
        blocks.append(f"**{TITLES[part]}.** {module.DESCRIPTION}\n\n{table}")
    return "\n\n".join([*blocks, machine()])


if __name__ == "__main__":
    main()
