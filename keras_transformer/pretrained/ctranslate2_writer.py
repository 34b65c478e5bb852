"""CTranslate2's specification of a model.

Shape letters: D hidden, L positions, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_transformer.layers.positional import LearnedPositionalEmbedding
from keras_transformer.pretrained.mapping import to_float32
from keras_transformer.pretrained.settings import activation_name, block_of

# Names of activations in CTranslate2's enum `Activation`, mapped to ours.
_ACTIVATIONS = {
    "RELU": "relu",
    "GELU": "gelu",
    "GELUTanh": "gelu_approximate",
    "SWISH": "silu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
}


class SpecWriter:
    """Fills CTranslate2's specification from the layers of a model."""

    def __init__(self, model, max_length):
        self.model = model
        self.max_length = max_length
        self.names = {layer.name for layer in model.layers}
        self.decoder = model.get_layer("decoder")

    def spec(self):
        from ctranslate2.specs import common_spec, transformer_spec

        decoder, is_translator = self.decoder, "encoder" in self.names
        block = block_of(decoder)
        options = {
            "pre_norm": block.normalize_first,
            "activation": common_spec.Activation[activation_name(block, _ACTIVATIONS)],
        }
        if is_translator:
            encoder = self.model.get_layer("encoder")
            spec = transformer_spec.TransformerSpec(
                transformer_spec.TransformerEncoderSpec(
                    encoder.num_layers, block_of(encoder).num_heads, **options
                ),
                transformer_spec.TransformerDecoderSpec(
                    decoder.num_layers, block.num_heads, **options
                ),
            )
            source = self._embedding("source")
            self._stack(spec.encoder, encoder, source, spec.encoder.embeddings[0])
        else:
            spec = transformer_spec.TransformerDecoderModelSpec.from_config(
                decoder.num_layers, block.num_heads, **options
            )
        target = self._embedding("target")
        self._stack(spec.decoder, decoder, target, spec.decoder.embeddings)
        self._projection(spec.decoder.projection, target)
        spec.config.layer_norm_epsilon = block.layer_norm_epsilon
        return spec

    def _embedding(self, side):
        name = f"{side}_embedding"
        return self.model.get_layer(name if name in self.names else "token_embedding")

    def _projection(self, spec, embedding):
        if "logits" in self.names:
            self._linear(spec, self.model.get_layer("logits"))
            return
        spec.weight = _numpy(embedding.embeddings)
        if embedding.bias is not None:
            spec.bias = _numpy(embedding.bias)

    def _stack(self, spec, stack, embedding, embedding_spec):
        embedding_spec.weight = _numpy(embedding.embeddings)
        embedding_spec.multiply_by_sqrt_depth = embedding.scale
        spec.scale_embeddings = embedding.scale
        spec.position_encodings.encodings = self._positions(stack, embedding.hidden_dim)
        if stack.final_norm is not None:
            self._norm(spec.layer_norm, stack.final_norm)
        for layer, block in zip(spec.layer, stack.blocks, strict=True):
            heads = block.self_attention.attention
            joint = (heads.query_dense, heads.key_dense, heads.value_dense)
            self._linear(layer.self_attention.linear[0], *joint)
            self._linear(layer.self_attention.linear[1], heads.output_dense)
            self._norm(layer.self_attention.layer_norm, block.self_attention_norm)
            if getattr(block, "cross_attention", False):
                heads = block.source_attention
                self._linear(layer.attention.linear[0], heads.query_dense)
                self._linear(layer.attention.linear[1], heads.key_dense, heads.value_dense)
                self._linear(layer.attention.linear[2], heads.output_dense)
                self._norm(layer.attention.layer_norm, block.source_attention_norm)
            self._linear(layer.ffn.linear_0, block.feed_forward.intermediate_dense)
            self._linear(layer.ffn.linear_1, block.feed_forward.output_dense)
            self._norm(layer.ffn.layer_norm, block.feed_forward_norm)

    def _positions(self, stack, hidden_dim):
        layer = stack.positional_encoding
        if isinstance(layer, LearnedPositionalEmbedding):
            return _numpy(layer.embeddings)
        # In float32 even if the model computes in half precision.
        exact = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
        return _numpy(exact(ops.zeros((1, self.max_length, hidden_dim), "float32"))[0])  # (L, D)

    def _linear(self, spec, *layers):
        """Writes several layers as one matrix (out, in), concatenated along the outputs."""
        spec.weight = np.concatenate([_numpy(layer.kernel).T for layer in layers])
        if layers[0].use_bias:
            spec.bias = np.concatenate([_numpy(layer.bias) for layer in layers])

    def _norm(self, spec, layer):
        spec.gamma = _numpy(layer.gamma)
        spec.beta = _numpy(layer.beta) if layer.center else np.zeros_like(spec.gamma)


def _numpy(weight):
    # A copy: some backends return their own memory, and optimize() may write to it.
    return np.array(to_float32(weight), order="C")
