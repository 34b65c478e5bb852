"""Prints the requirement of libtpu that the installed JAX names for TPUs, such as libtpu==0.0.42.*.

python -m pip install --no-deps --target folder "$(python benchmarks/tpu_library.py)"
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterable
from pathlib import Path


def requirement(requirements: Iterable[str]) -> str:
    """The requirement of libtpu among those of a package.

    Args:
        requirements: Requirements with their markers.
    """
    for line in requirements:
        name, _, marker = line.partition(";")
        if name.startswith("libtpu") and "tpu" in marker:
            return name.strip()
    raise SystemExit(f"JAX {importlib.metadata.version('jax')} names no version of libtpu.")


def library_path() -> Path:
    """The file libtpu.so: that of TPU_LIBRARY_PATH, or where `make tpu-check` installs it."""
    default = Path(sys.prefix, "tpu", "libtpu", "libtpu.so")
    path = Path(os.environ.get("TPU_LIBRARY_PATH", default))
    if not path.is_file():
        raise SystemExit(
            f"There is no {path}: run `make tpu-check`, or set TPU_LIBRARY_PATH to libtpu.so."
        )
    return path


if __name__ == "__main__":
    print(requirement(importlib.metadata.requires("jax") or ()))
