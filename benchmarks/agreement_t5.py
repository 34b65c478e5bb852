"""A Flan-T5 fine-tuned to write titles, here and in ONNX Runtime.

Its package holds two 8-bit graphs, of the encoder and of the decoder. Their matrices become a
folder in the Hugging Face format, which the library loads. The outputs are compared with those of
the unchanged graphs, which also round the inputs of each matrix product to 8 bits, and with those
of the same graphs without this rounding, where only the arithmetic may differ.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from keras_transformer.datasets.download import Wheel, fetch

_FOLDER = "traceforge_title_model/data/span"
TITLES = Wheel(
    name="traceforge_title_model",
    version="0.2.0",
    sha256="41e051205c01f724a0d12ad65a52ca4e90661de3fd959e6ce2efab4919024d31",
    members={
        f"{_FOLDER}/encoder.onnx": (
            "b82bef1400cec815c3e5addd04dc451ec31491ac6598b166bbc6594656823787"
        ),
        f"{_FOLDER}/decoder.onnx": (
            "76b40328b8a6bd8b8fc029d80006284c6d644d6e0938c18339bc05fb31a927bc"
        ),
        f"{_FOLDER}/tokenizer.json": (
            "3550c5f922922567115f702e0543b57276366fc321cf1f088859c71491656cf6"
        ),
    },
)
NEW_TOKENS = 24
_START, _END = 0, 1


# === From graphs to a folder ===


def tensors_of(graph) -> dict[str, np.ndarray]:
    """Returns the weights of a graph in float32, by their names in transformers."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    places = {  # an exported matrix has a number as its name, but its product has a path
        node.input[1].removesuffix("_quantized"): node.name.rpartition("/MatMul")[0]
        for node in graph.node
        if node.op_type == "MatMulInteger"
    }
    tensors = {}
    for name, array in arrays.items():
        if name.endswith("_quantized"):
            name = name.removesuffix("_quantized")
            array = _dequantized(array, arrays[f"{name}_zero_point"], arrays[f"{name}_scale"])
        elif not name.endswith("norm.weight"):
            continue
        if name in places:
            name, array = f"{places[name].strip('/').replace('/', '.')}.weight", array.T
        tensors[re.sub(r"^m\.", "", re.sub(r"^enc\.", "encoder.", name))] = array
    return tensors


def _dequantized(array, zero_point, scale):
    return (array.astype("float32") - zero_point.astype("float32")) * scale


def write_folder(graphs: list, tokenizer: Path, folder: Path) -> None:
    """Writes the weights of encoder and decoder in the Hugging Face format."""
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    for graph in graphs:
        tensors |= tensors_of(graph)
    config = {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": len(tensors["lm_head.weight"]),
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 1024,
        "num_heads": 6,
        "num_layers": 8,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "pad_token_id": _START,
        "eos_token_id": _END,
        "decoder_start_token_id": _START,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.ascontiguousarray(a) for name, a in tensors.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def without_rounding(model):
    """Returns a copy of a graph that multiplies the same matrices by unrounded inputs."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    replaced, more = [], {"one": numpy_helper.from_array(np.float32(1), "one")}
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            # The scale of the inputs becomes 1, and their zero point is not used any more.
            same, scale, _ = node.output
            replaced.append(helper.make_node("Identity", [node.input[0]], [same]))
            replaced.append(helper.make_node("Identity", ["one"], [scale]))
        elif node.op_type == "MatMulInteger":
            inputs, matrix, _, zero_point = node.input
            ints, zero = (numpy_helper.to_array(arrays[x]) for x in (matrix, zero_point))
            name = f"{matrix}_float"
            more[name] = numpy_helper.from_array(_dequantized(ints, zero, np.float32(1)), name)
            replaced.append(helper.make_node("MatMul", [inputs, name], list(node.output)))
        else:
            replaced.append(node)
    del graph.node[:]
    graph.node.extend(replaced)
    used = {name for node in replaced for name in node.input}
    kept = [tensor for tensor in arrays.values() if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *more.values()])
    return model


# === Both sides ===


class Graphs:
    """Encoder and decoder in ONNX Runtime."""

    def __init__(self, encoder, decoder):
        import onnxruntime

        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(
                model.SerializeToString(), providers=["CPUExecutionProvider"]
            )
            for model in (encoder, decoder)
        )

    def encode(self, ids: list[int]) -> np.ndarray:
        inputs = {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}
        return self.encoder.run(None, {name: np.array(x, "int64") for name, x in inputs.items()})[0]

    def logits(self, encoded: np.ndarray, target: list[int]) -> np.ndarray:
        inputs = {
            "input_ids": np.array([target], "int64"),
            "encoder_hidden_states": encoded,
            "encoder_attention_mask": np.ones(encoded.shape[:2], "int64"),
        }
        return self.decoder.run(None, inputs)[0]

    def greedy(self, ids: list[int]) -> list[int]:
        encoded, target = self.encode(ids), [_START]
        while len(target) <= NEW_TOKENS and target[1:][-1:] != [_END]:
            target.append(int(self.logits(encoded, target)[0, -1].argmax()))
        return target[1:]


def compare(texts: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """Compares the loaded model with both kinds of graphs.

    Args:
        texts: The sources.
        folder: A folder to write the weights to.

    Returns:
        For the unchanged graphs ("8-bit") and for those without rounding ("float"), each against
        the loaded model: the largest differences of the encoder's outputs and of the logits, and
        the number of equal greedy outputs.
    """
    import keras
    import onnx

    import keras_transformer as kt

    encoder, decoder, tokenizer = (fetch(TITLES, member) for member in TITLES.members)
    models = [onnx.load(str(path)) for path in (encoder, decoder)]
    write_folder([model.graph for model in models], tokenizer, folder)
    model, tokens = kt.pretrained.load(folder), kt.pretrained.load_tokenizer(folder)
    parts = kt.decoding.DecodingModel(model)
    rows = kt.data.encode(tokens, texts, end=True)
    own = kt.decoding.generate(model, rows, NEW_TOKENS, start_id=_START, stop_ids=(_END,))
    results = {"ours": [], "8-bit": [], "float": []}
    sides = {"8-bit": Graphs(*models), "float": Graphs(*map(without_rounding, models))}
    for row, found in zip(rows, np.asarray(own).tolist(), strict=True):
        ids = keras.ops.convert_to_tensor(np.array([row], "int32"))
        encoded = keras.ops.convert_to_numpy(parts.encode(ids, keras.ops.not_equal(ids, 0)))
        found = found[: found.index(_END) + 1] if _END in found else found  # without padding
        target = [_START, *found[:-1]]
        inputs = {"source_ids": np.array([row]), "target_ids": np.array([target])}
        logits = keras.ops.convert_to_numpy(model(inputs))
        results["ours"].append((encoded, logits, found))
        for name, graphs in sides.items():
            encoded = graphs.encode(row)
            results[name].append((encoded, graphs.logits(encoded, target), graphs.greedy(row)))
    return {name: _differences(results["ours"], results[name]) for name in sides}


def _differences(ones, others):
    pairs = list(zip(ones, others, strict=True))
    return {
        "encoded": max(float(np.abs(one[0] - other[0]).max()) for one, other in pairs),
        "logits": max(float(np.abs(one[1] - other[1]).max()) for one, other in pairs),
        "equal": sum(one[2] == other[2] for one, other in pairs),
    }
