"""Recurrent encoder and decoder against PyTorch's cells and the papers' equations."""

import keras
import numpy as np
import pytest
import torch
from keras import ops

import keras_transformer as kt
from keras_transformer.layers.recurrent_attention import ATTENTIONS
from keras_transformer.layers.recurrent_cells import CELLS
from tests.harness import BACKEND, normal, randomize, to_numpy

B, T, S, D, H, E = 3, 5, 7, 4, 6, 11
LENGTHS = [7, 2, 4]
REAL = np.arange(S) < np.array(LENGTHS)[:, None]
TORCH = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
TORCH_CELLS = {"simple": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}


def copy_weights(cell, keras_cell, module, suffix=""):
    """Gives a Keras cell the weights of one layer and direction of a torch module."""

    def read(name):
        return getattr(module, name + suffix).detach().numpy()

    kernel, recurrent = read("weight_ih").T, read("weight_hh").T
    biases = np.stack([read("bias_ih"), read("bias_hh")])
    if cell == "gru":  # torch: reset, update, new; Keras: update, reset, new
        order = np.concatenate([np.arange(H, 2 * H), np.arange(H), np.arange(2 * H, 3 * H)])
        kernel, recurrent, biases = kernel[:, order], recurrent[:, order], biases[:, order]
    else:
        biases = biases.sum(axis=0)
    keras_cell.kernel.assign(kernel)
    keras_cell.recurrent_kernel.assign(recurrent)
    keras_cell.bias.assign(biases)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_encoder_equals_torch(cell, bidirectional):
    torch.manual_seed(0)
    reference = TORCH[cell](D, H, num_layers=2, batch_first=True, bidirectional=bidirectional)
    encoder = kt.layers.RecurrentEncoder(H, cell, num_layers=2, bidirectional=bidirectional)
    encoder.build((None, None, D))
    for index, layer in enumerate(encoder.recurrences):
        if bidirectional:
            copy_weights(cell, layer.forward_layer.cell, reference, f"_l{index}")
            copy_weights(cell, layer.backward_layer.cell, reference, f"_l{index}_reverse")
        else:
            copy_weights(cell, layer.cell, reference, f"_l{index}")
    x = normal(B, S, D)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(x), LENGTHS, batch_first=True, enforce_sorted=False
    )
    outputs, last = reference(packed)
    expected = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0]
    output = encoder(x, padding_mask=REAL)
    np.testing.assert_allclose(to_numpy(output)[REAL], expected.detach().numpy()[REAL], atol=1e-5)
    # What the encoder knows at its end: torch's last hidden states of the upper layer.
    last = last[0] if cell == "lstm" else last
    expected = torch.cat(list(last[-2 if bidirectional else -1 :]), dim=-1).detach().numpy()
    pooling = kt.layers.SequencePooling("ends" if bidirectional else "last")
    np.testing.assert_allclose(to_numpy(pooling(output, padding_mask=REAL)), expected, atol=1e-5)


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def weights_of(layer):
    return {
        weight.path.split(f"{layer.name}/")[-1]: to_numpy(weight.value) for weight in layer.weights
    }


def luong(attention, state, encoded):
    keys = encoded @ weights_of(attention)["key/kernel"]
    scores = np.where(REAL, np.einsum("bh,bsh->bs", state, keys), -np.inf)
    return softmax(scores)


def bahdanau(attention, state, encoded):
    weights = weights_of(attention)
    query = state @ weights["query/kernel"]
    keys = encoded @ weights["key/kernel"] + weights["key/bias"]
    scores = np.tanh(query[:, None] + keys) @ weights["score/kernel"][:, 0]
    return softmax(np.where(REAL, scores, -np.inf))


def plain_decoder(decoder, reference, x, encoded):
    """Outputs (B, T, H) and attention weights (B, T, S), one position after the other."""
    summary = encoded[np.arange(B), np.array(LENGTHS) - 1]
    states = [
        torch.tensor(np.tanh(summary @ to_numpy(bridge.kernel) + to_numpy(bridge.bias)))
        for bridge in decoder.bridges
    ]
    outputs, all_weights = [], []
    for t in range(x.shape[1]):
        inputs, weights, context = x[:, t], None, None
        if decoder.attention == "bahdanau":
            weights = bahdanau(decoder.attention_layer, states[0].numpy(), encoded)
            context = np.einsum("bs,bse->be", weights, encoded)
            inputs = np.concatenate([inputs, context], axis=-1)
        given = tuple(states) if decoder.cell == "lstm" else states[0]
        new = reference(torch.tensor(inputs.astype("float32")), given)
        states = list(new) if decoder.cell == "lstm" else [new]
        output = states[0].numpy()
        if decoder.attention == "luong":
            weights = luong(decoder.attention_layer, output, encoded)
            context = np.einsum("bs,bse->be", weights, encoded)
        if context is not None:
            dense = decoder.output_dense
            joined = np.concatenate([output, context], axis=-1)
            output = np.tanh(joined @ to_numpy(dense.kernel) + to_numpy(dense.bias))
            all_weights.append(weights)
        outputs.append(output)
    return np.stack(outputs, axis=1), np.stack(all_weights, axis=1) if all_weights else None


