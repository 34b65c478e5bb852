"""Many threads that share one translator and one text generator."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.robustness.pipelines import ask, make_pipelines, mixed_requests, same

NUM_THREADS = 16


def run(count):
    """Sends requests from many threads to fresh pipelines; they must get one thread's answers."""
    requests = mixed_requests(count)
    started = time.perf_counter()
    alone = make_pipelines()
    expected = [ask(alone, request) for request in requests]
    between = time.perf_counter()
    answers = ask_together(make_pipelines(), requests)
    ended = time.perf_counter()
    wrong = [
        (request, answer, right)
        for request, answer, right in zip(requests, answers, expected, strict=True)
        if not same(answer, right)
    ]
    assert not wrong, f"{len(wrong)} of {count} answers differ, the first is {wrong[0]}"
    return (
        f"{count} requests from {NUM_THREADS} threads have the answers of one thread "
        f"({between - started:.0f} s with one thread, {ended - between:.0f} s with all)"
    )


def ask_together(pipelines, requests, num_threads=NUM_THREADS):
    """The answers to requests from threads that all start at the same moment."""
    gate = threading.Barrier(min(num_threads, len(requests)))
    with ThreadPoolExecutor(gate.parties, initializer=gate.wait) as pool:
        return list(pool.map(lambda request: ask(pipelines, request), requests))
