"""Long tests under load, started by `make soak`.

`python -m tests.robustness.soak` runs all kinds on the backend named by KERAS_BACKEND; `--only
threads --requests 2000` runs one of them.
"""

import argparse
import time

from tests.robustness import memory, texts, threads, training

# The function of each kind, which takes an amount, and the default amount.
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
    parser.add_argument("--minutes", type=float, help="time limit of `training`")
    arguments = parser.parse_args()
    for kind in [arguments.only] if arguments.only else KINDS:
        run, usual = KINDS[kind]
        limit = [arguments.minutes] if arguments.minutes and kind == "training" else []
        started = time.perf_counter()
        report = run(arguments.requests or usual, *limit)
        print(f"{kind}: {report} [{time.perf_counter() - started:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
