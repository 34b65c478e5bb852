"""Threads that share pipelines: the answers of one thread, and each program compiled once."""

import threading

import pytest

from keras_transformer.decoding import compilation
from tests.robustness import threads
from tests.robustness.memory import num_programs
from tests.robustness.pipelines import Request, ask, make_pipelines
from tests.robustness.threads import ask_together


@pytest.mark.slow
def test_the_answers_of_one_thread():
    assert "have the answers of one thread" in threads.run(24)


def test_threads_that_start_together_compile_each_program_once():
    request = Request("generate", ["the cat", "a dog ran"], {"max_new_tokens": 5})
    alone, together = make_pipelines(), make_pipelines()
    expected, compiled = ask(alone, request), num_programs(*alone)
    answers = ask_together(together, [request] * 8, num_threads=8)
    assert answers == [expected] * 8
    assert num_programs(*together) == compiled > 0
    assert ask(together, request) == expected  # here in the main thread
    assert num_programs(*together) == compiled


@pytest.mark.slow
def test_a_stream_goes_on_while_others_compile():
    """A compiled program does not wait for the programs that are being compiled."""
    pipelines = make_pipelines()
    request = Request("stream", "the cat sat on", {"max_new_tokens": 9})
    expected = ask(pipelines, request)
    answers = []
    with compilation._compiling:
        thread = threading.Thread(target=lambda: answers.append(ask(pipelines, request)))
        thread.start()
        thread.join(60)
    assert answers == [expected]
