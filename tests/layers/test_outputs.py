"""What stands beside the output takes nothing away from it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import make_decoder, make_encoder, to_numpy

B, T, D, V = 3, 7, 12, 11
CASES = {
    "attention": (lambda: kt.layers.MultiHeadAttention(3), 2),
    "self_attention": (lambda: kt.layers.MultiHeadSelfAttention(3), 1),
    "encoder_block": (lambda: kt.layers.TransformerEncoderBlock(3, 17, dropout=0.0), 1),
    "encoder": (lambda: make_encoder(2, 3, 17, dropout=0.0), 1),
    "decoder_block": (lambda: kt.layers.DecoderBlock(3, 17, dropout=0.0), 2),
    "decoder": (lambda: make_decoder(2, 3, 17, dropout=0.0), 2),
    "language_model": (
        lambda: make_decoder(2, 3, 17, dropout=0.0, cross_attention=False),
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_implicit_mask_goes_with_the_output_beside_scores(name):
    make, num_inputs = CASES[name]
    layer = make()
    ids = keras.Input((None,), dtype="int32")
    inputs = [keras.layers.Embedding(V, D, mask_zero=True)(ids)] * num_inputs
    pool = keras.layers.GlobalAveragePooling1D()
    plain = pool(layer(*inputs))
    beside = pool(layer(*inputs, return_attention_scores=True)["output"])
    model = keras.Model(ids, [plain, beside])
    batch = np.random.default_rng(0).integers(1, V, (B, T)).astype("int32")
    batch[:, -3:] = 0
    plain, beside = to_numpy(model(ops.convert_to_tensor(batch)))
    np.testing.assert_allclose(beside, plain, atol=1e-6)
    shorter, _ = to_numpy(model(ops.convert_to_tensor(batch[:, :-3])))
    np.testing.assert_allclose(plain, shorter, atol=1e-5)  # so the mean did leave padding out
