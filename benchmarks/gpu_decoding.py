"""Generation and translation on a GPU, compared with Hugging Face."""

from __future__ import annotations

from collections.abc import Callable

import decoding_common
import decoding_gpt
import decoding_translation

SYSTEMS = ("ours", "hugging_face")
NAMES = {"ours": "keras_transformer", "hugging_face": "Hugging Face"}
DTYPE = "bfloat16"
BATCHES, BEAMS = (1, 16), (1, 4)
_SIZE, _NUM_LAYERS = decoding_common.SIZE, decoding_common.SIZE["num_layers"]
DESCRIPTION = (
    f"Both models have width {_SIZE['hidden_dim']}, 8 heads, {decoding_common.VOCABULARY_SIZE:,} "
    "ids and the same random weights in bfloat16 in both systems: a GPT with "
    f"{_NUM_LAYERS} layers that continues prompts of {decoding_gpt.GPT_PROMPT} tokens by "
    f"{decoding_gpt.GPT_NEW} tokens, greedily, and a Transformer with {_NUM_LAYERS} + "
    f"{_NUM_LAYERS} layers that translates {decoding_translation.BATCH} sources of "
    f"{decoding_translation.SOURCE_LENGTH} tokens into {decoding_translation.NEW_TOKENS} tokens "
    "each. The time includes the prompt and the encoder, and ends when the ids are on the host; it "
    "is the median of 3 calls after a first one, which compiles and is listed separately."
)


def shrink() -> None:
    """Makes the models and texts of the decoding benchmarks tiny, in this process."""
    tiny = {"num_layers": 1, "hidden_dim": 16, "intermediate_dim": 32}
    decoding_common.SIZE.update(tiny)
    decoding_gpt.GPT.update(tiny)
    decoding_common.REPEATS = 1
    decoding_gpt.GPT_NEW = decoding_translation.NEW_TOKENS = 3
    decoding_translation.BATCH = 2
    decoding_gpt.VOCABULARY_SIZE = decoding_translation.VOCABULARY_SIZE = 97


def tasks(system: str, smoke: bool) -> dict[str, Callable[[], dict]]:
    """A function for each kind of decoding."""
    if smoke:
        shrink()
    num_translated = decoding_translation.BATCH * decoding_translation.NEW_TOKENS

    def gpt_task(batch):
        return lambda: speed(gpt(system, batch), batch * decoding_gpt.GPT_NEW)

    def translation_task(beams):
        return lambda: speed(translation(system, beams), num_translated)

    found = {f"gpt, batch of {batch}": gpt_task(batch) for batch in BATCHES}
    names = {1: "translator, greedy", 4: "translator, 4 beams"}
    return found | {names[beams]: translation_task(beams) for beams in BEAMS}


def speed(function: Callable[[], object], tokens: int) -> dict:
    """Tokens per second, and seconds of the first call."""
    first, seconds, _ = decoding_common.timed(function)
    return {"tokens_per_second": tokens / seconds, "first": first}


def gpt(system: str, batch: int) -> Callable[[], object]:
    """A function that continues `batch` prompts."""
    length, new_tokens = decoding_gpt.GPT_PROMPT, decoding_gpt.GPT_NEW
    if system == "hugging_face":
        return decoding_gpt.hugging_face_generate(length + new_tokens, batch, DTYPE)
    import keras

    import keras_transformer as kt

    keras.config.set_dtype_policy(DTYPE)
    model = decoding_gpt.make_ours(length + new_tokens)
    ids = decoding_gpt.prompts(length, batch)
    return lambda: kt.decoding.generate(model, ids, max_new_tokens=new_tokens)


def translation(system: str, beams: int) -> Callable[[], object]:
    """A function that translates the sources."""
    if system == "hugging_face":
        return decoding_translation.translation_of_hugging_face(beams, DTYPE)
    import keras

    keras.config.set_dtype_policy(DTYPE)
    return decoding_translation.translation_of_ours(beams)


def table(results: list[dict]) -> str:
    """A row for each task and system."""
    columns = ["", "system", "tokens per second", "/ Hugging Face's", "first call, s"]
    rows = [columns, ["---"] * len(columns)]
    found = {(one["task"], one["system"]): one for one in results}
    for task in dict.fromkeys(one["task"] for one in results):
        for system in SYSTEMS:
            one = found.get((task, system))
            if one is None:
                continue
            if "first" not in one:
                rows.append([task, NAMES[system], one["problem"], "", ""])
                continue
            rival = found.get((task, "hugging_face"), {}).get("tokens_per_second")
            mine = one["tokens_per_second"]
            ratio = f"{mine / rival:.2f}" if rival and system == "ours" else ""
            rows.append([task, NAMES[system], f"{mine:,.0f}", ratio, f"{one['first']:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
