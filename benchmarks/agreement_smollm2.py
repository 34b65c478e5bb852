"""SmolLM2's greedy continuations, here and with transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NEW_TOKENS = 32


def reference_model(path: Path):
    """The Llama of transformers with the tensors that transformers reads from the GGUF file.

    Its `from_pretrained` does the same but requires the package accelerate.
    """
    import torch
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.LlamaConfig.from_pretrained(path.parent, gguf_file=path.name)
    model = transformers.LlamaForCausalLM(config).eval()
    content = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)
    tensors = {name: torch.as_tensor(array) for name, array in content["tensors"].items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    if {*missing} - {"lm_head.weight"} or unexpected:
        raise SystemExit(f"SmolLM2: tensors missing: {missing}; unexpected: {unexpected}.")
    return model


def compare(path: Path, prompts: list[str]) -> tuple[int, int, float]:
    """Continues prompts with both; returns the equal tokens, all tokens, and a logit difference."""
    import keras
    import torch

    import keras_transformer as kt

    tokenizer, model = kt.pretrained.load_tokenizer(path), kt.pretrained.load(path)
    reference = reference_model(path)
    equal = total = 0
    difference = 0.0
    rows = kt.data.encode(tokenizer, prompts)
    found = kt.decoding.generate(
        model,
        rows,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        stop_ids=(tokenizer.end_id,),
    )
    for row, own in zip(rows, np.asarray(found).tolist(), strict=True):
        prompt = torch.tensor([row])
        with torch.no_grad():
            logits = reference(prompt).logits.numpy()
            expected = reference.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                pad_token_id=tokenizer.padding_id,
            )[0, len(row) :].tolist()
        ours = keras.ops.convert_to_numpy(model({"token_ids": np.array([row])}))
        difference = max(difference, float(np.abs(ours - logits).max()))
        new = own[len(row) : len(row) + NEW_TOKENS]
        equal += sum(a == b for a, b in zip(new, expected, strict=True))
        total += len(expected)
    return equal, total, difference