@pytest.mark.parametrize("attention", [None, "luong", "bahdanau"])
@pytest.mark.parametrize("cell", CELLS)
def test_decoder_equals_torch_and_the_equations(cell, attention):
    torch.manual_seed(0)
    decoder = kt.layers.RecurrentDecoder(H, cell, attention=attention)
    decoder.build((None, None, D), (None, None, E))
    randomize(decoder)
    reference = TORCH_CELLS[cell](D + (E if attention == "bahdanau" else 0), H)
    copy_weights(cell, decoder.recurrences[0].cell, reference)
    x, encoded = normal(B, T, D), normal(B, S, E, seed=1)
    with torch.no_grad():
        expected, weights = plain_decoder(decoder, reference, x, encoded)
    output = decoder(x, encoded, encoded_padding_mask=REAL)
    np.testing.assert_allclose(to_numpy(output), expected, atol=1e-5)
    if attention is None:
        with pytest.raises(ValueError, match="`return_attention_scores` requires a decoder"):
            decoder(x, encoded, return_attention_scores=True)
        return
    result = decoder(x, encoded, encoded_padding_mask=REAL, return_attention_scores=True)
    np.testing.assert_allclose(to_numpy(result["output"]), expected, atol=1e-5)
    (scores,) = result["cross_attention_scores"]
    np.testing.assert_allclose(to_numpy(scores)[:, 0], weights, atol=1e-5)
    assert not to_numpy(scores)[:, 0].transpose(0, 2, 1)[~REAL].any()


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_hypotheses_share_a_source(attention):
    """Rows of one source stand beside each other, as in beam search, and nothing is repeated."""
    layer = ATTENTIONS[attention]()
    query, source = normal(2 * B, T, D), normal(B, S, E, seed=1)
    layer.build(query.shape, source.shape)
    randomize(layer)
    repeated = np.repeat(source, 2, axis=0), np.repeat(REAL, 2, axis=0)
    expected = layer(query, *repeated, return_attention_scores=True)
    cache = layer.make_cache(ops.convert_to_tensor(source))
    shared = layer(query, padding_mask=REAL, cache=cache, return_attention_scores=True)
    for key in ("output", "attention_scores"):
        np.testing.assert_allclose(to_numpy(shared[key]), to_numpy(expected[key]), atol=1e-5)


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_a_source_that_is_all_padding_gives_zeros(attention):
    layer = ATTENTIONS[attention]()
    real = np.array([[False] * S, [True] * S])
    result = layer(normal(2, T, D), normal(2, S, E), real, return_attention_scores=True)
    assert not to_numpy(result["output"])[0].any() and to_numpy(result["output"])[1].any()
    assert not to_numpy(result["attention_scores"])[0].any()


def test_dot_scores_need_one_width():
    layer = kt.layers.LuongAttention("dot")
    assert layer(normal(B, T, D), normal(B, S, D)).shape == (B, T, D) and not layer.weights
    with pytest.raises(ValueError, match='must have the same width with `score="dot"`.*4.*11'):
        kt.layers.LuongAttention("dot")(normal(B, T, D), normal(B, S, E))
    with pytest.raises(ValueError, match="`score` must be one of .*general.*'concat'"):
        kt.layers.LuongAttention("concat")


# === Learning ===


def sentences(count, seed):
    """3 to 6 words each."""
    generator = np.random.default_rng(seed)
    return [generator.integers(4, 14, generator.integers(3, 7)).tolist() for _ in range(count)]


ON_JAX_ALONE = pytest.mark.skipif(
    BACKEND != "jax", reason="the loop over time: half a minute on TensorFlow, minutes on torch"
)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras's loop over time takes minutes on torch")
# Bahdanau's does so on the page "From recurrence to attention", whose code is run too.
@pytest.mark.parametrize("attention", [pytest.param(None, marks=ON_JAX_ALONE), "luong"])
def test_it_learns_to_turn_sentences_round(attention):
    keras.utils.set_random_seed(1)
    model = kt.models.recurrent_seq2seq(
        14, cell="gru", attention=attention, hidden_dim=48, dropout=0.0
    )
    sources = sentences(4000, 0)
    turned = [source[::-1] for source in sources]
    batches = kt.data.TranslationBatches(sources, turned, tokens_per_batch=256, seed=1)
    rate = keras.optimizers.schedules.CosineDecay(0.01, 10 * len(batches))
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        kt.training.MaskedCrossentropy(),
        jit_compile=BACKEND == "jax",
    )
    model.fit(batches, epochs=10, verbose=0)
    unseen = sentences(50, 5)
    ended = [[*source, 3] for source in unseen]  # as the batches end them
    found = kt.decoding.beam_search(model, ended, num_beams=2, max_length=8).ids[:, 0]
    pairs = zip(found.tolist(), unseen, strict=True)
    right = np.mean([[word for word in row if word > 3] == source[::-1] for row, source in pairs])
    # One vector of 96 numbers holds a short sentence less well than a look at its words.
    assert right > (0.9 if attention else 0.25)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="`cell` must be one of .*lstm.*'elman'"):
        kt.models.recurrent_seq2seq(13, cell="elman")
    with pytest.raises(ValueError, match="`attention` must be None or one of .*luong.*'dot'"):
        kt.models.recurrent_seq2seq(13, attention="dot")
    with pytest.raises(ValueError, match="`bidirectional` must be True or False.*'both'"):
        kt.models.recurrent_seq2seq(13, bidirectional="both")
    with pytest.raises(ValueError, match="`hidden_dim` must be a positive integer.*=0"):
        kt.models.recurrent_seq2seq(13, hidden_dim=0)
    decoder = kt.layers.RecurrentDecoder(8)
    with pytest.raises(ValueError, match="`encoded` or `cache` must be given"):
        decoder.initial_cache(1, 2)
