"""Loads damaged files in a process with limits on memory and time, one line of JSON per event.

`python -m tests.robustness.worker FOLDER SUBJECT [SUBJECT ...]` builds the folders, and then reads
lines "SUBJECT SEED". A crash or a hang in native code ends it; the process that started it knows
the line that it was about to answer.
"""

import gc
import json
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

# CPU time, so that other processes do not matter; waiting has a separate limit.
SECONDS, WAITING_SECONDS = 1.0, 20.0
FREE_BYTES = 2**26
# Words in the messages of libraries that run out of memory.
MEMORY = ("allocate", "alloc", "out of memory", "MemoryError", "bad_alloc")


class Hang(BaseException):
    """Raised by the alarm; no `except Exception` catches it."""


def raise_hang(*_):
    raise Hang


def send(**event):
    print(json.dumps(event), flush=True)


def address_space():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def classify(error, names):
    """Returns "refused" for an error that loaders may raise, otherwise what is wrong with it."""
    message = str(error)
    if isinstance(error, Hang):
        return "hang"
    if isinstance(error, MemoryError) or any(word in message for word in MEMORY):
        return "memory"
    if isinstance(error, (FileNotFoundError, ImportError)):
        return "refused"
    if type(error) is not ValueError:
        return "type"
    return "refused" if any(name in message for name in names) else "unnamed"


def attempt(load, folder, names, num_bytes, seconds):
    """Loads a folder within the limits. Returns the outcome and the message of the error."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2 * num_bytes + FREE_BYTES, hard))
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WAITING_SECONDS + 20 * seconds)
        load(folder)
        return "loaded", ""
    except (Exception, Hang) as error:
        return classify(error, names), f"{type(error).__name__}: {error!s:.600}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def run(root, subjects):
    from tests.robustness.mutations import mutate
    from tests.robustness.subjects import SUBJECTS, copy, files_of

    times = {}
    for name in subjects:
        SUBJECTS[name].build(root / name)
        for _ in range(2):  # the second time without imports
            start = time.process_time()
            SUBJECTS[name].load(root / name)
            times[name] = time.process_time() - start
    send(ready=times)
    signal.signal(signal.SIGALRM, raise_hang)
    signal.signal(signal.SIGPROF, raise_hang)
    work = root / "work"
    for count, line in enumerate(sys.stdin, 1):
        name, seed = line.split()
        generator = random.Random(f"{name} {seed}")
        copy(root / name, work)
        names = files_of(work)
        place = generator.choice(names)
        content = mutate((work / place).read_bytes(), place, generator)
        (work / place).write_bytes(content)
        # Undamaged models take a moment to build, too.
        seconds = SECONDS + 3 * times[name]
        known = [Path(one).name for one in names]
        start = time.process_time()
        outcome, message = attempt(SUBJECTS[name].load, work, known, len(content), seconds)
        took = time.process_time() - start
        send(subject=name, seed=seed, file=place, outcome=outcome, message=message, seconds=took)
        if count % 20 == 0:
            gc.collect()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run(Path(sys.argv[1]), sys.argv[2:])
