"""How a checkpoint wants its text to be generated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.files import read_json

# Each field of transformers' GenerationConfig is in one of these, which a test checks.
_SETTINGS = Keys(
    {
        "bad_words_ids": None,
        "decoder_start_token_id": None,
        "early_stopping": False,
        "eos_token_id": None,
        "forced_eos_token_id": None,
        "length_penalty": 1.0,
        "max_length": None,
        "max_new_tokens": None,
        "pad_token_id": None,
        "suppress_tokens": None,
    },
    {"forced_bos_token_id": None},
)
# What only matters where tokens are drawn at random.
_SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0}
_SAMPLING_FIXED = {"epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "top_h": None, "typical_p": 1.0}
_SEARCH = Keys(
    {
        "do_sample": False,
        "min_length": 0,
        "min_new_tokens": None,
        "no_repeat_ngram_size": 0,
        "num_beams": 1,
        "renormalize_logits": False,
        "repetition_penalty": 1.0,
        **_SAMPLING,
    },
    {
        "begin_suppress_tokens": None,
        "constraints": None,
        "diversity_penalty": 0.0,
        "dola_layers": None,
        "encoder_no_repeat_ngram_size": 0,
        "encoder_repetition_penalty": 1.0,
        "exponential_decay_length_penalty": None,
        "force_words_ids": None,
        "forced_decoder_ids": None,
        "guidance_scale": 1.0,
        "max_time": None,
        "num_beam_groups": 1,
        "penalty_alpha": 0.0,
        "sequence_bias": None,
        "stop_strings": None,
        "token_healing": False,
        "watermarking_config": None,
    },
)
SILENT = frozenset(
    {
        # === What is returned, and to whom ===
        "_from_model_config",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "return_dict_in_generate",
        "transformers_version",
        # === The same text in another time ===
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "disable_compile",
        "is_assistant",
        "low_memory",
        "max_cache_len",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "prefill_chunk_size",
        "prompt_lookup_num_tokens",
        "speculation_type",
        "target_lookbehind",
        "use_cache",
        "use_mtp",
        # === Others ===
        "bos_token_id",  # the tokenizer's files say it
        "remove_invalid_values",  # of logits that are no numbers
    }
)
KEYS = Keys(
    {**_SETTINGS.followed, **_SEARCH.followed},
    {**_SETTINGS.fixed, **_SEARCH.fixed, **_SAMPLING_FIXED},
    SILENT,
)


class GenerationSettings(NamedTuple):
    """What a folder says of generation.

    Attributes:
        start_id: what a translation starts from, None if nothing is said.
        end_id: what ends a text, None if nothing is said.
        padding_id: what fills unused positions, None if nothing is said.
        banned_ids: what is never generated.
        max_new_tokens: the most new tokens of a translation, None if nothing is said.
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


class SearchSettings(NamedTuple):
    """What a folder says of the choice of tokens.

    Attributes:
        min_new_tokens: the fewest new tokens before the end.
        no_repeat_ngram_size: no run of so many ids occurs twice; 0 for no limit.
        repetition_penalty: more than 1 makes ids less likely that have been used.
        renormalize: whether scores count what is banned as impossible.
        max_new_tokens: the most new tokens of a language model, None if nothing is said.
        max_length: the most tokens of a language model, its prompt's among them.
        sampling: `temperature`, `top_k`, `top_p` and `min_p`, None where the likeliest is chosen.
    """

    min_new_tokens: int
    no_repeat_ngram_size: int
    repetition_penalty: float
    renormalize: bool
    max_new_tokens: int | None
    max_length: int | None
    sampling: dict[str, Any] | None


