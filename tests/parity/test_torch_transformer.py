"""Law 7: the outputs of PyTorch's own Transformer stacks."""

import numpy as np
import pytest
import torch
from keras import ops

from tests.harness import make_decoder, make_encoder, normal, to_numpy
from tests.parity.weights import WeightCopier, randomize_torch

B, T, S, D = 2, 5, 7, 12
SIZES = {"d_model": D, "nhead": 3, "dim_feedforward": 17, "dropout": 0.0, "batch_first": True}


def copy_attention(copier, attention, name):
    copier.joint_projection(attention, f"{name}.in_proj_weight", f"{name}.in_proj_bias")
    copier.linear(attention.output_dense, f"{name}.out_proj")


def copy_stack(reference, stack):
    copier = WeightCopier(reference, stack)
    for index, block in enumerate(stack.blocks):
        name = f"layers.{index}"
        copy_attention(copier, block.self_attention.attention, f"{name}.self_attn")
        copier.norm(block.self_attention_norm, f"{name}.norm1")
        last = "norm2"
        if getattr(block, "cross_attention", False):
            copy_attention(copier, block.source_attention, f"{name}.multihead_attn")
            copier.norm(block.source_attention_norm, f"{name}.norm2")
            last = "norm3"
        copier.linear(block.feed_forward.intermediate_dense, f"{name}.linear1")
        copier.linear(block.feed_forward.output_dense, f"{name}.linear2")
        copier.norm(block.feed_forward_norm, f"{name}.{last}")
    if stack.final_norm is not None:
        copier.norm(stack.final_norm, "norm")
    copier.finish()


def make_pair(kind, norm_first, activation):
    options = {**SIZES, "norm_first": norm_first, "activation": activation, "layer_norm_eps": 1e-4}
    norm = torch.nn.LayerNorm(D, eps=1e-4) if norm_first else None
    own = {"activation": activation, "normalize_first": norm_first, "layer_norm_epsilon": 1e-4}
    if kind == "encoder":
        layer = torch.nn.TransformerEncoderLayer(**options)
        reference = torch.nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
        stack = make_encoder(2, 3, 17, **own)
        stack.build((None, None, D))
    else:
        reference = torch.nn.TransformerDecoder(
            torch.nn.TransformerDecoderLayer(**options), 2, norm
        )
        stack = make_decoder(2, 3, 17, **own)
        stack.build((None, None, D), (None, None, D))
    # In training mode with no dropout: the same mathematics without the inference-only kernels.
    reference = randomize_torch(reference.train())
    copy_stack(reference, stack)
    return reference, stack


def a_mask(*shape, seed=0):
    mask = np.random.default_rng(seed).random(shape) < 0.7
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder(norm_first, activation):
    reference, stack = make_pair("encoder", norm_first, activation)
    x, padding, attention = normal(B, S, D), a_mask(B, S), a_mask(S, S, seed=1)
    for masks in ({}, {"padding": padding}, {"attention": attention}, {"both": True}):
        expected_masks, own_masks = {}, {}
        if "padding" in masks or "both" in masks:  # torch: True = may not attend
            expected_masks["src_key_padding_mask"] = torch.tensor(~padding)
            own_masks["padding_mask"] = ops.convert_to_tensor(padding)
        if "attention" in masks or "both" in masks:
            expected_masks["mask"] = torch.tensor(~attention)
            own_masks["attention_mask"] = ops.convert_to_tensor(attention)
        with torch.no_grad():
            expected = reference(torch.tensor(x), **expected_masks).numpy()
        np.testing.assert_allclose(to_numpy(stack(x, **own_masks)), expected, atol=1e-4)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_decoder(norm_first, activation):
    reference, stack = make_pair("decoder", norm_first, activation)
    x, encoded = normal(B, T, D), normal(B, S, D, seed=1)
    target_mask, source_mask = a_mask(B, T), a_mask(B, S, seed=1)
    causal = np.triu(np.ones((T, T), bool), 1)
    with torch.no_grad():
        expected = reference(
            torch.tensor(x),
            torch.tensor(encoded),
            tgt_mask=torch.tensor(causal),
            tgt_key_padding_mask=torch.tensor(~target_mask),
            memory_key_padding_mask=torch.tensor(~source_mask),
        ).numpy()
    actual = stack(x, encoded, padding_mask=target_mask, encoded_padding_mask=source_mask)
    np.testing.assert_allclose(to_numpy(actual), expected, atol=1e-4)
