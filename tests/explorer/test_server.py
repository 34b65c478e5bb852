"""The server: what it serves, and what it turns away."""

import json
import socket
import subprocess
import sys
import time

import pytest

import keras_transformer as kt
from keras_transformer.explorer.guards import Guards
from tests.explorer import tiny_model


def raw(server, text):
    """The answer to bytes that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(text.encode("latin-1"))
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def post(server, body, **headers):
    headers = {"Content_Type": "application/json", **headers}
    headers = {name.replace("_", "-"): value for name, value in headers.items() if value}
    status, _, answer = server.request("POST", "/api/run", body, headers)
    return status, json.loads(answer)["error"] if status != 200 else json.loads(answer)


# === What it serves ===


def test_the_model_is_described(server, answers):
    status, headers, body = server.request("GET", "/api/model")
    assert status == 200 and json.loads(body) == json.loads(json.dumps(answers.model()))
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "application/json"


def test_only_files_of_the_page_are_served(server):
    for path in ("/page/../answers.py", "/page/%2e%2e/answers.py", "/page/..%2fanswers.py"):
        status, _, body = server.request("GET", path)
        assert status == 404 and b"Answers" not in body
    for path in ("/page/x.js", "/web/", "/page/", "/page/%00.js", "/page//etc/passwd", "/nothing"):
        status, headers, body = server.request("GET", path)
        assert status == 404 and json.loads(body)["error"]
        assert "content-security-policy" in headers
    assert server.request("GET", "/api/run")[0] == 405


def test_a_run_and_its_tensors(server):
    status, run = server.post("run", text="the cat sat")
    assert status == 200 and run["reads"]
    status, answer = server.post("tensor", run=run["run"], name=run["output"]["logits"])
    assert status == 200 and answer["shape"][0] == len(run["reads"])
    status, answer = server.post("tensor", run="none", name="x")
    assert status == 404 and "no longer kept" in answer["error"]
    status, answer = server.post("vocabulary")
    assert status == 200 and len(answer["texts"]) > 10


def test_a_stream_of_tokens(server, answers):
    status, lines = server.post("generate", text="the cat", max_new_tokens=5, temperature=None)
    assert status == 200
    assert lines[0]["prompt"] and lines[-1]["done"]
    expected = answers.opened.pipeline.generate("the cat", 5)
    assert lines[-1]["text"] == expected
    status, answer = server.post("generate", text="the cat", max_new_tokens=0)
    assert status == 400 and "`max_new_tokens` must be" in answer["error"]


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "a\u2028b & c", "مرحبا", "e\u0301", "\ud800", "\0", "日本語"],
)
def test_texts_of_any_characters(server, text):
    status, answer = server.post("run", text=text)
    assert status == 200 and answer["reads"]


# === What it turns away ===


def test_bad_requests_get_a_message_and_the_server_lives(server):
    for body in ("", "{", "[]", "5", "[" * 50_000, '{"text": ""}', '{"text": null}', "{}"):
        status, error = post(server, body)
        assert status == 400 and error
    status, error = post(server, json.dumps({"text": "the cat sat on " * 300}))
    assert status == 400 and "tokens" in error
    heads = {"decoder/block_0/self_attention": [7]}
    status, error = post(server, json.dumps({"text": "the cat", "ablate": heads}))
    message = "`ablate['decoder/block_0/self_attention']` must contain heads below 2. Received: "
    assert status == 400 and error.startswith(message)
    status, error = post(server, json.dumps({"text": ["the cat"] * 5000}))
    assert status == 400 and len(error) < 600
    status, error = post(server, '{"text": "\u00e9"}'.encode("latin-1"))
    assert status == 400 and "JSON" in error
    assert server.post("run", text="the cat")[0] == 200


def test_large_requests(server):
    body = json.dumps({"text": "a" * (1 << 20)})
    assert post(server, body) == (413, "The request must have at most 64 kB: give a shorter text.")
    chunk = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    answer = raw(
        server,
        f"POST /api/run HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}",
    )
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types(server, kind):
    status, error = post(server, '{"text": "the cat"}', Content_Type=kind)
    assert status == 415 and "application/json" in error
    assert post(server, '{"text": "a"}', Content_Type="application/json; charset=utf-8")[0] == 200


def test_other_origins(server):
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"):
        status, error = post(server, '{"text": "the cat"}', Origin=origin)
        assert status == 403 and "`Origin` must be this server" in error
    assert post(server, '{"text": "a"}', Origin=f"http://localhost:{server.port}")[0] == 200
    assert post(server, '{"text": "a"}')[0] == 200


def test_other_hosts(server):
    port = server.port
    names = ("evil.example", f"evil.example:{port}", "127.0.0.1:1", "", f"x@127.0.0.1:{port}")
    for host in (*names, f"127.0.0.1.evil.example:{port}", f"192.168.0.1:{port}", "[::1"):
        answer = raw(server, f"GET /api/model HTTP/1.1\r\nHost: {host}\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400"), host
    assert raw(server, "GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400")
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        answer = raw(
            server, f"GET /api/model HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200"), host
    assert server.request("OPTIONS", "/api/run")[0] == 405


def test_hosts_of_a_server_for_others():
    guards = Guards(None, "0.0.0.0", 80)
    assert guards._is_own("192.168.0.7") and guards._is_own("[fe80::1]:80")
    assert not guards._is_own("evil.example") and not guards._is_own("192.168.0.7:8000")
    guards = Guards(None, "My-Machine", 8000)
    assert guards._is_own("my-machine:8000") and not guards._is_own("192.168.0.7:8000")


def test_a_body_that_does_not_come(server, monkeypatch):
    monkeypatch.setattr("keras_transformer.explorer.guards._PATIENCE", 0.2)
    head = f"POST /api/run HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 100\r\n"
    started = time.monotonic()
    answer = raw(server, f"{head}Content-Type: application/json\r\n\r\n{{")
    assert answer.startswith(b"HTTP/1.1 408") and time.monotonic() - started < 20


def test_a_failure_is_told_and_the_server_lives(server, answers, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr("keras_transformer.explorer.answers.run_text", fail)
    status, answer = server.post("run", text="the cat")
    assert (status, answer["error"]) == (500, "The server failed: RuntimeError: no memory")
    monkeypatch.undo()
    assert server.post("run", text="the cat")[0] == 200


# === The command ===


def test_what_cannot_be_opened(tmp_path, capsys):
    from keras_transformer.explorer.__main__ import main

    assert main([str(tmp_path / "nothing"), "--no-browser"]) == 1
    assert "`folder` must exist. Received: folder=" in capsys.readouterr().err
    assert main([str(tmp_path), "--no-browser"]) == 1
    assert "`folder` must contain a model" in capsys.readouterr().err
    for arguments in (["x", "--model", "minilm"], ["--port", "99999"], ["--model", "gpt5"]):
        with pytest.raises(SystemExit):
            main(arguments)


@pytest.mark.slow
def test_the_command(tmp_path):
    generator: kt.TextGenerator = tiny_model("language_model").pipeline
    generator.save(tmp_path / "generator")
    command = [sys.executable, "-m", "keras_transformer.explorer", str(tmp_path / "generator")]
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("generator: http://127.0.0.1:")
        from tests.explorer import Server

        server = Server(int(line.split(":")[3].split("/")[0]))
        assert server.post("run", text="the cat")[0] == 200
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
