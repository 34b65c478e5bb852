"""BERT: a bidirectional encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_positive, given
from keras_transformer.layers.activations import get_activation
from keras_transformer.layers.embedding import TokenEmbedding
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.positional import LearnedPositionalEmbedding
from keras_transformer.models.initializers import initial_stddev
from keras_transformer.models.stack_blocks import make_blocks


def bert(
    vocabulary_size: int = 30522,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden_dim: int = 768,
    intermediate_dim: int = 3072,
    max_length: int = 512,
    dropout: float = 0.1,
    *,
    pooler: bool = True,
    masked_lm: bool = False,
    num_segments: int | None = 2,
    activation: Any = "gelu",
    layer_norm_epsilon: float = 1e-12,
    attention_dropout: float | None = None,
    initializer_stddev: float | None = None,
    padding_id: int | None = 0,
    rematerialize: bool = False,
    name: str = "bert",
    dtype: Any = None,
    **block: Any,
) -> keras.Model:
    """Builds BERT, by default BERT-Base.

    A functional model with the inputs `token_ids` and `segment_ids`, both int32 (B, T); segment ids
    are all 0 for a single text. Embeddings of tokens, segments and positions are summed and
    normalized; the encoder is post-LN. The layers are named `token_embedding`, `segment_embedding`,
    `positional_encoding`, `embedding_norm`, `encoder`, `pooler`, `masked_lm_dense` and
    `masked_lm_norm`. Without segments, as in DistilBERT, there is no input `segment_ids`.

    RoBERTa and XLM-RoBERTa are BERT models with a different vocabulary and padding id, trained
    without sentence pairs.

    Args:
        vocabulary_size: V.
        num_layers: Number of encoder blocks.
        num_heads: Number of attention heads.
        hidden_dim: D, the width of the model.
        intermediate_dim: Width of the feed-forward networks.
        max_length: Number of learned positions, the maximum sequence length.
        dropout: Dropout rate on the embeddings and the output of each sublayer.
        pooler: Whether to also return the first token's hidden state after a dense layer with tanh,
            for classification.
        masked_lm: Whether to also return logits of the token at each position, from a dense layer,
            a layer norm and the embedding, for masked-LM training.
        num_segments: Number of segment ids; None for a model without segments.
        activation: Activation of the feed-forward networks and the masked-LM head.
        layer_norm_epsilon: Epsilon of the layer norms.
        attention_dropout: Dropout rate on the attention weights; None for `dropout`.
        initializer_stddev: Initial standard deviation of all kernels and embeddings; None for 0.02
            at `hidden_dim=768`, scaled in proportion to `hidden_dim ** -0.5`.
        padding_id: The id of padding, which is masked; None if all ids are real tokens.
        rematerialize: Whether to recompute each block in the backward pass (gradient
            checkpointing): less memory, more time.
        name: Name of the model. `kt.pretrained.save_huggingface` writes a model named "roberta" or
            "xlm_roberta" as a checkpoint of that family.
        dtype: Dtype policy of the layers; None for Keras's global policy.
        **block: Other arguments of the blocks, see `TransformerEncoderBlock`: `normalize_first`,
            `num_key_value_heads`, `rotary`, `relative_positions`, `gated`, `norm` and so on.
            `window` may also be a sequence of windows for the layers to alternate.

    Returns:
        A `keras.Model` whose output is the hidden states (B, T, D) or, with a pooler or a masked-LM
        head, a dict of these as `output`, `pooled_output` (B, D) and `logits` (B, T, V).

    Raises:
        ValueError: If a size is not positive, `num_heads` does not divide `hidden_dim`, or
            `initializer_stddev` is not positive; when called, if a sequence is longer than
            `max_length`.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.bert(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> ids = np.array([[5, 6, 7, 0]])
        >>> outputs = model({"token_ids": ids, "segment_ids": np.zeros_like(ids)})
        >>> outputs["output"].shape
        (1, 4, 16)
        >>> outputs["pooled_output"].shape
        (1, 16)

    See Also:
        `kt.data.MaskedLanguageModelBatches` makes the batches of its pretraining;
        `kt.models.classifier`, `kt.models.token_classifier` and `kt.models.span_extractor` put
        heads on it.

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", section 3; Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining
        Approach", section 3; Sanh et al. 2019, "DistilBERT, a distilled version of BERT",
        section 3.
    """
    check_positive(
        vocabulary_size=vocabulary_size,
        hidden_dim=hidden_dim,
        **given(num_segments=num_segments),
    )

    stddev = initial_stddev(initializer_stddev, hidden_dim)

    def initializer():
        return keras.initializers.TruncatedNormal(stddev=stddev)

    def norm(name):
        return keras.layers.LayerNormalization(epsilon=layer_norm_epsilon, dtype=dtype, name=name)

    def embedding(size, name, padding_id=None, output_bias=False):
        return TokenEmbedding(
            size,
            hidden_dim,
            scale=False,
            padding_id=padding_id,
            output_bias=output_bias,
            embeddings_initializer=initializer(),
            dtype=dtype,
            name=name,
        )

    def dense(activation, name):
        return keras.layers.Dense(
            hidden_dim, activation, kernel_initializer=initializer(), dtype=dtype, name=name
        )

    # === Layers ===
    token_embedding = embedding(vocabulary_size, "token_embedding", padding_id, masked_lm)
    positional_encoding = LearnedPositionalEmbedding(
        max_length, initializer(), dtype=dtype, name="positional_encoding"
    )
    blocks = make_blocks(
        TransformerEncoderBlock,
        num_heads=num_heads,
        intermediate_dim=intermediate_dim,
        dropout=dropout,
        activation=activation,
        layer_norm_epsilon=layer_norm_epsilon,
        attention_dropout=dropout if attention_dropout is None else attention_dropout,
        **{"kernel_initializer": initializer(), "dtype": dtype, **block},
    )
    encoder = TransformerEncoder(
        num_layers,
        blocks,
        input_dropout=dropout,
        rematerialize=rematerialize,
        dtype=dtype,
        name="encoder",
    )
    # === Functional model ===
    token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    inputs = {"token_ids": token_ids}
    layers: list[Any] = [token_embedding, positional_encoding, norm("embedding_norm"), encoder]
    if num_segments is not None:
        inputs["segment_ids"] = keras.Input(shape=(None,), dtype="int32", name="segment_ids")
        layers.append(embedding(num_segments, "segment_embedding"))
    named = {layer.name: layer for layer in layers}
    output, _ = encode_text(named, token_ids, inputs.get("segment_ids"))
    outputs = {"output": output}
    if pooler:
        outputs["pooled_output"] = dense("tanh", "pooler")(ops.take(output, 0, axis=1))
    if masked_lm:
        hidden = dense(get_activation(activation), "masked_lm_dense")(output)
        outputs["logits"] = token_embedding(norm("masked_lm_norm")(hidden), reverse=True)
    return keras.Model(inputs, outputs if len(outputs) > 1 else output, name=name)


def encode_text(
    layers: Mapping[str, keras.layers.Layer], token_ids: Any, segment_ids: Any
) -> tuple[Any, Any]:
    """Encodes texts with the layers of a BERT.

    Args:
        layers: The layers `token_embedding`, `positional_encoding`, `embedding_norm`, `encoder`
            and, with segments, `segment_embedding`, by name.
        token_ids: Symbolic int (B, T).
        segment_ids: Symbolic int (B, T); ignored without segments.

    Returns:
        The hidden states (B, T, D) and the padding mask (B, T), which is None without a padding id.
    """
    embedding = layers["token_embedding"]
    x = embedding(token_ids)
    if "segment_embedding" in layers:
        add = keras.layers.Add(dtype=embedding.dtype_policy)
        x = add([x, layers["segment_embedding"](segment_ids)])
    # Passed explicitly, since Keras drops the mask when embeddings with and without one are added.
    mask = embedding.compute_mask(token_ids)
    x = layers["embedding_norm"](layers["positional_encoding"](x))
    return layers["encoder"](x, padding_mask=mask), mask
