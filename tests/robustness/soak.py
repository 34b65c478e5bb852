"""Long runs of what must hold over time.

`python -m tests.robustness.soak --only training --requests 5000 --minutes 15` runs one kind on the
backend that KERAS_BACKEND names.
"""

import argparse
import time

from tests.robustness import training

# Each with its function, which takes an amount, and its usual amount.
KINDS = {
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
