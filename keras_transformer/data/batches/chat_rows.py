"""Layout of conversations as rows for training on the answers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_integer
from keras_transformer.data.chat import Messages, render_chat
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode


def chat_rows(
    tokenizer: Any,
    conversations: Sequence[Messages],
    max_length: int,
    role: str = "assistant",
    **variables: Any,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Lays out conversations for fine-tuning a language model on its answers.

    Each row is a conversation rendered with the tokenizer's chat template. The labels are the next
    tokens. The weights are 1 for the tokens of each answer, including its end token, and 0 for all
    others, so that only answers contribute to the loss. Each answer is tokenized separately from
    the text before it, as in generation.

    Args:
        tokenizer: As in `kt.data.render_chat`.
        conversations: N lists of messages.
        max_length: Maximum row length T; longer conversations are truncated at the end.
        role: The role whose messages are answers.
        **variables: Further variables of the template.

    Returns:
        Inputs `{"token_ids": (N, T)}` and labels (N, T) in int32, and weights (N, T) in float32,
        for `model.fit(inputs, labels, sample_weight=weights)`. T is the longest row's length.
        Rows are padded at the end with the tokenizer's padding id, or 0, and with weight 0.

    Raises:
        ValueError: If there are no conversations, one has no answer within `max_length`, the
            template rejects one or renders an answer differently when more messages follow, or
            `max_length` is below 2.

    Example:
        >>> import tokenizers
        >>> import keras_transformer as kt
        >>> words = {"<end>": 0, "user": 1, "assistant": 2, "Hi": 3, "Hello": 4}
        >>> theirs = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<end>"))
        >>> theirs.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        >>> template = (
        ...     "{% for m in messages %}{{ m.role }} {{ m.content }} <end> {% endfor %}"
        ...     "{% if add_generation_prompt %}assistant {% endif %}")
        >>> tokenizer = kt.data.HuggingFaceTokenizer(
        ...     theirs.to_str(), end_id=0, chat_template=template)
        >>> chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        >>> inputs, labels, weights = kt.data.chat_rows(tokenizer, [chat], max_length=8)
        >>> labels.tolist(), weights.tolist()
        ([[3, 0, 2, 4, 0]], [[0.0, 0.0, 0.0, 1.0, 1.0]])
    """
    check_integer(2, max_length=max_length)
    if not conversations:
        raise ValueError("`conversations` must contain at least one conversation. Received: none.")
    rows = []
    for index, messages in enumerate(conversations):
        ids, is_answer = _row(tokenizer, messages, role, variables)
        ids, is_answer = ids[: max_length + 1], is_answer[: max_length + 1]
        if not any(is_answer[1:]):
            raise ValueError(
                f"`conversations` must have messages with the role {role!r} within `max_length`. "
                f"Received: none in conversations[{index}], max_length={max_length}."
            )
        rows.append((ids, is_answer))
    padding_id = special_ids(tokenizer).padding or 0
    shape = (len(rows), max(len(ids) for ids, _ in rows) - 1)
    inputs, labels = (np.full(shape, padding_id, "int32") for _ in range(2))
    weights = np.zeros(shape, "float32")
    for row, (ids, is_answer) in enumerate(rows):
        length = len(ids) - 1
        inputs[row, :length], labels[row, :length] = ids[:-1], ids[1:]
        weights[row, :length] = is_answer[1:]
    return {"token_ids": inputs}, labels, weights


def _row(tokenizer, messages, role, variables):
    """Returns the ids of a conversation, and whether each belongs to an answer."""
    whole = render_chat(tokenizer, messages, **variables)
    ids: list[int] = []
    is_answer: list[bool] = []
    place = 0
    for index, message in enumerate(messages):
        if message.get("role") != role or index == 0:
            continue
        before = render_chat(tokenizer, messages[:index], add_generation_prompt=True, **variables)
        after = render_chat(tokenizer, messages[: index + 1], **variables)
        if not (whole.startswith(after) and after.startswith(before) and len(before) >= place):
            raise ValueError(
                "`conversations` must be rendered the same when more messages follow. Received: "
                f"messages[{index}], rendered as {after[place:]!r:.80} at the end and "
                f"otherwise as {whole[place:]!r:.80}."
            )
        end = _end_of_answer(tokenizer, after, len(before))
        parts = {False: whole[place : len(before)], True: whole[len(before) : end]}
        for learned, text in parts.items():
            new = encode(tokenizer, [text])[0]
            ids += new
            is_answer += [learned] * len(new)
        place = end
    rest = encode(tokenizer, [whole[place:]])[0]
    return ids + rest, is_answer + [False] * len(rest)


def _end_of_answer(tokenizer, text, start):
    """Returns where an answer ends: after its end token, before anything the template adds."""
    end_id = special_ids(tokenizer).end
    names = [getattr(tokenizer, "template_tokens", {}).get("eos_token")]
    names.append(None if end_id is None else tokenizer.id_to_token(end_id))
    for name in names:
        if name and (place := text.rfind(name)) >= start:
            return place + len(name)
    return len(text)