def read_generation(folder: Path) -> GenerationSettings:
    """Reads `generation_config.json`, or where there is none, as in older folders, `config.json`.

    Args:
        folder: the folder.

    Returns:
        `GenerationSettings`.

    Raises:
        ValueError: a file is missing or damaged, or says what is not supported; it is named.
    """
    config = _read(folder, _SETTINGS)
    end_id, forced = _one_id(config, "eos_token_id"), _one_id(config, "forced_eos_token_id")
    if None not in (end_id, forced) and end_id != forced:
        config.require_equal("forced_eos_token_id", "eos_token_id")
    limit = _limit(config, "max_new_tokens")
    if limit is None and "max_length" in config.values:
        limit = max(1, config.size("max_length") - 1 - (forced is not None))  # with the start
    return GenerationSettings(
        start_id=_one_id(config, "decoder_start_token_id"),
        end_id=end_id,
        padding_id=_one_id(config, "pad_token_id"),
        banned_ids=_banned(config.path, config.values),
        max_new_tokens=limit,
        length_penalty=float(config.get("length_penalty", float)),
        # "never" is what our search does; their heuristic in between stops a little sooner.
        early_stopping=config.values.get("early_stopping") is True,
    )


def read_search(folder: Path, is_translator: bool) -> SearchSettings:
    """Reads how tokens are chosen, from the same file as `read_generation`.

    How many beams a translation has is said at the call, and not read.

    Args:
        folder: the folder.
        is_translator: whether for translations, which are searched, or for a language model's
            texts, which may be drawn at random.

    Returns:
        `SearchSettings`.

    Raises:
        ValueError: the file says what is not supported; it is named.
    """
    config = _read(folder, _SEARCH)
    config.require(**({"do_sample": False} if is_translator else {"num_beams": 1}))
    least = config.values.get("min_new_tokens")
    if least is None and is_translator:
        least = max(0, _count(config, "min_length") - 1)  # the first token is the start
    elif least is None:
        config.require(min_length=0)  # of prompt and text together
        least = 0
    else:
        least = _count(config, "min_new_tokens")
    penalty = config.get("repetition_penalty", float)
    if penalty <= 0:
        raise ValueError(
            f"`repetition_penalty` in {config.path} must be more than 0. Received: {penalty}."
        )
    return SearchSettings(
        min_new_tokens=least,
        no_repeat_ngram_size=_count(config, "no_repeat_ngram_size"),
        repetition_penalty=float(penalty),
        renormalize=config.get("renormalize_logits", bool),
        max_new_tokens=_limit(config, "max_new_tokens"),
        max_length=_limit(config, "max_length"),
        sampling=_sampling(config),
    )


def _read(folder, keys):
    path = folder / "generation_config.json"
    path = path if path.is_file() else folder / "config.json"
    # What is null is not said.
    values = {key: value for key, value in read_json(path).items() if value is not None}
    return Config(path, values, keys=keys)


def _limit(config, key):
    """A number of tokens without the end, where that is forced upon the last one."""
    if key not in config.values:
        return None
    return max(1, config.size(key) - ("forced_eos_token_id" in config.values))


def _count(config, key):
    value = config.get(key, int)
    if value < 0:
        raise ValueError(f"`{key}` in {config.path} must be at least 0. Received: {value}.")
    return value


def _sampling(config):
    if not config.get("do_sample", bool):
        return None
    config.require(**_SAMPLING_FIXED)
    values: dict[str, Any] = {
        "temperature": float(config.get("temperature", float)),
        "top_k": _count(config, "top_k") or None,
        "top_p": float(config.get("top_p", float)),
        "min_p": float(config.get("min_p", float)) or None,
    }
    if not (values["temperature"] > 0 and 0 < values["top_p"] <= 1 and (values["min_p"] or 0) <= 1):
        raise ValueError(
            f"`temperature` in {config.path} must be more than 0, `top_p` in (0, 1] and `min_p` in "
            f"[0, 1]. Received: {values}."
        )
    return values


def _one_id(config: Config, key: str) -> int | None:
    value = config.values.get(key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(
            f"`{key}` in {config.path} must be one id. Received: {config.values[key]!r}."
        )
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
