"""Tiny models of Firefox Translations, written byte by byte, and what they compute, in numpy."""

import struct

import numpy as np

SETTINGS = {
    "type": "transformer",
    "dim-emb": 12,
    "dim-vocabs": [23, 23],
    "transformer-heads": 3,
    "enc-depth": 2,
    "dec-depth": 2,
    "transformer-dim-ffn": 17,
    "transformer-ffn-depth": 2,
    "transformer-ffn-activation": "relu",
    "transformer-preprocess": "",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": "",
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "dec-cell-base-depth": 2,
    "layer-normalization": False,
    "tied-embeddings-all": True,
    "transformer-train-position-embeddings": False,
    "transformer-no-projection": False,
    "output-omit-bias": False,
}
TWO_VOCABULARIES = {**SETTINGS, "tied-embeddings-all": False, "tied-embeddings": True}
FLOAT32, INT8, QUANTIZED = 0x0404, 0x0101, 0x4101
# The output matrix of newer and older Marian, (out, in) and (in, out).
UNTIED = ("decoder_ff_logit_out_Wt", "decoder_ff_logit_out_W")


def untied_shape(settings):
    shape = settings["dim-vocabs"][1], settings["dim-emb"]
    return shape[::-1] if settings.get("old-marian", False) else shape


def random_tensors(settings, seed=0):
    """The tensors of a model as Marian names and shapes them, matrices as (in, out)."""
    generator = np.random.default_rng(seed)
    width, inner = settings["dim-emb"], settings["transformer-dim-ffn"]
    tensors = {}

    def add(name, *shape):
        tensors[name] = generator.normal(scale=0.4, size=shape).astype("float32")

    def norm(name):
        tensors[f"{name}_scale"] = generator.uniform(0.5, 1.5, (1, width)).astype("float32")
        add(f"{name}_bias", 1, width)

    def attention(name):
        for letter in "qkvo":
            add(f"{name}_W{letter}", width, width)
            add(f"{name}_b{letter}", 1, width)
        norm(f"{name}_Wo_ln")

    def feed_forward(name):
        add(f"{name}_W1", width, inner)
        add(f"{name}_b1", 1, inner)
        add(f"{name}_W2", inner, width)
        add(f"{name}_b2", 1, width)
        norm(f"{name}_ffn_ln")

    source, target = settings["dim-vocabs"]
    if settings["tied-embeddings-all"]:
        add("Wemb", source, width)
    else:
        add("encoder_Wemb", source, width)
        add("decoder_Wemb", target, width)
        if not settings.get("tied-embeddings", False):
            add(UNTIED[settings.get("old-marian", False)], *untied_shape(settings))
    add("decoder_ff_logit_out_b", 1, target)
    for index in range(1, settings["enc-depth"] + 1):
        attention(f"encoder_l{index}_self")
        feed_forward(f"encoder_l{index}_ffn")
    for index in range(1, settings["dec-depth"] + 1):
        add(f"decoder_l{index}_rnn_W", width, width)
        add(f"decoder_l{index}_rnn_Wf", width, width)
        add(f"decoder_l{index}_rnn_bf", 1, width)
        norm(f"decoder_l{index}_rnn_ffn_ln")
        attention(f"decoder_l{index}_context")
        feed_forward(f"decoder_l{index}_ffn")
    return tensors


def quantized(tensors):
    """The tensors as 8 bits keep them."""
    result = {}
    for name, array in tensors.items():
        if array.shape[0] > 1:
            multiplier = np.float32(127) / np.abs(array).max()
            array = np.round(array * multiplier) * (np.float32(1) / multiplier)
        result[name] = array
    return result


