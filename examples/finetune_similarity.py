# %% [markdown]
# # Fine-tune a GPT to compare
#
# Do two sentences mean the same? Their order does not matter, so each pair forms two rows, one in
# each order, and the hidden states of their extract tokens are summed before the head. You see the
# accuracy on unseen pairs, and that of counting the words in common.
#
# Takes about 7 minutes on 2 CPU cores, after the 10 minutes of pretraining.
#
#     python examples/train_gpt.py --output runs/gpt --minutes 10
#     python examples/finetune_similarity.py --pretrained runs/gpt
#
# Without the first command, the second one pretrains for ten minutes. `--lora 8` trains adapters of
# rank 8 and the head only. `--smoke` runs every line on a tiny sample of the data.

# %%
from __future__ import annotations

import re

import finetuning_common as common
import numpy as np

import keras_transformer as kt

arguments = common.parse_arguments("Fine-tune a small GPT to find paraphrases.")
lm, tokenizer = common.load_pretrained(arguments)

# %% [markdown]
# ## Sentences
#
# English sentences that share a French translation, and ones that only share words.

# %%
print(kt.datasets.paraphrases.ATTRIBUTION)
parts = kt.datasets.paraphrases.load_data()
train, validation, test = (
    type(part)(*(column[: arguments.limit] for column in part)) for part in parts
)
print(f"{len(train.labels):,} training pairs, {len(test.labels):,} test pairs")

# %% [markdown]
# ## Baseline: number of shared words

# %%


def overlap(part):
    sets = [[set(re.findall(r"\w+", text.lower())) for text in side] for side in part[:2]]
    return np.array([len(one & two) / len(one | two) for one, two in zip(*sets, strict=True)])


threshold = max(
    np.linspace(0, 1, 101), key=lambda value: np.mean((overlap(train) > value) == train.labels)
)
results = {"words in common": np.mean((overlap(test) > threshold) == test.labels)}

# %% [markdown]
# ## Rows

# %%
vocabulary_size = lm.output.shape[-1]
START, DELIMITER, EXTRACT = range(vocabulary_size, vocabulary_size + 3)


def make_batches(part, shuffle):
    first, second = (common.encode(tokenizer, side) for side in (part.first, part.second))
    rows = kt.data.similarity_rows(first, second, START, DELIMITER, EXTRACT, common.MAX_LENGTH)
    return kt.data.TaskBatches(rows, part.labels, shuffle=shuffle, seed=arguments.seed)


train_batches = make_batches(train, shuffle=True)
validation_batches, test_batches = (make_batches(p, shuffle=False) for p in (validation, test))

# %% [markdown]
# ## Fine-tuning

# %%
model = kt.models.similarity(kt.models.with_new_tokens(lm, 3))
common.train(model, train_batches, validation_batches, arguments)
results["GPT, fine-tuned"] = common.test_accuracy(model, test_batches)

# %%
print(f"\naccuracy on {len(test.labels):,} test pairs, chance 50.0%:")
for name, accuracy in results.items():
    print(f"  {name:32}{accuracy:6.1%}")
