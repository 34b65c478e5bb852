"""Checks of what is to be tokenised."""

from collections.abc import Iterable


def check_texts(texts: Iterable[str]) -> list[str]:
    """Returns the texts as a list, and raises where one is not a string."""
    if isinstance(texts, (str, bytes)):
        # Iterating over one string would silently give single characters.
        raise ValueError(
            f"`texts` must be an iterable of strings, not one string. Received: texts={texts!r}"
        )
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"`texts` must hold strings. Received: texts[{index}]={text!r}")
    return texts


def check_unicode(texts: list[str]) -> None:
    """Raises where a text holds half of a surrogate pair, which no UTF-8 can say."""
    for index, text in enumerate(texts):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"`texts` must hold valid Unicode. Received: texts[{index}]={text!r}"
            ) from error
