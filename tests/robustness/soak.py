"""Long runs of what must hold under load, which `make soak` starts.

`python -m tests.robustness.soak` runs all kinds on the backend that KERAS_BACKEND names, `--only
threads --requests 2000` one of them.
"""

import argparse
import time

from tests.robustness import memory, texts, threads, training

# Each with its function, which takes an amount, and its usual amount.
KINDS = {
    "threads": (threads.run, 2_000),
    "memory": (memory.run, 10_000),
    "texts": (texts.run, 100_000),
    "training": (training.run, 5_000),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=KINDS, help="one kind; by default all run")
    parser.add_argument("--requests", type=int, help="number of requests, sentences or steps")
    parser.add_argument("--minutes", type=float, help="at most so long, for `training`")
    arguments = parser.parse_args()
    for kind in [arguments.only] if arguments.only else KINDS:
        run, usual = KINDS[kind]
        limit = [arguments.minutes] if arguments.minutes and kind == "training" else []
        started = time.perf_counter()
        report = run(arguments.requests or usual, *limit)
        print(f"{kind}: {report} [{time.perf_counter() - started:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
