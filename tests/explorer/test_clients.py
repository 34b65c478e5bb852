"""Many clients at once, slow ones and ones that leave; and the queue that they wait in."""

import asyncio
import json
import socket
import threading
import time

import pytest

from keras_transformer.explorer.inference import BusyError, ClientGoneError, Inference
from tests.explorer import serving


def opened_request(server, name, **fields):
    """A connection on which a request was sent, and nothing read yet."""
    body = json.dumps(fields).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"POST /api/{name} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
    return connection


def rest_of(connection, pause=0.0):
    """Reads to the end, with pauses."""
    parts = []
    with connection:
        while part := connection.recv(2048 if pause else 1 << 20):
            parts.append(part)
            time.sleep(pause)
    return b"".join(parts)


@pytest.mark.slow
def test_fifty_clients_five_of_them_slow(server):
    found, lock = [], threading.Lock()

    def slow():
        answer = rest_of(
            opened_request(server, "generate", text="the cat", max_new_tokens=20), 0.01
        )
        with lock:
            found.append(("slow", answer.startswith(b"HTTP/1.1 200") and b'"done":true' in answer))

    def quick(number):
        name = ("run", "generate")[number % 2]
        status, answer = server.post(name, text="the cat sat", max_new_tokens=4)
        good = status == 200 and (answer["reads"] if name == "run" else answer[-1]["done"])
        with lock:
            found.append((name, bool(good)))

    threads = [threading.Thread(target=slow) for _ in range(5)]
    threads += [threading.Thread(target=quick, args=(number,)) for number in range(45)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 50 and all(good for _, good in found), found


def test_clients_that_read_nothing_hold_up_nobody(server):
    stuck = [
        opened_request(server, "generate", text="the cat", max_new_tokens=30) for _ in range(5)
    ]
    try:
        started = time.monotonic()
        for _ in range(3):
            assert server.post("run", text="the cat sat on the mat")[0] == 200
        assert time.monotonic() - started < 30
    finally:
        for connection in stuck:
            connection.close()


@pytest.mark.slow
def test_a_client_that_leaves_ends_its_stream(server, monkeypatch):
    counted = []
    real = "keras_transformer.explorer.live_generation.encode_tensor"

    def count(array):
        counted.append(1)
        time.sleep(0.02)
        return {"data": "x" * 200_000}  # more than a socket takes before somebody reads

    monkeypatch.setattr(real, count)
    connection = opened_request(server, "generate", text="the cat", max_new_tokens=30, top_k=0)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    connection.close()
    before = -1
    while before != len(counted):
        before = len(counted)
        time.sleep(1.0)
    assert len(counted) < 30
    monkeypatch.undo()
    assert server.post("run", text="the cat")[0] == 200


def test_a_full_queue_is_told(answers):
    inference, busy = Inference(max_waiting=1), threading.Event()
    with serving(answers, inference=inference) as server:
        inference._executor.submit(busy.wait)
        waiting = opened_request(server, "run", text="the cat")
        time.sleep(0.5)
        status, answer = server.post("run", text="the cat")
        assert status == 503 and "Too many requests are waiting" in answer["error"]
        assert server.request("GET", "/api/model")[0] == 200
        assert server.post("vocabulary")[0] == 200
        busy.set()
        assert rest_of(waiting).startswith(b"HTTP/1.1 200")


# === The queue itself ===


async def never():
    await asyncio.sleep(100)


async def at_once():
    pass


def test_what_nobody_waits_for_is_not_computed():
    async def scenario():
        inference, busy, called = Inference(), threading.Event(), []
        blocking = asyncio.ensure_future(inference.run(busy.wait))
        await asyncio.sleep(0)
        with pytest.raises(ClientGoneError):
            await inference.run(called.append, 1, gone=at_once)
        busy.set()
        await blocking
        assert await inference.run(lambda: 5, gone=never) == 5
        inference.close()
        assert called == [] and inference._waiting == 0

    asyncio.run(scenario())


def test_streams_take_turns_and_are_bounded():
    async def scenario():
        inference, order = Inference(max_streams=2), []

        def lines(name):
            for number in range(3):
                order.append(name)
                yield number

        async def read(name):
            return [line async for line in inference.stream(lines(name), gone=never)]

        assert await asyncio.gather(read("a"), read("b")) == [[0, 1, 2], [0, 1, 2]]
        assert order == ["a", "b", "a", "b", "a", "b"]
        streams = [inference.stream(lines(name)) for name in "cde"]
        assert [await anext(stream) for stream in streams[:2]] == [0, 0]
        with pytest.raises(BusyError, match="Too many texts are being written"):
            await anext(streams[2])
        await streams[0].aclose()
        assert inference._streams == 1
        await streams[1].aclose()
        inference.close()

    asyncio.run(scenario())


def test_failures_reach_the_one_who_asked():
    async def scenario():
        inference = Inference()
        with pytest.raises(ZeroDivisionError):
            await inference.run(lambda: 1 / 0)
        assert inference._waiting == 0
        inference.close()

    asyncio.run(scenario())
