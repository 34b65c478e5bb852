"""Tokenizers of other libraries: loading and export."""
