"""Tiny random models of every kind, and a real server with one of them."""

import contextlib
import http.client
import json
import socket
import threading

import keras

import keras_transformer as kt
from keras_transformer.explorer import Answers, OpenedModel, make_app
from keras_transformer.explorer.inference import Inference
from tests.harness import randomize

TEXTS = [
    "the cat sat on the mat",
    "a dog ran after the cat",
    "the old dog slept",
    "where is the red house",
    "the house is on the hill",
]
SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}
KINDS = ("language_model", "translator", "ssru", "recurrent", "encoder", "classifier", "vision")
_V = 60


def tiny_tokenizer():
    """A tokenizer of its own special ids, with a mask token."""
    return kt.data.train_tokenizer(TEXTS, _V, model_type="bpe", symbols=("[MASK]",))


def tiny_model(kind, **more):
    """A random model of a kind, opened."""
    tokenizer = None if kind == "vision" else tiny_tokenizer()
    size = None if tokenizer is None else tokenizer.vocabulary_size()
    if kind == "language_model":
        model = kt.models.gpt(size, **{**SMALL, "max_length": 40, **more})
        return OpenedModel(spread(model), "a GPT", kt.TextGenerator(model, tokenizer))
    if kind in ("translator", "ssru", "recurrent"):
        if kind == "recurrent":
            model = kt.models.recurrent_seq2seq(size, **{"hidden_dim": 8, **more})
        else:
            of_kind = {"decoder_recurrence": "ssru"} if kind == "ssru" else {}
            model = kt.models.transformer(size, **SMALL, **of_kind, **more)
        # Random models hardly ever end a text.
        defaults = kt.DecodingDefaults(max_new_tokens=7)
        pipeline = kt.Translator(model, tokenizer, defaults=defaults)
        return OpenedModel(spread(model), f"a {kind}", pipeline)
    if kind == "encoder":
        model = kt.models.bert(size, **SMALL, max_length=40, masked_lm=True, **more)
        return OpenedModel(spread(model), "a BERT", tokenizer=tokenizer)
    if kind == "classifier":
        model = kt.models.sequence_classifier(size, 3, "lstm", hidden_dim=8, **more)
        return OpenedModel(spread(model), "a classifier", tokenizer=tokenizer)
    model = kt.models.vit((8, 12), 4, 3, **SMALL, num_channels=1, **more)
    return OpenedModel(spread(model), "a ViT", classes=["cat", "dog", "<b>house</b>"])


_answers = {}


def answers_of(kind):
    """The answers about a model that serves all tests of a run."""
    if kind not in _answers:
        keras.utils.set_random_seed(7)
        _answers[kind] = Answers(tiny_model(kind))
    return _answers[kind]


def spread(model):
    """Gives a model random weights, of which no two tokens get the same probability."""
    return randomize(model, stddev=0.4)


class Server:
    """A running server; `post` and `get` return status, headers and body."""

    def __init__(self, port):
        self.port = port
        self.address = f"http://127.0.0.1:{port}"

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def post(self, name, /, **fields):
        """The status and the JSON answer of an address."""
        body = json.dumps(fields).encode()
        headers = {"Content-Type": "application/json", "Origin": self.address}
        status, headers, answer = self.request("POST", f"/api/{name}", body, headers)
        if headers["content-type"] == "application/x-ndjson":
            return status, [json.loads(line) for line in answer.splitlines()]
        return status, json.loads(answer)


@contextlib.contextmanager
def serving(answers, host="127.0.0.1", inference=None):
    """Serves a model on a free port of this machine, in a thread."""
    import uvicorn

    inference = inference or Inference()
    if isinstance(answers, OpenedModel):
        answers = inference.compute(Answers, answers)
    listening = socket.create_server((host, 0))
    port = listening.getsockname()[1]
    app = make_app(answers, host, port, inference)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Server(port)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
