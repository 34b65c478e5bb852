# %% [markdown]
# # Fine-tune a GPT to choose
#
# Which utterance comes next in a movie dialogue? Each utterance has four candidate replies, three
# of which answer something else. Each candidate forms one row `[start; context; delimiter;
# candidate; extract]` and gets one score; a softmax over the four scores makes the choice. You see
# the accuracy on 1,000 unseen exchanges, where chance is 25%.
#
# Takes about 15 minutes on 2 CPU cores, after the 10 minutes of pretraining.
#
#     python examples/train_gpt.py --output runs/gpt --minutes 10
#     python examples/finetune_multiple_choice.py --pretrained runs/gpt
#
# Without the first command, the second one pretrains for ten minutes. `--lora 8` trains adapters of
# rank 8 and the head only. `--smoke` runs every line on a tiny sample of the data.

# %%
from __future__ import annotations

import finetuning_common as common

import keras_transformer as kt

arguments = common.parse_arguments("Fine-tune a small GPT to choose the next utterance.")
lm, tokenizer = common.load_pretrained(arguments)

# %% [markdown]
# ## Dialogues

# %%
print(kt.datasets.movie_dialog.ATTRIBUTION)
# Each example has four rows. By default, use only part of the 60,000, so that it takes minutes.
limit = arguments.limit or 8000
train, validation, test = kt.datasets.movie_dialog.load_data()
print(f"{min(limit, len(train.contexts)):,} training exchanges, chance is 25%")

# %% [markdown]
# ## Rows

# %%
vocabulary_size = lm.output.shape[-1]
START, DELIMITER, EXTRACT = range(vocabulary_size, vocabulary_size + 3)


def make_batches(part, shuffle):
    count = limit if shuffle else arguments.limit
    contexts = common.encode(tokenizer, part.contexts[:count])
    flat = common.encode(tokenizer, [text for each in part.candidates[:count] for text in each])
    candidates = [flat[start : start + 4] for start in range(0, len(flat), 4)]
    rows = kt.data.choice_rows(contexts, candidates, START, DELIMITER, EXTRACT, common.MAX_LENGTH)
    return kt.data.TaskBatches(rows, part.labels[:count], shuffle=shuffle, seed=arguments.seed)


train_batches = make_batches(train, shuffle=True)
validation_batches, test_batches = (make_batches(p, shuffle=False) for p in (validation, test))

# %% [markdown]
# ## Fine-tuning

# %%
model = kt.models.multiple_choice(kt.models.with_new_tokens(lm, 3))
common.train(model, train_batches, validation_batches, arguments)
accuracy = common.test_accuracy(model, test_batches)
print(f"\naccuracy on {test_batches.num_examples:,} test exchanges: {accuracy:.1%}, chance 25.0%")

# %%
probabilities = model.predict(test_batches, verbose=0)
for context, candidates, label, row in zip(*test, probabilities[:3], strict=False):
    print(f"\n- {context}")
    for place, (candidate, probability) in enumerate(zip(candidates, row, strict=True)):
        print(f"  {probability:4.0%} {'*' if place == label else ' '} {candidate}")
