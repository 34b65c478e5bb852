"""Running each measurement in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

_MARK = "RESULT "


def print_result(result: dict) -> None:
    """Prints a result, marked so that `result_of` finds it in the output."""
    print(_MARK + json.dumps(result))


def result_of(
    script: str, *arguments: str, timeout: float | None = None, **environment: str
) -> dict:
    """Runs a script in a new process and returns what it passed to `print_result`.

    Args:
        script: the script.
        *arguments: its arguments.
        timeout: the seconds after which to give up; None to wait for as long as it takes.
        **environment: environment variables.
    """
    command = [sys.executable, script, *arguments]
    options: dict = {"capture_output": True, "text": True, "env": {**os.environ, **environment}}
    try:
        process = subprocess.run(command, timeout=timeout, **options)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{script} took longer than {timeout:.0f} seconds.") from None
    for line in process.stdout.splitlines():
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise SystemExit(f"{script} failed with status {process.returncode}:\n{process.stderr[-3000:]}")


def use_all_cores() -> None:
    """Sets TensorFlow to two threads per core in the processes started from here on.

    With its default of one thread per core, both threads of a machine with two cores may run on one
    core while the thread that schedules their work occupies the other. This setting makes steps of
    small models faster, but not those of larger ones, so `training_step.py` does not use it.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(2 * (os.cpu_count() or 1)))
