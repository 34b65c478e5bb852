"""The generation settings of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.files import is_listed
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.files import read_json

# Every field of transformers' GenerationConfig is in one of these, which a test checks.
_SETTINGS = Keys(
    {
        "bad_words_ids": None,
        "decoder_start_token_id": None,
        "early_stopping": False,
        "eos_token_id": None,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "length_penalty": 1.0,
        "max_length": None,
        "max_new_tokens": None,
        "pad_token_id": None,
        "suppress_tokens": None,
    },
)
# Settings that only matter for random sampling.
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
        # === What is returned ===
        "_from_model_config",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "return_dict_in_generate",
        "transformers_version",
        # === Speed and memory, for the same text ===
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
        "bos_token_id",  # read from the tokenizer's files
        "remove_invalid_values",  # for logits that are NaN or infinite
    }
)
KEYS = Keys(
    {**_SETTINGS.followed, **_SEARCH.followed},
    {**_SETTINGS.fixed, **_SEARCH.fixed, **_SAMPLING_FIXED},
    SILENT,
)


class GenerationSettings(NamedTuple):
    """The generation settings of a folder.

    Attributes:
        start_id: Id that a translation starts from, None if not given.
        end_id: Id that ends a text, None if not given.
        padding_id: Padding id, None if not given.
        banned_ids: Ids that are never generated.
        max_new_tokens: Maximum number of new tokens of a translation, None if not given.
        length_penalty: Alpha of beam search, the exponent of the length.
        early_stopping: Whether a search stops as soon as it has enough finished hypotheses.
        forced_start_id: First id of all translations, after `start_id`; None if not given.
        more_end_ids: Further ids that end a text.
    """

    start_id: int | None
    end_id: int | None
    padding_id: int | None
    banned_ids: tuple[int, ...]
    max_new_tokens: int | None
    length_penalty: float
    early_stopping: bool
    forced_start_id: int | None = None
    more_end_ids: tuple[int, ...] = ()


class SearchSettings(NamedTuple):
    """The settings of a folder for choosing tokens.

    Attributes:
        min_new_tokens: Minimum number of new tokens before the end.
        no_repeat_ngram_size: Forbids repeated n-grams of this size; 0 for no limit.
        repetition_penalty: Values above 1 make ids that were already used less likely.
        renormalize: Whether scores are normalized over the allowed ids only.
        max_new_tokens: Maximum number of new tokens of a language model, None if not given.
        max_length: Maximum number of tokens of a language model, prompt included, None if not
            given.
        sampling: `temperature`, `top_k`, `top_p` and `min_p`; None without sampling.
    """

    min_new_tokens: int
    no_repeat_ngram_size: int
    repetition_penalty: float
    renormalize: bool
    max_new_tokens: int | None
    max_length: int | None
    sampling: dict[str, Any] | None


def read_generation(
    folder: Path, is_multilingual: bool = False, several_ends: bool = False
) -> GenerationSettings:
    """Reads `generation_config.json`, or `config.json` in older folders without it.

    Args:
        folder: The folder.
        is_multilingual: Whether a translation may start with a forced id, that of its language.
        several_ends: Whether several ids may end a text, as in some language models; the first one
            is the tokenizer's.

    Returns:
        `GenerationSettings`.

    Raises:
        ValueError: If a file is missing or damaged, or a setting is not supported; the message
            names it.
    """
    config = _read(folder, _SETTINGS)
    if not is_multilingual:
        config.require(forced_bos_token_id=None)
    ends = config.values.get("eos_token_id")
    more: list[Any] = []
    if several_ends and isinstance(ends, list) and len(ends) > 1:
        first, *more = (_id(config, "eos_token_id", end) for end in ends)
        config.values["eos_token_id"] = first
    end_id, forced = _one_id(config, "eos_token_id"), _one_id(config, "forced_eos_token_id")
    if None not in (end_id, forced) and end_id != forced:
        config.require_equal("forced_eos_token_id", "eos_token_id")
    limit = _limit(config, "max_new_tokens")
    if limit is None and "max_length" in config.values:
        limit = max(1, config.size("max_length") - 1 - (forced is not None))  # includes the start
    return GenerationSettings(
        start_id=_one_id(config, "decoder_start_token_id"),
        end_id=end_id,
        padding_id=_one_id(config, "pad_token_id"),
        banned_ids=_banned(config.path, config.values),
        max_new_tokens=limit,
        length_penalty=float(config.get("length_penalty", float)),
        # "never" is what our search does; transformers' default heuristic stops slightly earlier.
        early_stopping=config.values.get("early_stopping") is True,
        forced_start_id=_one_id(config, "forced_bos_token_id"),
        more_end_ids=tuple(more),
    )


def read_search(folder: Path, is_translator: bool) -> SearchSettings:
    """Reads how tokens are chosen, from the same file as `read_generation`.

    The number of beams of a translation is not read; callers pass it.

    Args:
        folder: The folder.
        is_translator: Whether the settings are for translations, which use beam search, or for a
            language model, which may sample.

    Returns:
        `SearchSettings`.

    Raises:
        ValueError: If a setting is not supported; the message names it.
    """
    config = _read(folder, _SEARCH)
    config.require(**({"do_sample": False} if is_translator else {"num_beams": 1}))
    least = config.values.get("min_new_tokens")
    if least is None and is_translator:
        least = max(0, _count(config, "min_length") - 1)  # the first token is the start
    elif least is None:
        config.require(min_length=0)  # counts the prompt too
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


def generation_file(folder: Path) -> Path:
    """Returns the path of `generation_config.json`, or of `config.json` in older folders."""
    path = folder / "generation_config.json"
    return path if is_listed(path) else folder / "config.json"


def _read(folder, keys):
    path = generation_file(folder)
    # null counts as missing.
    values = {key: value for key, value in read_json(path).items() if value is not None}
    return Config(path, values, keys=keys)


def _limit(config, key):
    """Returns a maximum number of tokens, without the end token if it is forced at the maximum."""
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
    return _id(config, key, value)


def _id(config: Config, key: str, value: Any) -> int | None:
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
                f"`bad_words_ids` and `suppress_tokens` in {path} must contain only single ids. "
                f"Received: {row!r}."
            )
    return tuple(dict.fromkeys(row[0] for row in rows))
