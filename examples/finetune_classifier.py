# %% [markdown]
# # Fine-tune a GPT to classify
#
# A small GPT pretrained on WikiText-2 learns to classify the sentiment of movie reviews. You see
# its accuracy on unseen reviews, that of the same model without pretraining, and that of TF-IDF and
# logistic regression.
#
# It is fine-tuned as in GPT-1: the input is a start token, the text and an extract token, a linear
# layer reads the hidden state of the extract token, and the language-modeling loss is added to the
# task loss.
#
# Takes about 15 minutes on 2 CPU cores, after the 10 minutes of pretraining.
#
#     python examples/train_gpt.py --output runs/gpt --minutes 10
#     python examples/finetune_classifier.py --pretrained runs/gpt
#
# Without the first command, the second one pretrains for ten minutes. `--lora 8` trains adapters of
# rank 8 and the head only. `--smoke` runs every line on a tiny sample of the data.

# %%
from __future__ import annotations

import finetuning_common as common
import numpy as np

import keras_transformer as kt

arguments = common.parse_arguments("Fine-tune a small GPT on the sentiment of movie reviews.")
lm, tokenizer = common.load_pretrained(arguments)

# %% [markdown]
# ## Reviews
#
# Sentences labeled by readers' mean ratings, about half of them positive.

# %%
print(kt.datasets.movie_reviews.ATTRIBUTION)
parts = kt.datasets.movie_reviews.load_data()
train, validation, test = (
    type(part)(part.texts[: arguments.limit], part.labels[: arguments.limit]) for part in parts
)
print(f"{len(train.texts):,} training sentences, {len(test.texts):,} test sentences")

# %% [markdown]
# ## Rows
#
# Two new tokens: the start token, and the extract token that the head reads.

# %%
START, EXTRACT = lm.output.shape[-1], lm.output.shape[-1] + 1


def make_batches(part, shuffle):
    ids = common.encode(tokenizer, part.texts)
    rows = kt.data.text_rows(ids, START, EXTRACT, common.MAX_LENGTH)
    return kt.data.TaskBatches(rows, part.labels, shuffle=shuffle, seed=arguments.seed)


train_batches = make_batches(train, shuffle=True)
validation_batches, test_batches = (make_batches(p, shuffle=False) for p in (validation, test))

# %% [markdown]
# ## Fine-tuning, and the same model from scratch

# %%
results = {}
for name, language_model in (("pretrained", lm), ("from scratch", common.from_scratch(lm))):
    print(f"\n{name}")
    model = kt.models.classifier(kt.models.with_new_tokens(language_model, 2), num_classes=2)
    if name == "from scratch":
        arguments.lora = None  # adapters on random weights would not be a fair comparison
    common.train(model, train_batches, validation_batches, arguments)
    results[f"GPT, {name}"] = common.test_accuracy(model, test_batches)

# %% [markdown]
# ## Baseline: word counts, trained in a second

# %%
try:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
except ImportError:
    print("No baseline: it needs `pip install scikit-learn`.")
else:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    baseline = LogisticRegression(C=10.0, max_iter=1000)
    baseline.fit(vectorizer.fit_transform(train.texts), train.labels)
    predicted = baseline.predict(vectorizer.transform(test.texts))
    results["TF-IDF and logistic regression"] = float(np.mean(predicted == test.labels))

# %%
print(f"\naccuracy on {len(test.texts):,} test sentences:")
for name, accuracy in results.items():
    print(f"  {name:32}{accuracy:6.1%}")
