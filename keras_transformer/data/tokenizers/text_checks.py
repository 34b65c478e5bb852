"""Validation of texts before tokenization."""

from collections.abc import Iterable


def check_texts(texts: Iterable[str], name: str = "texts") -> list[str]:
    """Returns the texts as a list; raises a ValueError if one is not a string."""
    if isinstance(texts, (str, bytes)):
        # Iterating over one string would silently yield single characters.
        raise ValueError(
            f"`{name}` must be an iterable of strings, not one string. Received: {name}={texts!r}."
        )
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"`{name}` must contain strings. Received: {name}[{index}]={text!r}.")
    return texts


def check_unicode(texts: list[str]) -> None:
    """Raises a ValueError for a text with a lone surrogate, which UTF-8 cannot encode."""
    for index, text in enumerate(texts):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"`texts` must contain valid Unicode. Received: texts[{index}]={text!r}."
            ) from error
