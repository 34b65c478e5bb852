"""Benchmarks that measure each system in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

_MARK = "RESULT "


def print_result(result: dict) -> None:
    """Prints what the process measured, for `result_of` to find among all that it printed."""
    print(_MARK + json.dumps(result))


def result_of(script: str, *arguments: str, **environment: str) -> dict:
    """Runs a script alone and returns what it gave to `print_result`."""
    command = [sys.executable, script, *arguments]
    environment = {**os.environ, **environment}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    for line in process.stdout.splitlines():
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise SystemExit(f"It failed with status {process.returncode}:\n{process.stderr[-3000:]}")


def use_all_cores() -> None:
    """Gives TensorFlow twice as many threads as there are cores, for the processes to come.

    With as many as cores, its default, both threads of a machine with two cores may come to sit on
    one of them while the thread that hands them their work has the other. Steps of small models
    are faster so, those of larger ones are not: `training_step.py` does without.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(2 * (os.cpu_count() or 1)))
