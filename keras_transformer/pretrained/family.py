"""What the loader has to know of an architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.mapping import Rule


class Family(NamedTuple):
    """One architecture of foreign checkpoints.

    Attributes:
        model_type: its name in config.json.
        build: makes the model, with random weights, from a config.
        rules: the table of its tensors.
        ignored: patterns (`re.fullmatch`) of tensors that hold nothing of their own.
        prefix: what stands in front of the names, and some files leave out.
        renamed: patterns of names that some files have, with what they are replaced by (`re.sub`).
    """

    model_type: str
    build: Callable[[Config], keras.Model]
    rules: Callable[[Config], list[Rule]]
    ignored: Callable[[Config], tuple[str, ...]]
    prefix: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
