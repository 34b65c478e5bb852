"""The memory of this process, as Linux tells it."""

from __future__ import annotations

from pathlib import Path


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