def to_bytes(settings, tensors, in_8_bits=True, version=1):
    """A whole file."""
    text = "\n".join(f"{key}: {value!r}" for key, value in settings.items())
    items = []
    for name, array in tensors.items():
        if in_8_bits and array.shape[0] > 1:
            multiplier = np.float32(127) / np.abs(array).max()
            numbers = np.round(array * multiplier).astype(np.int8)
            numbers = numbers if "Wemb" in name else numbers.T
            data = numbers.tobytes() + np.float32(multiplier).tobytes()
            items.append((name, QUANTIZED, array.shape, padded(data)))
            one = np.float32([[1.5]])
            items.append((f"{name}_QuantMultA", FLOAT32, (1, 1), padded(one.tobytes())))
        else:
            items.append((name, FLOAT32, array.shape, padded(array.tobytes())))
    text = text.encode() + b"\0"
    items.append(("special:model.yml", INT8, (len(text),), text))
    head = struct.pack("<QQ", version, len(items))
    for name, kind, shape, data in items:
        head += struct.pack("<QQQQ", len(name) + 1, kind, len(shape), len(data))
    head += b"".join(name.encode() + b"\0" for name, _, _, _ in items)
    head += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in items)
    padding = -(len(head) + 8) % 256
    head += struct.pack("<Q", padding) + bytes(padding)
    return head + b"".join(data for _, _, _, data in items)


def padded(data):
    return data + bytes(-len(data) % 256)


class Plain:
    """The model in numpy, one sentence at a time."""

    def __init__(self, settings, tensors):
        self.settings, self.tensors = settings, tensors
        self.width = settings["dim-emb"]
        tied = settings["tied-embeddings-all"]
        self.source_table = tensors["Wemb" if tied else "encoder_Wemb"]
        self.target_table = tensors["Wemb" if tied else "decoder_Wemb"]
        new, old = (tensors.get(name) for name in UNTIED)
        self.output = self.target_table if new is None else new
        self.output = self.output.T if old is None else old

    def positions(self, length):
        half = self.width // 2
        rates = 10000.0 ** (-np.arange(half) / (half - 1))
        angles = np.arange(length)[:, None] * rates
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    def norm(self, name, x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scale, bias = self.tensors[f"{name}_scale"][0], self.tensors[f"{name}_bias"][0]
        return scale * (x - mean) / np.sqrt(variance + 1e-6) + bias

    def dense(self, name, suffix, x):
        return x @ self.tensors[f"{name}_W{suffix}"] + self.tensors[f"{name}_b{suffix}"][0]

    def attention(self, name, x, memory):
        heads = self.settings["transformer-heads"]
        size = self.width // heads
        query, key, value = (
            self.dense(name, letter, y).reshape(len(y), heads, size)
            for letter, y in (("q", x), ("k", memory), ("v", memory))
        )
        scores = np.einsum("tnh,snh->nts", query, key) / np.sqrt(size)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        seen = np.einsum("nts,snh->tnh", weights, value).reshape(len(x), self.width)
        return self.norm(f"{name}_Wo_ln", x + self.dense(name, "o", seen))

    def feed_forward(self, name, x):
        inner = self.dense(name, "1", x)
        if self.settings["transformer-ffn-activation"] == "swish":
            inner = inner / (1 + np.exp(-inner))
        else:
            inner = np.maximum(inner, 0)
        return self.norm(f"{name}_ffn_ln", x + self.dense(name, "2", inner))

    def encode(self, ids):
        x = np.sqrt(self.width) * self.source_table[ids] + self.positions(len(ids))
        for index in range(1, self.settings["enc-depth"] + 1):
            x = self.attention(f"encoder_l{index}_self", x, x)
            x = self.feed_forward(f"encoder_l{index}_ffn", x)
        return x

    def logits(self, source_ids, target_ids):
        """(T + 1, V): what follows nothing, and each of the target's ids."""
        memory = self.encode(source_ids)
        embedded = np.zeros((len(target_ids) + 1, self.width))
        embedded[1:] = self.target_table[target_ids]
        x = np.sqrt(self.width) * embedded + self.positions(len(embedded))
        for index in range(1, self.settings["dec-depth"] + 1):
            name = f"decoder_l{index}"
            forget = 1 / (1 + np.exp(-self.dense(f"{name}_rnn", "f", x)))
            new = (1 - forget) * (x @ self.tensors[f"{name}_rnn_W"])
            state, states = np.zeros(self.width), []
            for t in range(len(x)):
                state = forget[t] * state + new[t]
                states.append(np.maximum(state, 0))
            x = self.norm(f"{name}_rnn_ffn_ln", x + np.stack(states))
            x = self.attention(f"{name}_context", x, memory)
            x = self.feed_forward(f"{name}_ffn", x)
        return x @ self.output + self.tensors["decoder_ff_logit_out_b"][0]
