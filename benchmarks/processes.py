"""Running each measurement in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

_MARK = "RESULT "


def print_result(result: dict) -> None:
    """Prints a result, marked so that `result_of` finds it in the output."""
    print(_MARK + json.dumps(result), flush=True)


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


def results_as_they_come(
    script: str, *arguments: str, seconds: float, **environment: str
) -> Iterator[dict]:
    """Runs a script in a new process and yields whatever it passes to `print_result` at once.

    Args:
        script: Path of the script.
        *arguments: Its command line.
        seconds: Time after which the process is killed.
        **environment: More environment variables.

    Yields:
        The results; at the end `{"problem": ...}` if the process was killed or failed.
    """
    command = [sys.executable, script, *arguments]
    environment = {**os.environ, **environment}
    late = threading.Event()
    # A new session, so that whatever the process starts ends with it.
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,
        ) as process,
    ):

        def stop():
            late.set()
            _kill_session(process)

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            for line in process.stdout or ():
                if line.startswith(_MARK):
                    yield json.loads(line.removeprefix(_MARK))
            status = process.wait()
        finally:
            timer.cancel()
            _kill_session(process)
        if late.is_set():
            yield {"problem": f"stopped after {seconds:.0f} s"}
        elif status:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or [""])[-1]
            yield {"problem": f"ended with status {status}: {last[:120]}"}


def _kill_session(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def use_all_cores() -> None:
    """Sets TensorFlow to two threads per core in the processes started from here on.

    With its default of one thread per core, both threads of a machine with two cores may run on one
    core while the thread that schedules their work occupies the other. This setting makes steps of
    small models faster, but not those of larger ones, so `training_step.py` does not use it.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(2 * (os.cpu_count() or 1)))
