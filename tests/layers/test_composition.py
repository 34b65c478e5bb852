"""Layers in users' own models: implicit masks, Sequential, functional and subclassed models."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import assert_close, make_decoder, make_encoder, normal, randomize, to_numpy

B, T, S, D, V = 2, 5, 7, 12, 13
TARGET = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]], "int32")
SOURCE = np.array([[3, 4, 5, 6, 0, 0, 0], [0, 9, 10, 11, 12, 1, 2]], "int32")


def self_attending_layers():
    return {
        "attention": kt.layers.MultiHeadSelfAttention(3),
        "causal_attention": kt.layers.MultiHeadSelfAttention(3, causal=True),
        "encoder_block": kt.layers.TransformerEncoderBlock(3, 17),
        "encoder": make_encoder(2, 3, 17, normalize_first=True),
        "decoder_block": kt.layers.DecoderBlock(3, 17, cross_attention=False, causal=False),
        "decoder": make_decoder(2, 3, 17, cross_attention=False, causal=False),
    }


def cross_attending_layers():
    return {
        "attention": kt.layers.MultiHeadAttention(3),
        "decoder_block": kt.layers.DecoderBlock(3, 17, causal=False),
        "decoder": make_decoder(2, 3, 17, causal=False),
    }


def embedding(kind="keras"):
    if kind == "keras":
        return randomize_built(keras.layers.Embedding(V, D, mask_zero=True))
    return randomize_built(kt.layers.TokenEmbedding(V, D))


def randomize_built(layer):
    layer.build((None, None))
    return randomize(layer)


@pytest.mark.parametrize("kind", ["keras", "ours"])
@pytest.mark.parametrize("name", self_attending_layers())
def test_implicit_mask_of_one_input(name, kind):
    layer, embed = self_attending_layers()[name], embedding(kind)
    layer.build((None, None, D))
    randomize(layer)
    plain = to_numpy(embed(TARGET))
    explicit = to_numpy(layer(plain, padding_mask=TARGET != 0))
    assert np.abs(explicit - to_numpy(layer(plain)))[1, :2].max() > 1e-3 or layer_is_causal(layer)
    assert_close(layer(embed(TARGET)), explicit, 1e-5)  # eager
    ids = keras.Input((None,), dtype="int32")
    functional = keras.Model(ids, layer(embed(ids)))
    assert_close(functional(TARGET), explicit, 1e-5)
    assert_close(keras.Sequential([embed, layer])(TARGET), explicit, 1e-5)
    predicted = functional.predict(TARGET, verbose=0)  # compiled
    assert_close(ops.convert_to_tensor(predicted), explicit, 1e-5)


def layer_is_causal(layer):
    return getattr(layer, "causal", False)


@pytest.mark.parametrize("name", cross_attending_layers())
def test_implicit_masks_of_two_inputs(name):
    layer, embed = cross_attending_layers()[name], embedding()
    layer.build((None, None, D), (None, None, D))
    randomize(layer)
    target, source = to_numpy(embed(TARGET)), to_numpy(embed(SOURCE))
    if name == "attention":
        explicit = to_numpy(layer(target, source, padding_mask=SOURCE != 0))
    else:
        masks = {"padding_mask": TARGET != 0, "encoded_padding_mask": SOURCE != 0}
        explicit = to_numpy(layer(target, source, **masks))
    for one, other in ((embed(TARGET), source), (target, embed(SOURCE))):
        assert np.abs(to_numpy(layer(target, source)) - explicit).max() > 1e-3
        if name != "attention":  # one mask of the two is not both
            assert np.abs(to_numpy(layer(one, other)) - explicit).max() > 1e-4
    assert_close(layer(embed(TARGET), embed(SOURCE)), explicit, 1e-5)
    inputs = [keras.Input((None,), dtype="int32") for _ in range(2)]
    model = keras.Model(inputs, layer(embed(inputs[0]), embed(inputs[1])))
    assert_close(model([TARGET, SOURCE]), explicit, 1e-5)
    predicted = model.predict([TARGET, SOURCE], verbose=0)
    assert_close(ops.convert_to_tensor(predicted), explicit, 1e-5)


def test_an_explicit_mask_goes_before_the_implicit_one():
    layer = randomize_stack(make_encoder(1, 3, 17))
    embed, mask = embedding(), np.array([[True] * 5, [True, True, True, False, False]])
    expected = to_numpy(layer(to_numpy(embed(TARGET)), padding_mask=mask))
    assert_close(layer(embed(TARGET), padding_mask=mask), expected, 1e-5)


def randomize_stack(stack):
    stack.build((None, None, D))
    return randomize(stack)


def test_the_mask_travels_on():
    """A pooling layer behind two of our layers still averages over the real tokens alone."""
    embed = embedding()
    layers = [kt.layers.PositionalEncoding(), kt.layers.TransformerEncoderBlock(3, 17)]
    layers += [kt.layers.FeedForward(17), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential([embed, *layers])
    x = layers[0](to_numpy(embed(TARGET)))
    hidden = to_numpy(layers[2](layers[1](x, padding_mask=TARGET != 0)))
    expected = [hidden[0].mean(axis=0), hidden[1, :2].mean(axis=0)]
    np.testing.assert_allclose(to_numpy(model(TARGET)), expected, atol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Tagger(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = kt.layers.TokenEmbedding(V, D)
        self.block = kt.layers.TransformerEncoderBlock(3, 17)
        self.dense = keras.layers.Dense(11)

    def call(self, inputs, training=None):
        return self.dense(self.block(self.embedding(inputs), training=training))


@pytest.mark.slow
def test_a_subclassed_model_trains_and_reloads(tmp_path):
    model = Tagger()
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    labels = (TARGET * 3) % 11
    losses = model.fit(TARGET, labels, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    model.save(tmp_path / "tagger.keras")
    loaded = keras.saving.load_model(tmp_path / "tagger.keras")
    np.testing.assert_array_equal(to_numpy(loaded(TARGET)), to_numpy(model(TARGET)))


def test_an_implicit_mask_does_not_reach_the_slots_of_a_cache():
    embedding = keras.layers.Embedding(13, 6, mask_zero=True)
    decoder = make_decoder(2, 2, 11, cross_attention=False)
    ids = np.array([[3, 5, 7, 11, 2]])
    full = decoder(embedding(ids))
    randomize(decoder)
    full = decoder(embedding(ids))
    cache = decoder.initial_cache(1, 7)
    first = decoder(embedding(ids[:, :3]), cache=cache, cache_index=0)
    second = decoder(embedding(ids[:, 3:]), cache=first["cache"], cache_index=3)
    assert_close(second["output"], full[:, 3:])


def test_positions_may_be_shared_by_two_stacks():
    positions = kt.layers.LearnedPositionalEmbedding(9)
    encoder = make_encoder(1, 3, 17, positional_encoding=positions)
    decoder = make_decoder(1, 3, 17, positional_encoding=positions)
    decoder(normal(B, T, D), encoder(normal(B, S, D)))
    assert encoder.positional_encoding.embeddings is decoder.positional_encoding.embeddings


# === Structure ===


@pytest.mark.parametrize("normalize_first", [False, True])
def test_order_of_the_sublayers(normalize_first):
    """Post-LN ends with a layer norm; pre-LN hands its input through."""
    block = kt.layers.TransformerEncoderBlock(3, 17, normalize_first=normalize_first)
    x = ops.convert_to_tensor(5.0 + normal(B, T, D))
    block.build(x.shape)
    attended = block.self_attention
    one, two = block.self_attention_norm, block.feed_forward_norm
    if normalize_first:
        y = x + attended(one(x))
        expected = y + block.feed_forward(two(y))
    else:
        y = one(x + attended(x))
        expected = two(y + block.feed_forward(y))
    assert_close(block(x), to_numpy(expected), 1e-5)
    mean = to_numpy(block(x)).mean(axis=-1)
    assert (np.abs(mean) < 1e-4).all() != normalize_first


@pytest.mark.parametrize(
    "rate", ["dropout", "attention_dropout", "activation_dropout", "input_dropout"]
)
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_every_rate_drops_something_in_training_alone(rate, stack):
    rates = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    rates = {**rates, "input_dropout": 0.0, rate: 0.5}
    makers = {"encoder": make_encoder, "decoder": make_decoder}
    more = {"cross_attention": False} if stack == "decoder" else {}
    layer = randomize_stack(makers[stack](1, 3, 17, **rates, **more))
    x = normal(B, T, D)
    still = to_numpy(layer(x, training=False))
    np.testing.assert_array_equal(still, to_numpy(layer(x)))
    first, second = (to_numpy(layer(x, training=True)) for _ in range(2))
    assert np.abs(first - still).max() > 1e-3 and np.abs(first - second).max() > 1e-3


def test_feed_forward_against_numpy():
    layer = kt.layers.FeedForward(17, activation="relu")
    layer.build((None, None, D))
    first, first_bias, second, second_bias = randomize(layer).get_weights()
    x = normal(B, T, D)
    expected = np.maximum(x @ first + first_bias, 0) @ second + second_bias
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-5)


def test_gelu_approximate_is_the_tanh_form():
    x = np.linspace(-3, 3, 11).astype("float32")
    expected = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    actual = to_numpy(kt.layers.gelu_approximate(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert np.abs(actual - to_numpy(ops.gelu(x, approximate=False))).max() > 1e-4


@pytest.mark.slow
def test_scores_of_stacks():
    decoder = make_decoder(2, 3, 17)
    result = decoder(normal(B, T, D), normal(B, S, D), return_attention_scores=True)
    assert [tuple(x.shape) for x in result["attention_scores"]] == [(B, 3, T, T)] * 2
    assert [tuple(x.shape) for x in result["cross_attention_scores"]] == [(B, 3, T, S)] * 2
    for scores in (*result["attention_scores"], *result["cross_attention_scores"]):
        np.testing.assert_allclose(to_numpy(scores).sum(axis=-1), 1.0, atol=1e-5)
    symbolic = decoder(
        keras.KerasTensor((None, None, D)),
        keras.KerasTensor((None, None, D)),
        return_attention_scores=True,
    )
    assert sorted(symbolic) == sorted(result)
    encoder = make_encoder(2, 3, 17)
    result = encoder(normal(B, S, D), return_attention_scores=True)
    assert [tuple(x.shape) for x in result["attention_scores"]] == [(B, 3, S, S)] * 2


# === Errors ===


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kt.layers.MultiHeadAttention(0), "`num_heads` must be a positive integer"),
        (lambda: kt.layers.MultiHeadAttention(2, head_dim=-1), "`head_dim` must be a positive"),
        (
            lambda: kt.layers.MultiHeadAttention(4, num_key_value_heads=3),
            "`num_key_value_heads` must divide `num_heads`. Received: num_key_value_heads=3",
        ),
        (lambda: kt.layers.MultiHeadAttention(2, dropout=1.0), r"`dropout` must be in .*\[0, 1\)"),
        (lambda: kt.layers.FeedForward(0), "`intermediate_dim` must be a positive integer"),
        (lambda: kt.layers.FeedForward(3, dropout="a"), "`dropout` must be in the range"),
        (
            lambda: kt.layers.TransformerEncoderBlock(2, 3, attention_dropout=1.5),
            "`attention_dropout` must be in the range .*attention_dropout=1.5",
        ),
        (
            lambda: kt.layers.DecoderBlock(2, 3, activation_dropout=-0.1),
            "`activation_dropout` must be in the range .*activation_dropout=-0.1",
        ),
        (lambda: make_encoder(0, 2, 3), "`num_layers` must be a positive integer"),
        (
            lambda: make_decoder(1, 2, 3, input_dropout=2),
            "`input_dropout` must be in the range",
        ),
        (lambda: kt.layers.TokenEmbedding(0, 3), "`vocabulary_size` must be a positive integer"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_calls():
    x = normal(B, T, D)
    with pytest.raises(ValueError, match="`num_heads` must divide `hidden_dim`. Received: num_h"):
        kt.layers.MultiHeadSelfAttention(5)(x)
    with pytest.raises(ValueError, match=r"`inputs` must have shape \(batch, length, hidden_dim"):
        make_encoder(1, 3, 17)(x[0])
    with pytest.raises(ValueError, match="`key_value` or `cache` must be given. Received: neither"):
        kt.layers.MultiHeadAttention(3)(x)
    with pytest.raises(ValueError, match="`padding_mask` must be boolean.*dtype=int32"):
        kt.layers.MultiHeadSelfAttention(3)(x, padding_mask=np.ones((B, T), "int32"))
    message = "`encoded` must be given if and only if `cross_attention=True`. Received: "
    with pytest.raises(ValueError, match=f"{message}cross_attention=True, encoded=None"):
        kt.layers.DecoderBlock(3, 17)(x)
    with pytest.raises(ValueError, match=f"{message}cross_attention=False, encoded=given"):
        kt.layers.DecoderBlock(3, 17, cross_attention=False)(x, x)
    with pytest.raises(ValueError, match="`inputs` must be integer token ids.*dtype=float32"):
        kt.layers.TokenEmbedding(V, D)(x)
    decoder = make_decoder(1, 3, 17)
    decoder(x, x)
    with pytest.raises(ValueError, match=f"{message}cross_attention=True, encoded=None"):
        decoder.initial_cache(B, T)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_ids_that_come_as_floats_are_not_rounded(policy):
    layer = kt.layers.TokenEmbedding(2100, 3, dtype=policy)
    ids = np.array([[2051, 0, 257]])
    for given in (ids, ids.astype("float32")):
        output = layer(given)
        table = to_numpy(layer.embeddings.value)
        np.testing.assert_allclose(to_numpy(output), 3**0.5 * table[ids], atol=0.02)
        mask = layer.compute_mask(ops.convert_to_tensor(given))
        np.testing.assert_array_equal(to_numpy(mask), ids != 0)
