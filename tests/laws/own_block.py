"""A decoder block of a user's own, and a translator made of it."""

import keras

import keras_transformer as kt


@keras.saving.register_keras_serializable(package="tests")
class ParallelBlock(keras.layers.Layer):
    """Self-attention, cross-attention and feed-forward network side by side, as in GPT-J."""

    cross_attention = True

    def __init__(self, num_heads, intermediate_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.intermediate_dim = num_heads, intermediate_dim
        self.norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)
        self.self_attention = kt.layers.MultiHeadSelfAttention(
            num_heads, causal=True, dtype=self.dtype_policy
        )
        self.source_attention = kt.layers.MultiHeadAttention(num_heads, dtype=self.dtype_policy)
        self.feed_forward = kt.layers.FeedForward(intermediate_dim, dtype=self.dtype_policy)

    def build(self, inputs_shape, encoded_shape):
        self.source_attention.build(inputs_shape, encoded_shape)
        for sublayer in (self.norm, self.self_attention, self.feed_forward):
            sublayer.build(inputs_shape)

    def initial_cache(self, batch_size, length):
        return self.self_attention.initial_cache(batch_size, length)

    def make_cross_cache(self, encoded):
        return self.source_attention.make_cache(encoded)

    def call(
        self,
        inputs,
        encoded=None,
        padding_mask=None,
        encoded_padding_mask=None,
        cache=None,
        cross_cache=None,
        cache_index=None,
        training=None,
    ):
        x = self.norm(inputs)
        attended = self.self_attention(
            x, padding_mask=padding_mask, cache=cache, cache_index=cache_index, training=training
        )
        source = self.source_attention(
            x, encoded, padding_mask=encoded_padding_mask, cache=cross_cache, training=training
        )
        new = source + self.feed_forward(x, training=training)
        if cache is None:
            return inputs + attended + new
        return {"output": inputs + attended["output"] + new, "cache": attended["cache"]}


def own_block_translator(
    vocabulary_size, hidden_dim, num_layers, num_heads, intermediate_dim, dtype=None
):
    """A translator with such a decoder; in its encoder two kinds of block take turns."""
    blocks = [
        kt.layers.TransformerEncoderBlock(num_heads, intermediate_dim, dtype=dtype, **more)
        for more in ({}, {"gated": True, "window": 3})
    ]
    embedding = kt.layers.TokenEmbedding(
        vocabulary_size, hidden_dim, dtype=dtype, name="token_embedding"
    )
    encoder, decoder = (
        stack(num_layers, block, kt.layers.PositionalEncoding(dtype=dtype), name=name)
        for stack, block, name in (
            (kt.layers.TransformerEncoder, blocks, "encoder"),
            (
                kt.layers.TransformerDecoder,
                ParallelBlock(num_heads, intermediate_dim, dtype=dtype),
                "decoder",
            ),
        )
    )
    ids = [keras.Input((None,), dtype="int32", name=f"{side}_ids") for side in ("source", "target")]
    decoded = decoder(embedding(ids[1]), encoder(embedding(ids[0])))
    inputs = {"source_ids": ids[0], "target_ids": ids[1]}
    return keras.Model(inputs, embedding(decoded, reverse=True))
