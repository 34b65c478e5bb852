"""What the plans of epochs are made of: steps of batches, and fingerprints to tell them apart."""

import hashlib

import numpy as np


def split_steps(rows: np.ndarray, batch_size: int, num_shards: int) -> list[list[np.ndarray]]:
    """Splits rows into steps of one batch a shard, the last one as evenly as can be.

    Args:
        rows: (N, ...), what the rows of the batches are made of.
        batch_size: most rows of a batch.
        num_shards: batches of a step.

    Returns:
        The steps, each a list of `num_shards` arrays; some may be empty in the last one.
    """
    size = batch_size * num_shards
    return [
        np.array_split(rows[start : start + size], num_shards)
        for start in range(0, len(rows), size)
    ]


def fingerprint(*arrays: np.ndarray) -> str:
    """Returns a short hash of integers, the same on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        # Shapes too: the same numbers in other rows are another corpus.
        digest.update(repr(array.shape).encode())
        flat = array.reshape(-1)
        for start in range(0, len(flat), 1 << 20):  # of a large corpus no second copy
            digest.update(flat[start : start + (1 << 20)].astype("<i8").tobytes())
    return digest.hexdigest()
