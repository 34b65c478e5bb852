"""Time of `import keras_transformer` compared with `import keras`.

    python benchmarks/import_time.py --write docs/benchmarks.md

Fresh processes that alternate between the two, with the backend set by KERAS_BACKEND.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from page import machine, write_section


def seconds(module: str) -> float:
    """Seconds that a new process takes to import a module."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--write", help="Markdown page to write the section to")
    arguments = parser.parse_args()
    modules = ("keras", "keras_transformer")
    for module in modules:
        seconds(module)  # the first import fills the disk cache
    times = {module: [] for module in modules}
    for _ in range(arguments.repeats):
        for module in modules:
            times[module].append(seconds(module))
    keras, ours = (statistics.median(times[module]) for module in modules)
    body = f"""```bash
python benchmarks/import_time.py --write docs/benchmarks.md
```

| import, median of {arguments.repeats} fresh processes | seconds |
|---|---|
| `import keras` | {keras:.2f} |
| `import keras_transformer` | {ours:.2f} |
| ratio | {ours / keras:.3f} |

Backend {os.environ.get("KERAS_BACKEND", "tensorflow")}. {machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Import time", body)


if __name__ == "__main__":
    main()
