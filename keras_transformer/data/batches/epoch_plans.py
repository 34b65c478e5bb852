"""Helpers for the plans of epochs: steps of batches, and fingerprints."""

import hashlib

import numpy as np


def split_steps(rows: np.ndarray, batch_size: int, num_shards: int) -> list[list[np.ndarray]]:
    """Splits rows into steps of one batch per shard, the last one as evenly as possible.

    Args:
        rows: (N, ...), one entry per row.
        batch_size: Maximum rows per batch.
        num_shards: Batches per step.

    Returns:
        The steps, each a list of `num_shards` arrays; in the last step some may be empty.
    """
    size = batch_size * num_shards
    return [
        np.array_split(rows[start : start + size], num_shards)
        for start in range(0, len(rows), size)
    ]


def fingerprint(*arrays: np.ndarray) -> str:
    """Returns a short hash of integer arrays, the same on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        # Shapes too: the same numbers in different rows are a different corpus.
        digest.update(repr(array.shape).encode())
        flat = array.reshape(-1)
        for start in range(0, len(flat), 1 << 20):  # in parts, to avoid a copy
            digest.update(flat[start : start + (1 << 20)].astype("<i8").tobytes())
    return digest.hexdigest()
