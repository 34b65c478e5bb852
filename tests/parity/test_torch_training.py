"""Training steps of PyTorch's own Transformer: the same losses, step after step."""

import math

import numpy as np
import pytest
import torch

import keras_transformer as kt
from tests.harness import token_ids
from tests.parity.test_torch_transformer import copy_stack
from tests.parity.weights import WeightCopier

B, T, S, D, V = 5, 7, 11, 12, 29
NUM_STEPS = 12
SMOOTHING = 0.1


class Reference(torch.nn.Module):
    """`torch.nn.Transformer` with one matrix for both embeddings and the output."""

    def __init__(self, norm_first):
        super().__init__()
        self.embedding = torch.nn.Embedding(V, D)
        options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
        layers = [
            kind(D, 3, 17, layer_norm_eps=1e-6, **options)
            for kind in (torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer)
        ]
        norms = [torch.nn.LayerNorm(D, 1e-6) if norm_first else None for _ in layers]
        self.encoder = torch.nn.TransformerEncoder(layers[0], 2, norms[0], False)
        self.decoder = torch.nn.TransformerDecoder(layers[1], 2, norms[1])
        angles = torch.arange(S)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
        self.positions = torch.stack([angles.sin(), angles.cos()], -1).reshape(S, D)

    def embed(self, ids):
        return self.embedding(ids) * math.sqrt(D) + self.positions[: ids.shape[1]]

    def forward(self, source, target):
        encoded = self.encoder(self.embed(source), src_key_padding_mask=source == 0)
        hidden = self.decoder(
            self.embed(target),
            encoded,
            tgt_mask=torch.triu(torch.ones(T, T, dtype=torch.bool), 1),
            tgt_key_padding_mask=target == 0,
            memory_key_padding_mask=source == 0,
        )
        return hidden @ self.embedding.weight.T


def a_batch(seed):
    """Sentences of random length, padded with 0; labels are the targets, one step ahead."""
    generator = np.random.default_rng(seed)
    source = token_ids(B, S, vocabulary_size=V, seed=seed)
    target = token_ids(B, T + 1, vocabulary_size=V, seed=seed + 1)
    for ids, shortest in ((source, 2), (target, 3)):
        lengths = generator.integers(shortest, ids.shape[1] + 1, size=B)
        ids[np.arange(ids.shape[1]) >= lengths[:, None]] = 0
    return {"source_ids": source, "target_ids": target[:, :-1]}, target[:, 1:]


def torch_losses(reference, batches):
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.01, betas=(0.9, 0.98), eps=1e-9)
    loss_function = torch.nn.CrossEntropyLoss(ignore_index=0, label_smoothing=SMOOTHING)
    losses = []
    for inputs, labels in batches:
        optimizer.zero_grad()
        source, target = (
            torch.tensor(inputs[f"{name}_ids"]).long() for name in ("source", "target")
        )
        logits = reference.train()(source, target)
        loss = loss_function(logits.reshape(-1, V), torch.tensor(labels).long().reshape(-1))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_same_losses_step_after_step(norm_first):
    torch.manual_seed(0)
    reference = Reference(norm_first)
    model = kt.models.transformer(V, None, 2, 3, D, 17, dropout=0.0, normalize_first=norm_first)
    copy_stack(reference.encoder, model.get_layer("encoder"))
    copy_stack(reference.decoder, model.get_layer("decoder"))
    copier = WeightCopier(reference.embedding, model.get_layer("token_embedding"))
    copier.put(model.get_layer("token_embedding").embeddings, copier.take("weight"))
    recipe = kt.training.transformer_recipe(D, learning_rate=0.01, label_smoothing=SMOOTHING)
    model.compile(optimizer=recipe["optimizer"], loss=recipe["loss"])
    batches = [a_batch(seed) for seed in range(NUM_STEPS)]
    expected = torch_losses(reference, batches)
    actual = [float(model.train_on_batch(*batch)) for batch in batches]
    assert expected[-1] < expected[0] - 0.3  # it does learn, so that the steps mean something
    np.testing.assert_allclose(actual, expected, rtol=1e-3)
