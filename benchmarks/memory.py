"""The memory of this process, as Linux tells it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def memory(key: str) -> int:
    """Bytes that the process holds (VmRSS), or the most that it has held (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}.")


def start_counting() -> int:
    """Lets the peak count from here; returns the bytes that the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def growth(before: int) -> int:
    """The most bytes that the process has held since, beyond what it held then."""
    return memory("VmHWM") - before


def run_and_measure(run: Callable[[], Any], repeats: int) -> tuple[Any, int, float]:
    """Runs once for the memory, and some times more for the time.

    Args:
        run: what is ready to run, its program being compiled.
        repeats: how often for the time.

    Returns:
        What the last run returned, the most bytes that the first one held, the median of seconds.
    """
    # The first alone: later ones find memory that the process has kept for them.
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
