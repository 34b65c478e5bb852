"""The description of an architecture for loading and saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.mapping import Rule


class Family(NamedTuple):
    """One architecture of checkpoints from other libraries.

    Attributes:
        model_type: Its name in config.json.
        build: Builds the model, with random weights, from a config.
        rules: The table of its tensors, for both directions.
        keys: How the keys of its config.json are handled.
        copies: Names of tied tensors, mapped to the source in `rules` that they are tied to. A
            file may hold any of them; if it holds several, they must be equal.
        computed: Patterns (`re.fullmatch`) of tensors that the model computes, mapped to a
            function that checks a tensor's values.
        left_out: Tensors that are ignored, because their head is left out.
        recognizes: Returns whether a model with the given layer names may be of this family. None,
            here and below, for a family that can only be loaded.
        describe: Returns the config of a model.
        prefix: Prefix of the tensor names, which some files omit.
        renamed: Patterns of names in some files, with their replacements (`re.sub`).
        adapted: Settings in which a model may differ from what `build` makes of its config,
            because `adapt` compensates for them.
        adapt: Returns the arrays, by path, that give the model of `build` the outputs of the given
            model.
        generation: Returns the content of generation_config.json.
        write_tokenizer: Writes the files of a tokenizer, or of source and target, to a folder.
    """

    model_type: str
    build: Callable[[Config], keras.Model]
    rules: Callable[[Config], list[Rule]]
    keys: Keys
    copies: Callable[[Config], dict[str, str]] = lambda config: {}
    computed: dict[str, Callable[[np.ndarray, Config], bool]] = {}
    left_out: Callable[[Config], tuple[str, ...]] = lambda config: ()
    recognizes: Callable[[keras.Model, set[str]], bool] | None = None
    describe: Callable[[keras.Model, SpecialIds], Config] | None = None
    prefix: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    adapted: tuple[str, ...] = ()
    adapt: Callable[[keras.Model, dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    generation: Callable[[Config, SpecialIds], dict[str, Any]] | None = None
    write_tokenizer: Callable[[tuple[Any, ...], Config, Path], None] | None = None
