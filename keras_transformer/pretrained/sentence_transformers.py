"""Folders of sentence-transformers: a checkpoint with modules that pool its hidden states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import keras

from keras_transformer import files
from keras_transformer.checks import shortened
from keras_transformer.files import file_in, folder_in, is_listed, naming_file, parameter_limit
from keras_transformer.models.sentence_encoder import sentence_encoder
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.files import TensorFiles, read_json
from keras_transformer.pretrained.mapping import assign, linear

MODULES = "modules.json"
# The kinds of modules that follow the checkpoint, in this order.
_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
# Names of poolings in sentence-transformers, mapped to ours.
POOLINGS = {"mean": "mean", "cls": "first", "max": "max", "lasttoken": "last"}
_OLDER = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "linear",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
_VECTORS = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
_POOLING_KEYS = Keys(fixed={"include_prompt": True})
_NORMALIZE_KEYS = Keys(fixed=_VECTORS)
_DENSE_KEYS = Keys(
    {"bias": True, "activation_function": "torch.nn.modules.activation.Tanh"},
    {**_VECTORS, "use_residual": False},
)
_TRANSFORMER_KEYS = Keys(
    {"do_lower_case": False},
    {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"}
        },
        "module_output_name": "token_embeddings",
        "query_expansion": None,
        **dict.fromkeys(("model_args", "model_kwargs", "config_args", "config_kwargs")),
        **dict.fromkeys(("tokenizer_args", "processor_kwargs", "processing_kwargs")),
    },
    # Texts are truncated by `kt.data.encode`.
    frozenset({"max_seq_length", "query_length", "document_length", "unpad_inputs"}),
)


class Modules(NamedTuple):
    """The modules of a folder.

    Attributes:
        body: Folder of the checkpoint.
        pooling: How hidden states are pooled, as in `sentence_encoder`.
        dimension: Number of features that are pooled, None if not given.
        dense: Folder of a dense layer, if there is one.
        normalize: Whether vectors are scaled to length 1.
        lowercase: Whether texts are lowercased before anything else.
    """

    body: Path
    pooling: str
    dimension: int | None
    dense: Path | None
    normalize: bool
    lowercase: bool


def has_modules(folder: Path) -> bool:
    """Returns whether a folder is in the format of sentence-transformers."""
    return is_listed(folder / MODULES)


def read_modules(folder: Path) -> Modules:
    """Reads the modules of a folder.

    Args:
        folder: The folder.

    Returns:
        The modules.

    Raises:
        ValueError: If a file is missing or damaged, or a module, a pooling or a setting is not
            supported.
    """
    path = folder / MODULES
    listed = [*_listed(path)]
    kinds, found = [kind for kind, _ in listed], dict(listed)
    in_order = [kind for kind in _KINDS if kind in found]
    if kinds != in_order or not {"Transformer", "Pooling"} <= set(found):
        raise ValueError(
            f"`{path}` must list the modules Transformer, Pooling and, optionally, Dense and "
            f"Normalize, in this order. Received: {kinds}."
        )
    pooling, dimension = _read_pooling(found["Pooling"] / "config.json")
    if "Normalize" in found:
        _optional(found["Normalize"] / "config.json", _NORMALIZE_KEYS)
    return Modules(
        found["Transformer"],
        pooling,
        dimension,
        found.get("Dense"),
        "Normalize" in found,
        _is_lowercase(found["Transformer"]),
    )


def _listed(path):
    """Yields the kind and the folder of each module."""
    modules = files.read_json(file_in(path.parent, path.name), list)
    try:
        listed = [(str(one["type"]), str(one["path"])) for one in modules]
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"`{path}` must be a JSON list of modules with type and path. Received: {error!r}."
        ) from error
    for kind, place in listed:
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            raise ValueError(
                f"`{path}` must name folders inside its own. Received: path={shortened(place)}."
            )
        library, _, name = kind.partition(".")
        if library != "sentence_transformers":
            raise ValueError(
                f"`{path}` must list modules of sentence_transformers. "
                f"Received: type={shortened(kind)}."
            )
        # A folder without files may be missing, as that of a normalization.
        folder = path.parent / place
        is_there = place and is_listed(folder)
        yield name.rpartition(".")[2], folder_in(path.parent, place) if is_there else folder


def _read_pooling(path):
    config = Config(path, read_json(path), keys=_POOLING_KEYS)
    modes = config.values.get("pooling_mode")
    if modes is None:
        # As in sentence-transformers, the mean is the default.
        modes = [mode for key, mode in _OLDER.items() if config.values.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(
            f"`pooling_mode` in {path} must be one of {sorted(POOLINGS)}. Received: {modes!r}."
        )
    keys = ("embedding_dimension", "word_embedding_dimension")
    key = next((key for key in keys if key in config.values), None)
    return POOLINGS[modes[0]], None if key is None else config.size(key)


def _optional(path, keys):
    return Config(path, read_json(path) if is_listed(path) else {}, keys=keys)


def _is_lowercase(folder):
    """Reads whether texts are lowercased, from a file that older folders name by architecture."""
    found = [folder / "sentence_bert_config.json", *sorted(folder.glob("sentence_*_config.json"))]
    path = next((path for path in found if is_listed(path)), found[0])
    return _optional(path, _TRANSFORMER_KEYS).get("do_lower_case", bool)


def load_sentence_encoder(folder: Path, load_body: Callable[[Path], keras.Model]) -> keras.Model:
    """Loads a folder of sentence-transformers.

    Args:
        folder: The folder.
        load_body: Loads a checkpoint.

    Returns:
        A `kt.models.sentence_encoder`.

    Raises:
        ValueError: If the folder contains something that is not supported.
    """
    modules = read_modules(folder)
    body = load_body(modules.body)
    size = body.get_layer("token_embedding").hidden_dim
    if modules.dimension not in (None, size):
        raise ValueError(
            f"The dimension of the pooling in {folder} must be the hidden dimension {size}. "
            f"Received: {modules.dimension}."
        )
    projection = None if modules.dense is None else _read_dense(modules.dense, size)
    return sentence_encoder(body, modules.pooling, modules.normalize, projection=projection)


def _read_dense(folder, size):
    path = folder / "config.json"
    config = Config(path, read_json(path), keys=_DENSE_KEYS)
    if config.size("in_features") != size:
        raise ValueError(
            f"`in_features` in {path} must be the hidden dimension {size}. "
            f"Received: {config.size('in_features')}."
        )
    layer = keras.layers.Dense(
        config.size("out_features"),
        config.activation("activation_function", ACTIVATIONS),
        use_bias=config.get("bias", bool),
        dtype="float32",
        name="projection",
    )
    vectors = keras.Input((size,))
    tensors = TensorFiles(folder)
    rules = linear("linear", layer.name)[: 2 if layer.use_bias else 1]
    with naming_file(path), parameter_limit(tensors.num_values(), path):
        model = keras.Model(vectors, layer(vectors))
    with naming_file(tensors.paths[0]):
        assign(model, rules, tensors.names(), tensors.read)
    return layer
