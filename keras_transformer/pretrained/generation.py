"""How a checkpoint wants its text to be generated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.files import read_json


class GenerationSettings(NamedTuple):
    """What a folder says of generation.

    Attributes:
        start_id: what a translation starts from, None if nothing is said.
        end_id: what ends a text, None if nothing is said.
        padding_id: what fills unused positions, None if nothing is said.
        banned_ids: what is never generated.
        max_new_tokens: the most new tokens, None if nothing is said.
        length_penalty: alpha of the beam search, over the length.
        early_stopping: whether a search stops at the first hypotheses that are enough.
    """

    start_id: int | None
    end_id: int | None
    padding_id: int | None
    banned_ids: tuple[int, ...]
    max_new_tokens: int | None
    length_penalty: float
    early_stopping: bool


def read_generation(folder: Path) -> GenerationSettings:
    """Reads `generation_config.json`, or where there is none, as in older folders, `config.json`.

    Args:
        folder: the folder.

    Returns:
        `GenerationSettings`.

    Raises:
        ValueError: a file is missing or damaged, or says what is not supported; it is named.
    """
    path = folder / "generation_config.json"
    path = path if path.is_file() else folder / "config.json"
    values = read_json(path)
    config = Config(path, values)
    forced = values.get("forced_eos_token_id")
    length = values.get("max_length")
    # The first token of their length is the start; where the end is forced, it is the last one.
    length = None if length is None else config.size("max_length") - 1 - (forced is not None)
    config.require(forced_bos_token_id=None)
    return GenerationSettings(
        start_id=_one_id(path, values, "decoder_start_token_id"),
        end_id=_one_id(path, values, "eos_token_id"),
        padding_id=_one_id(path, values, "pad_token_id"),
        banned_ids=_banned(path, values),
        max_new_tokens=length if length is None else max(1, length),
        length_penalty=float(config.get("length_penalty", float, 1.0)),
        # "never" is what our search does; their heuristic in between stops a little sooner.
        early_stopping=values.get("early_stopping") is True,
    )


def _one_id(path: Path, values: dict[str, Any], key: str) -> int | None:
    value = values.get(key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"`{key}` in {path} must be one id. Received: {values[key]!r}.")
    return value


def _banned(path: Path, values: dict[str, Any]) -> tuple[int, ...]:
    words = values.get("bad_words_ids") or []
    suppressed = values.get("suppress_tokens") or []
    is_list = isinstance(words, list) and isinstance(suppressed, list)
    rows: list[Any] = [None]
    if is_list:
        rows = [*words, *([token_id] for token_id in suppressed)]
    for row in rows:
        if not isinstance(row, list) or len(row) != 1 or not isinstance(row[0], int) or row[0] < 0:
            raise ValueError(
                f"`bad_words_ids` and `suppress_tokens` in {path} must hold single ids: nothing "
                f"else is supported. Received: {row!r}."
            )
    return tuple(dict.fromkeys(row[0] for row in rows))
