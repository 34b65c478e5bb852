"""The systems whose training steps are compared on a GPU, each with random weights and data.

Each function takes whether the model is a translator or a language model, its sizes and its rate of
dropout, and returns a function that trains on n batches and returns their milliseconds.
"""

from __future__ import annotations

import time

import numpy as np
from training_step import between, timed_fit


def data(size: dict, steps: int, is_translator: bool) -> tuple[dict, np.ndarray]:
    """Random ids without padding, on the host."""
    shape = (steps * size["batch"], size["length"])
    source, target, labels = (
        np.random.default_rng(seed).integers(1, size["vocabulary_size"], shape).astype("int32")
        for seed in range(3)
    )
    if is_translator:
        return {"source_ids": source, "target_ids": target}, labels
    return {"token_ids": target}, labels


def keras_epoch(model, loss, size: dict, is_translator: bool):
    """Compiles a model, and returns a function that runs `fit` on n batches."""
    import keras

    model.compile(keras.optimizers.Adam(1e-4), loss)

    def epoch(steps):
        inputs, labels = data(size, steps, is_translator)
        return timed_fit(model, inputs, labels, batch_size=size["batch"])

    return epoch


def epoch_of_ours(is_translator: bool, size: dict, dropout: float):
    """This library's model with the loss of its recipes."""
    import keras

    import keras_transformer as kt

    keras.config.set_dtype_policy("mixed_bfloat16")
    sizes = {name: value for name, value in size.items() if name not in ("batch", "length")}
    rates = {"dropout": dropout, "attention_dropout": dropout}
    if is_translator:
        model = kt.models.transformer(**sizes, **rates)
    else:
        model = kt.models.gpt(**sizes, **rates, max_length=size["length"])
    return keras_epoch(model, kt.training.MaskedCrossentropy(), size, is_translator)


def epoch_of_keras_hub(is_translator: bool, size: dict, dropout: float):
    """KerasHub's layers and Keras's loss."""
    import keras
    import keras_hub

    keras.config.set_dtype_policy("mixed_bfloat16")
    options = {
        "num_heads": size["num_heads"],
        "intermediate_dim": size["intermediate_dim"],
        "dropout": dropout,
        "activation": "relu" if is_translator else "gelu",
    }
    shared = keras_hub.layers.ReversibleEmbedding(size["vocabulary_size"], size["hidden_dim"])

    def embed(ids):
        embedded = shared(ids)
        positions = keras_hub.layers.PositionEmbedding(size["length"])(embedded)
        return keras.layers.Dropout(dropout)(embedded + positions)

    names = ("source_ids", "target_ids") if is_translator else ("token_ids",)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    encoded = ()
    if is_translator:
        hidden = embed(inputs["source_ids"])
        for _ in range(size["num_layers"]):
            hidden = keras_hub.layers.TransformerEncoder(**options)(hidden)
        encoded = (hidden,)
    hidden = embed(inputs[names[-1]])
    for _ in range(size["num_layers"]):
        hidden = keras_hub.layers.TransformerDecoder(**options)(hidden, *encoded)
    model = keras.Model(inputs, shared(hidden, reverse=True))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras_epoch(model, loss, size, is_translator)


def torch_epoch(model, loss_of, size: dict, is_translator: bool):
    """Returns a function that trains a PyTorch model on n batches in a plain loop.

    `loss_of(ids, labels)` takes the ids as a list: the source's, if any, and the target's.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def epoch(steps):
        inputs, labels = data(size, steps, is_translator)
        # On the host: each batch is copied in its step.
        arrays = [torch.from_numpy(array).long() for array in (*inputs.values(), labels)]
        ends = []
        for start in range(0, steps * size["batch"], size["batch"]):
            *ids, targets = (x[start : start + size["batch"]].to(device) for x in arrays)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16):
                loss = loss_of(ids, targets)
            loss.backward()
            optimizer.step()
            loss.item()
            ends.append(time.perf_counter())
        return between(ends)

    return epoch


def epoch_of_torch(is_translator: bool, size: dict, dropout: float):
    """`torch.nn.Transformer`, or its encoder under a causal mask as a language model."""
    import torch
    from torch import nn

    width, length = size["hidden_dim"], size["length"]
    options = {"dropout": dropout, "batch_first": True, "dim_feedforward": size["intermediate_dim"]}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(size["vocabulary_size"], width)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)
            self.positions = nn.Parameter(torch.zeros(length, width))
            heads, layers = size["num_heads"], size["num_layers"]
            if is_translator:
                self.body = nn.Transformer(width, heads, layers, layers, **options)
            else:
                layer = nn.TransformerEncoderLayer(width, heads, activation="gelu", **options)
                self.body = nn.TransformerEncoder(layer, layers)
            self.dropout = nn.Dropout(dropout)

        def forward(self, *ids):
            device = ids[0].device
            causal = nn.Transformer.generate_square_subsequent_mask(length, device=device)
            embedded = [self.dropout(self.embedding(one) + self.positions) for one in ids]
            masks = {"tgt_mask": causal, "tgt_is_causal": True}
            if not is_translator:
                masks = {"mask": causal, "is_causal": True}
            return nn.functional.linear(self.body(*embedded, **masks), self.embedding.weight)

    model, loss = Model(), nn.CrossEntropyLoss()

    def loss_of(ids, targets):
        return loss(model(*ids).flatten(0, 1), targets.flatten())

    return torch_epoch(model, loss_of, size, is_translator)


def epoch_of_hugging_face(is_translator: bool, size: dict, dropout: float):
    """Marian or GPT-2 of Hugging Face's transformers."""
    import torch

    model = hugging_face_model(is_translator, size, dropout)
    names = ("input_ids", "decoder_input_ids") if is_translator else ("input_ids",)
    loss = torch.nn.CrossEntropyLoss()

    def loss_of(ids, targets):
        logits = model(**dict(zip(names, ids, strict=True)), use_cache=False).logits
        return loss(logits.flatten(0, 1), targets.flatten())

    return torch_epoch(model, loss_of, size, is_translator)


def hugging_face_model(is_translator: bool, size: dict, dropout: float):
    """A model with random weights."""
    import transformers

    width, heads, layers = size["hidden_dim"], size["num_heads"], size["num_layers"]
    vocabulary_size, inner = size["vocabulary_size"], size["intermediate_dim"]
    if is_translator:
        config = transformers.MarianConfig(
            vocab_size=vocabulary_size,
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=inner,
            decoder_ffn_dim=inner,
            max_position_embeddings=size["length"],
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            forced_eos_token_id=None,
            activation_function="relu",
            dropout=dropout,
            attention_dropout=dropout,
        )
        return transformers.MarianMTModel(config)
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), dropout)
    config = transformers.GPT2Config(
        vocab_size=vocabulary_size,
        n_positions=size["length"],
        n_embd=width,
        n_inner=inner,
        n_layer=layers,
        n_head=heads,
        **rates,
    )
    return transformers.GPT2LMHeadModel(config)


EPOCHS = {
    "ours": epoch_of_ours,
    "keras_hub": epoch_of_keras_hub,
    "torch": epoch_of_torch,
    "hugging_face": epoch_of_hugging_face,
}
