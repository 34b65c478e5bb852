"""Memory of this process, as reported by Linux."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def memory(key: str) -> int:
    """Bytes held by the process: now (VmRSS) or at its peak (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}.")


def start_counting() -> int:
    """Resets the peak; returns the bytes that the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def growth(before: int) -> int:
    """The peak since `start_counting`, minus the bytes held then."""
    return memory("VmHWM") - before


def run_and_measure(run: Callable[[], Any], repeats: int) -> tuple[Any, int, float]:
    """Runs once to measure memory, then repeatedly to measure time.

    Args:
        run: a function that is already compiled.
        repeats: number of timed runs.

    Returns:
        The result of the last run, the peak memory of the first one, and the median seconds.
    """
    # Only the first run: later ones reuse memory that the process has kept.
    before = start_counting()
    result = run()
    peak = growth(before)
    times = []
    for _ in range(repeats):
        del result
        started = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - started)
    return result, peak, statistics.median(times)
