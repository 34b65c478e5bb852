"""What loader and writer have to know of an architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_transformer.data.special_ids import SpecialIds
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.mapping import Rule


class Family(NamedTuple):
    """One architecture of foreign checkpoints.

    Attributes:
        model_type: its name in config.json.
        build: makes the model, with random weights, from a config.
        rules: the table of its tensors, for both directions.
        keys: what becomes of the keys of its config.json.
        copies: tensors that are tied to one of `rules`: its source by their names. A file may hold
            any of them, and where it holds several they must be equal.
        computed: patterns (`re.fullmatch`) of tensors that the model computes, with what says
            whether a tensor holds the same.
        left_out: tensors that are not used, because the head that they belong to is left out.
        recognizes: whether a model, whose layers' names are given, may be one of this family; None,
            here and below, for a family that is only loaded.
        describe: the config of a model.
        prefix: what stands in front of the names, and some files leave out.
        renamed: patterns of names that some files have, with what they are replaced by (`re.sub`).
        adapted: settings in which a model may differ from what `build` makes of its config, because
            `adapt` makes up for them.
        adapt: the arrays, by path, that the model of `build` must have for the outputs of the
            model that is given.
        generation: the content of generation_config.json.
        write_tokenizer: writes the files of a tokeniser, or of source and target, to a folder.
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
