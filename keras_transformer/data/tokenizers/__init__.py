"""Subword tokenizers: training, loading, encoding and decoding."""
