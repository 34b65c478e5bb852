"""Reusable Keras layers that compose into complete Transformers.

Import it as `import keras_transformer as kt`. It contains layers for your own models (`kt.layers`),
complete models (`kt.models`), the operations behind them (`kt.ops`), tools for training with
`model.fit` (`kt.training`), batching and tokenizers (`kt.data`), corpora (`kt.datasets`),
generation (`kt.decoding`), loading of checkpoints from other libraries (`kt.pretrained`),
pictures of what a model computes (`kt.visualize`) and text-to-text pipelines (`kt.Translator`,
`kt.TextGenerator`).
"""

# First, because every package below imports Keras, which says nothing about what to install.
try:
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:
    from keras_transformer.missing_backend import missing_backend

    if (explained := missing_backend(error)) is None:
        raise
    raise explained from error

from keras_transformer import (
    data,
    datasets,
    decoding,
    layers,
    models,
    ops,
    pretrained,
    training,
    visualize,
)
from keras_transformer.pipelines import (
    DecodingDefaults,
    GenerationDefaults,
    TextGenerator,
    Translation,
    Translator,
    read_translations,
    score_translations,
    translate_corpus,
)
from keras_transformer.version import __version__

__all__ = [
    "DecodingDefaults",
    "GenerationDefaults",
    "TextGenerator",
    "Translation",
    "Translator",
    "__version__",
    "data",
    "datasets",
    "decoding",
    "layers",
    "models",
    "ops",
    "pretrained",
    "read_translations",
    "score_translations",
    "training",
    "translate_corpus",
    "visualize",
]
