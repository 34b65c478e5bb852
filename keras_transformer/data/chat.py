"""Conversations as text: a tokenizer's chat template, rendered in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.text_checks import check_text
from keras_transformer.data.tokenizers.text_packages import import_text_package

Messages = Sequence[Mapping[str, Any]]


def render_chat(
    tokenizer: Any, messages: Messages, add_generation_prompt: bool = False, **variables: Any
) -> str:
    """Renders a conversation as one text with the tokenizer's chat template.

    The template is a Jinja template from the checkpoint. It is rendered in Jinja's immutable
    sandbox from plain values only, so that it cannot access anything else.

    Args:
        tokenizer: A `kt.data.HuggingFaceTokenizer` with a `chat_template`.
        messages: The conversation, dicts such as `{"role": "user", "content": "Hello!"}`. Keys
            with the value None are left out.
        add_generation_prompt: Whether to add the beginning of an answer for the model to continue.
        **variables: Further variables of the template, such as `enable_thinking=False` for Qwen3.

    Returns:
        The text, special tokens included.

    Raises:
        ValueError: If the tokenizer has no chat template, `messages` is not a list of dicts of
            plain values, or the template rejects the conversation.
        ImportError: If the `text` extra is not installed.

    Example:
        >>> import tokenizers
        >>> import keras_transformer as kt
        >>> theirs = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<end>": 0}, "<end>"))
        >>> tokenizer = kt.data.HuggingFaceTokenizer(
        ...     theirs.to_str(),
        ...     chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}")
        >>> kt.data.render_chat(tokenizer, [{"role": "user", "content": "Hello!"}])
        'user: Hello! '
    """
    template = getattr(tokenizer, "chat_template", None)
    if template is None:
        raise ValueError(
            "`tokenizer` must have a `chat_template`. Received: a "
            f"{type(tokenizer).__name__} without one."
        )
    values = {**tokenizer.template_tokens, **variables}
    values |= {
        "messages": _plain_messages(messages),
        "add_generation_prompt": bool(add_generation_prompt),
    }
    values.setdefault("tools", None)
    values.setdefault("documents", None)
    exceptions = import_text_package("jinja2").exceptions
    try:
        return _compiled(template).render(**values)
    except exceptions.TemplateError as error:
        raise ValueError(
            f"`messages` must be a conversation that the chat template accepts. Received: {error}."
        ) from error
    except Exception as error:  # such as a TypeError if a message has no content
        raise ValueError(
            "`messages` must contain what the chat template reads, such as `role` and `content`. "
            f"Received: {error}."
        ) from error


def encode_chat(
    tokenizer: Any, messages: Messages, add_generation_prompt: bool = False, **variables: Any
) -> list[int]:
    """Converts a conversation to token ids with the tokenizer's chat template.

    Args:
        tokenizer: As in `render_chat`.
        messages: As in `render_chat`.
        add_generation_prompt: As in `render_chat`.
        **variables: As in `render_chat`.

    Returns:
        The ids.

    Raises:
        ValueError: As in `render_chat`.

    Example:
        >>> import tokenizers
        >>> import keras_transformer as kt
        >>> words = {"<end>": 0, "user": 1, "assistant": 2, "Hi": 3}
        >>> theirs = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<end>"))
        >>> theirs.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        >>> template = (
        ...     "{% for m in messages %}{{ m.role }} {{ m.content }} <end> {% endfor %}"
        ...     "{% if add_generation_prompt %}assistant {% endif %}")
        >>> tokenizer = kt.data.HuggingFaceTokenizer(
        ...     theirs.to_str(), end_id=0, chat_template=template)
        >>> chat = [{"role": "user", "content": "Hi"}]
        >>> kt.data.encode_chat(tokenizer, chat, add_generation_prompt=True)
        [1, 3, 0, 2]
    """
    text = render_chat(tokenizer, messages, add_generation_prompt, **variables)
    return encode(tokenizer, [check_text(text, "messages")])[0]


def _plain_messages(messages):
    """Returns a copy of the messages as plain values, without keys whose value is None."""
    is_list = isinstance(messages, Sequence) and not isinstance(messages, str)
    if not is_list or not messages or not all(isinstance(one, Mapping) for one in messages):
        raise ValueError(
            "`messages` must be a list of dicts, such as "
            f'{{"role": "user", "content": "Hello!"}}. Received: {messages!r:.80}.'
        )
    kept = [{key: x for key, x in one.items() if x is not None} for one in messages]
    try:
        return json.loads(json.dumps(kept))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`messages` must contain texts and other plain values. Received: {error}."
        ) from error


@lru_cache(maxsize=16)
def _compiled(source: str) -> Any:
    jinja2 = import_text_package("jinja2")
    sandbox = import_text_package("jinja2.sandbox")

    class Generation(import_text_package("jinja2.ext").Extension):  # type: ignore[misc]
        """The tags that some templates put around answers for training; they add no text."""

        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    # Functions that templates on the Hugging Face hub expect in addition to Jinja's.
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.exceptions.TemplateError as error:
        raise ValueError(
            f"`chat_template` must be a Jinja template. Received: {error}, in {source!r:.80}."
        ) from error
