"""Copies the weights of PyTorch reference models into ours, each of them exactly once."""

import json
import os

import keras
import numpy as np

import keras_transformer as kt

ATTENTION_PARTS = ("query_dense", "key_dense", "value_dense")


class WeightCopier:
    """Moves arrays by name, and knows at the end which were left on either side.

    Args:
        source: a torch module.
        target: a Keras model or layer.
    """

    def __init__(self, source, target):
        self.source = {
            name: tensor.detach().numpy().copy()  # JAX would share torch's memory, and its training
            for name, tensor in source.state_dict().items()
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

    def linear(self, dense, name):
        """torch's Linear holds (out, in), Keras's Dense (in, out)."""
        self.put(dense.kernel, self.take(f"{name}.weight").T)
        if dense.use_bias:
            self.put(dense.bias, self.take(f"{name}.bias"))

    def norm(self, norm, name):
        self.put(norm.gamma, self.take(f"{name}.weight"))
        self.put(norm.beta, self.take(f"{name}.bias"))

    def joint_projection(self, attention, weight_name, bias_name):
        """Query, key and value, one after the other along the output axis."""
        kernel, bias = self.take(weight_name), self.take(bias_name)
        kernels = np.split(kernel.T, 3, axis=1)
        for part, one, other in zip(ATTENTION_PARTS, kernels, np.split(bias, 3), strict=True):
            dense = getattr(attention, part)
            self.put(dense.kernel, one)
            self.put(dense.bias, other)

    def finish(self):
        assert not self.source, f"Source weights left: {sorted(self.source)}"
        left = [weight.path for weight in self.target.values()]
        assert not left, f"Target weights left: {left}"


def loaded(reference, folder):
    """A Hugging Face model as a model of ours: saved there, loaded here."""
    reference.save_pretrained(folder)
    return kt.pretrained.load(folder)


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


def check_beams(reference, model, prompts, end_id, max_new_tokens=9):
    """A language model's four beams find the texts that transformers finds."""
    import torch

    expected = reference.generate(
        torch.tensor(prompts).long(),
        attention_mask=torch.ones(prompts.shape).long(),
        do_sample=False,
        num_beams=4,
        early_stopping="never",
        length_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_id,
        pad_token_id=0,
    )[:, prompts.shape[1] :].numpy()
    # It takes a padding id of 0 for none, and fills up with the end id.
    ended = np.cumsum(expected == end_id, axis=1) - (expected == end_id) > 0
    expected = np.where(ended, 0, expected)
    found = kt.decoding.beam_search(
        model,
        prompts,
        end_id=end_id,
        num_beams=4,
        length_penalty=1.0,
        length_normalization="length",
        max_length=max_new_tokens,
    ).ids[:, 0]
    found = keras.ops.convert_to_numpy(found)
    width = max(found.shape[1], expected.shape[1])
    pairs = [np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (found, expected)]
    np.testing.assert_array_equal(*pairs)


def check_agreement(family, actual, expected):
    """Equal to 1e-4."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
    record_difference(family, actual, expected)


def record_difference(family, actual, expected):
    """Writes the largest difference for the table of `benchmarks/agreement.py`, if it asks."""
    if "AGREEMENT_FILE" in os.environ:
        found = {
            "family": family,
            "backend": keras.backend.backend(),
            "test": os.environ["PYTEST_CURRENT_TEST"].split(" ")[0],
            "difference": float(np.abs(actual - expected).max()),
        }
        with open(os.environ["AGREEMENT_FILE"], "a") as file:
            file.write(json.dumps(found) + "\n")
