"""Batches of token ids as `keras.utils.PyDataset`."""
