"""The chat template of a folder in the Hugging Face format."""

from __future__ import annotations

from keras_transformer.files import file_in, is_listed, read_text
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles


def read_chat_template(files: TokenFiles) -> str | None:
    """Reads the default chat template from chat_template.jinja or tokenizer_config.json.

    Args:
        files: The folder's settings.

    Returns:
        The template, or None if there is none.

    Raises:
        ValueError: If the template is not a string.
    """
    path = files.folder / "chat_template.jinja"
    if is_listed(path):
        return read_text(file_in(path.parent, path.name), universal_newlines=True)
    template = files.settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = [one for one in template if isinstance(one, dict)]
        template = {one.get("name"): one.get("template") for one in named}.get("default")
    if template is not None and not isinstance(template, str):
        raise ValueError(
            f"`chat_template` in {files.path} must be a text. Received: {template!r:.80}."
        )
    return template
