"""Damages files at random and reports how loaders react to them.

`python -m tests.robustness.fuzz --mutations 200000 --minutes 30` stops at either limit and prints
each failure; `--only SUBJECT --first SEED --mutations 1` repeats it.
"""

import argparse
import collections
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Torch is the fastest to import, and all backends read files in the same way. One malloc arena,
# because the system reserves address space for the arena of each thread.
ENVIRONMENT = {
    "KERAS_BACKEND": "torch",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONFAULTHANDLER": "1",
    "RUST_BACKTRACE": "0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
# The kinds of folders in subjects.py, known without importing the library.
SUBJECT_NAMES = (
    *("safetensors", "shards", "torch", "marian", "firefox", "gguf", "sentence_encoder"),
    *("text_generator", "translator", "lora", "shortlist"),
    *("merges", "tokenizer_json", "vocab_txt"),
    *("unigram_spm", "fairseq_spm", "marian_spm", "m2m_spm"),
)
# Enough for the imports, and for native code that the alarm cannot interrupt.
START_SECONDS, STUCK_SECONDS = 300.0, 120.0
GOOD = ("loaded", "refused")


class Worker:
    """A process that loads damaged files, and is restarted when it dies."""

    def __init__(self, folder, subjects):
        self.folder, self.subjects = folder, subjects
        self.process = None

    def start(self):
        self.errors = tempfile.TemporaryFile()
        self.place = tempfile.mkdtemp(dir=self.folder)
        command = [sys.executable, "-m", "tests.robustness.worker", self.place, *self.subjects]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **ENVIRONMENT},
            cwd=ROOT,
        )
        ready = self.answer(START_SECONDS)
        if "ready" not in ready:
            raise RuntimeError(f"The worker did not start: {ready}")

    def answer(self, seconds):
        """The next line of the process, or how it ended."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.process.kill()
            return self.ended("hang")
        line = self.process.stdout.readline()
        return json.loads(line) if line else self.ended("crash")

    def ended(self, outcome):
        code = self.process.wait()
        self.errors.seek(0)
        message = self.errors.read().decode(errors="replace")[-3000:]
        self.close()
        return {"outcome": outcome, "message": f"exit status {code}\n{message}", "file": "?"}

    def run(self, subject, seed):
        if self.process is None:
            self.start()
        self.process.stdin.write(f"{subject} {seed}\n".encode())
        self.process.stdin.flush()
        return {"subject": subject, "seed": seed, **self.answer(STUCK_SECONDS)}

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.errors.close()
            self.process = None


def fuzz(cases, subjects, seconds):
    """Yields the result of each case, a subject and a seed, until the time is up.

    The time starts when the first process is ready.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(folder, subjects)
        try:
            worker.start()
            end = time.monotonic() + seconds
            for subject, seed in cases:
                if time.monotonic() > end:
                    return
                yield worker.run(subject, seed)
        finally:
            worker.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", nargs="+", choices=SUBJECT_NAMES, default=SUBJECT_NAMES)
    options = parser.parse_args()
    print(f"seeds from {options.first}, each for {', '.join(options.only)}", flush=True)
    numbers = range(options.first * len(options.only), sys.maxsize)
    cases = (
        (options.only[number % len(options.only)], number // len(options.only))
        for number in numbers[: options.mutations]
    )
    counts = collections.Counter()
    for result in fuzz(cases, options.only, options.minutes * 60):
        counts[result["outcome"]] += 1
        if result["outcome"] not in GOOD:
            print(json.dumps(result), flush=True)
    print(dict(counts))
    return any(outcome not in GOOD for outcome in counts)


if __name__ == "__main__":
    sys.exit(main())
