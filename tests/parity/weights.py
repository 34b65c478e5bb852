"""Copies the weights of PyTorch reference models into ours, each of them exactly once."""

import numpy as np

ATTENTION_PARTS = ("query_dense", "key_dense", "value_dense")


class WeightCopier:
    """Moves arrays by name, and knows at the end which were left on either side.

    Args:
        source: a torch module.
        target: a Keras model or layer.
        ignored: ends of the source names that hold nothing to copy (tied copies, masks).
    """

    def __init__(self, source, target, ignored=()):
        self.source = {
            name: tensor.detach().numpy().copy()  # JAX would share torch's memory, and its training
            for name, tensor in source.state_dict().items()
            if not name.endswith(tuple(ignored))
        }
        self.target = {
            id(weight): weight for weight in target.weights if "seed_generator" not in weight.path
        }

    def take(self, name):
        return self.source.pop(name)

    def put(self, weight, values):
        assert tuple(weight.shape) == values.shape, (weight.path, weight.shape, values.shape)
        self.target.pop(id(weight))  # a KeyError: assigned twice
        weight.assign(values)

    def linear(self, dense, name, transpose=True):
        """torch's Linear holds (out, in); Hugging Face's Conv1D, as Keras, (in, out)."""
        kernel = self.take(f"{name}.weight")
        self.put(dense.kernel, kernel.T if transpose else kernel)
        if dense.use_bias:
            self.put(dense.bias, self.take(f"{name}.bias"))

    def norm(self, norm, name):
        self.put(norm.gamma, self.take(f"{name}.weight"))
        self.put(norm.beta, self.take(f"{name}.bias"))

    def joint_projection(self, attention, weight_name, bias_name, transpose):
        """Query, key and value, one after the other along the output axis."""
        kernel, bias = self.take(weight_name), self.take(bias_name)
        kernels = np.split(kernel.T if transpose else kernel, 3, axis=1)
        for part, one, other in zip(ATTENTION_PARTS, kernels, np.split(bias, 3), strict=True):
            dense = getattr(attention, part)
            self.put(dense.kernel, one)
            self.put(dense.bias, other)

    def finish(self):
        assert not self.source, f"Source weights left: {sorted(self.source)}"
        left = [weight.path for weight in self.target.values()]
        assert not left, f"Target weights left: {left}"


def copy_gpt(reference, model, tokens, positions):
    """Copies Hugging Face's GPT-1 or GPT-2, which differ in the names of their embeddings."""
    copier = WeightCopier(reference, model, ignored=(".attn.bias", "lm_head.weight"))
    decoder = model.get_layer("decoder")
    copier.put(
        model.get_layer("token_embedding").embeddings, copier.take(f"transformer.{tokens}.weight")
    )
    copier.put(
        decoder.positional_encoding.embeddings, copier.take(f"transformer.{positions}.weight")
    )
    for index, block in enumerate(decoder.blocks):
        name = f"transformer.h.{index}"
        attention = block.self_attention.attention
        joint = f"{name}.attn.c_attn"
        copier.joint_projection(attention, f"{joint}.weight", f"{joint}.bias", transpose=False)
        copier.linear(attention.output_dense, f"{name}.attn.c_proj", transpose=False)
        copier.norm(block.self_attention_norm, f"{name}.ln_1")
        copier.linear(block.feed_forward.intermediate_dense, f"{name}.mlp.c_fc", transpose=False)
        copier.linear(block.feed_forward.output_dense, f"{name}.mlp.c_proj", transpose=False)
        copier.norm(block.feed_forward_norm, f"{name}.ln_2")
    if decoder.final_norm is not None:
        copier.norm(decoder.final_norm, "transformer.ln_f")
    copier.finish()


def randomize_torch(module, seed=0):
    """Random values for every parameter and buffer of floats: no bias is 0, no gain 1."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            values = 0.3 * torch.randn(tensor.shape, generator=generator)
            is_gain = tensor.ndim == 1 and ("norm" in name or "ln_" in name) and "weight" in name
            tensor.copy_(values + 1.0 if is_gain else values)
    return module
