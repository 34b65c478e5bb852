"""The files of a Firefox Translations folder."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_transformer.files import file_in, is_listed, read_bytes


def firefox_model(folder: Path) -> Path | None:
    """Returns the weights file of a Firefox Translations folder, None for any other folder.

    Raises:
        ValueError: If there is more than one.
    """
    if is_listed(folder / "config.json"):
        return None
    found = sorted(folder.glob("model.*.bin"))
    if len(found) > 1:
        names = [path.name for path in found]
        raise ValueError(f"`folder` must contain one file model.*.bin. Received: {names}.")
    return file_in(folder, found[0].name) if found else None


def firefox_vocabularies(folder: Path) -> tuple[Path, Path]:
    """Returns the SentencePiece model files of source and target, which may be the same file.

    Raises:
        ValueError: If there is none, or more than one for a language.
    """
    shared, source, target = (
        sorted(folder.glob(f"{name}.*.spm")) for name in ("vocab", "srcvocab", "trgvocab")
    )
    if [len(shared), len(source), len(target)] not in ([1, 0, 0], [0, 1, 1]):
        names = [path.name for path in (*shared, *source, *target)]
        raise ValueError(
            "`folder` must contain one file vocab.*.spm, or one file srcvocab.*.spm and one "
            f"trgvocab.*.spm. Received: {names} in {folder}."
        )
    (one,), (other,) = shared or source, shared or target
    return file_in(folder, one.name), file_in(folder, other.name)


def find_shortlist(folder: Path) -> Path | None:
    """Returns the lexical shortlist file of a folder, None if there is none.

    Raises:
        ValueError: If there is more than one.
    """
    found = sorted(folder.glob("lex.*.bin"))
    if len(found) > 1:
        names = [path.name for path in found]
        raise ValueError(f"`folder` must contain one file lex.*.bin. Received: {names}.")
    return file_in(folder, found[0].name) if found else None


class ShortlistFile(NamedTuple):
    """The content of a lexical shortlist file: the arguments of `kt.decoding.LexicalShortlist`."""

    offsets: np.ndarray
    ids: np.ndarray
    num_first: int


_SHORTLIST_MAGIC = 0xF11A48D5013417F5


def read_shortlist(path: Path) -> ShortlistFile:
    """Reads the binary lexical shortlist of a Firefox Translations model.

    Args:
        path: Path of the file, `lex.*.bin`.

    Returns:
        A `ShortlistFile`.

    Raises:
        ValueError: If the file is damaged or in another format.
    """
    data = read_bytes(path)
    if len(data) < 48:
        raise _not_a_shortlist(path, f"{len(data)} bytes")
    magic, _, num_first, _, num_offsets, num_ids = struct.unpack_from("<6Q", data)
    if magic != _SHORTLIST_MAGIC:
        raise _not_a_shortlist(path, f"the magic number {magic:#x}")
    if len(data) != 48 + 8 * num_offsets + 4 * num_ids:
        sizes = f"{num_offsets} offsets and {num_ids} ids in {len(data)} bytes"
        raise _not_a_shortlist(path, sizes)
    offsets = np.frombuffer(data, "<u8", num_offsets, 48)
    ids = np.frombuffer(data, "<u4", num_ids, 48 + 8 * num_offsets)
    # Frequent ids come first; there cannot be more of them than ids.
    known = max(num_offsets - 1, int(ids.max(initial=0)) + 1)
    if num_first > max(known, 1024):
        raise _not_a_shortlist(path, f"{num_first} first ids of {known}")
    return ShortlistFile(offsets, ids, num_first)


def _not_a_shortlist(path, received):
    return ValueError(f"`{path}` must be an intact binary Marian shortlist. Received: {received}.")
