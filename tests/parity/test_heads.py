"""Law 7 for the heads: the probabilities of the task models of transformers."""

import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.weights import check_agreement, loaded, randomize_torch

B, T, V, NUM_CLASSES = 3, 11, 53, 5
END = 7
SIZE = {"vocab_size": V, "num_labels": NUM_CLASSES, "pad_token_id": 0}
BERT = {**SIZE, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
BERT |= {"intermediate_size": 19, "max_position_embeddings": 31}
DISTILBERT = {**SIZE, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 19}
GPT2 = {**SIZE, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 31}
LLAMA = {**SIZE, "hidden_size": 12, "intermediate_size": 19, "num_hidden_layers": 2}
LLAMA |= {"num_attention_heads": 3, "num_key_value_heads": 1, "max_position_embeddings": 31}
LLAMA |= {"tie_word_embeddings": True}  # the body has no logits


def make_reference(family, task, sizes):
    config = getattr(transformers, f"{family}Config")(**sizes)
    return randomize_torch(getattr(transformers, f"{family}{task}")(config).eval())


def load_body(reference, folder):
    """The reference's body as a model of ours."""
    return loaded(reference.base_model, folder)


def copy_head(model, reference, name):
    """Copies a linear layer of the reference, with or without a bias, into the head."""
    linear = getattr(reference, name)
    head = model.get_layer("head")
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    head.set_weights([linear.weight.detach().numpy().T, bias.detach().numpy()])


@pytest.fixture
def ids():
    ids = token_ids(B, T, vocabulary_size=V, low=8)
    ids[0, 7:] = ids[2, 3:] = 0
    ids[0, 6] = ids[1, -1] = ids[2, 2] = END
    return ids


def reference_outputs(reference, ids, **inputs):
    inputs = {name: torch.tensor(values).long() for name, values in inputs.items()}
    mask = torch.tensor(ids != 0).long()
    with torch.no_grad():
        return reference(input_ids=torch.tensor(ids).long(), attention_mask=mask, **inputs)


def probabilities(logits, axis=-1):
    return torch.softmax(logits, axis).numpy()


@pytest.mark.parametrize(
    ("family", "sizes", "name", "options"),
    [
        ("Bert", BERT, "classifier", {}),
        # A language model without a padding id finds the last token by its id.
        ("GPT2", GPT2, "score", {"extract_id": END, "lm_weight": 0.0}),
        ("Llama", LLAMA, "score", {"extract_id": END, "lm_weight": 0.0}),
    ],
)
def test_classifiers(family, sizes, name, options, ids, tmp_path):
    reference = make_reference(family, "ForSequenceClassification", sizes)
    body = load_body(reference, tmp_path)
    model = kt.models.classifier(body, NUM_CLASSES, **options)
    copy_head(model, reference, name)
    expected = probabilities(reference_outputs(reference, ids).logits)
    check_agreement("heads", to_numpy(model({"token_ids": ids})), expected)


def test_classifier_of_pairs(ids, tmp_path):
    reference = make_reference("Bert", "ForSequenceClassification", BERT)
    model = kt.models.classifier(load_body(reference, tmp_path), NUM_CLASSES, segments=True)
    copy_head(model, reference, "classifier")
    segment_ids = (np.arange(T) >= 4).astype("int32") * np.ones((B, 1), "int32")
    expected = reference_outputs(reference, ids, token_type_ids=segment_ids).logits
    actual = model({"token_ids": ids, "segment_ids": segment_ids})
    check_agreement("heads", to_numpy(actual), probabilities(expected))


def test_regressor(ids, tmp_path):
    reference = make_reference("Bert", "ForSequenceClassification", BERT)
    model = kt.models.regressor(load_body(reference, tmp_path), NUM_CLASSES)
    copy_head(model, reference, "classifier")
    expected = reference_outputs(reference, ids).logits.numpy()
    check_agreement("heads", to_numpy(model({"token_ids": ids})), expected)


@pytest.mark.parametrize(
    ("family", "sizes", "name"),
    [
        ("Bert", BERT, "classifier"),
        ("DistilBert", DISTILBERT, "classifier"),
        ("Roberta", BERT, "classifier"),
        ("GPT2", GPT2, "classifier"),
    ],
)
def test_token_classifiers(family, sizes, name, ids, tmp_path):
    reference = make_reference(family, "ForTokenClassification", sizes)
    model = kt.models.token_classifier(load_body(reference, tmp_path), NUM_CLASSES)
    copy_head(model, reference, name)
    expected = probabilities(reference_outputs(reference, ids).logits)
    actual = to_numpy(model({"token_ids": ids}))
    check_agreement("heads", actual[ids != 0], expected[ids != 0])


@pytest.mark.parametrize(
    ("family", "sizes"), [("Bert", BERT), ("DistilBert", DISTILBERT), ("Roberta", BERT)]
)
def test_span_extractors(family, sizes, ids, tmp_path):
    reference = make_reference(family, "ForQuestionAnswering", sizes | {"num_labels": 2})
    model = kt.models.span_extractor(load_body(reference, tmp_path))
    copy_head(model, reference, "qa_outputs")
    outputs = reference_outputs(reference, ids)
    actual = model({"token_ids": ids})
    for key in ("start", "end"):
        logits = outputs[f"{key}_logits"].masked_fill(torch.tensor(ids == 0), -torch.inf)
        check_agreement("heads", to_numpy(actual[key]), probabilities(logits))


def test_classifier_of_images(tmp_path):
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 5}
    sizes |= {"intermediate_size": 19, "image_size": 15, "num_channels": 2}
    config = transformers.ViTConfig(**sizes, num_labels=NUM_CLASSES)
    reference = randomize_torch(transformers.ViTForImageClassification(config).eval())
    body = transformers.ViTModel(config, add_pooling_layer=False).eval()
    body.load_state_dict(reference.vit.state_dict())
    model = kt.models.classifier(loaded(body, tmp_path), NUM_CLASSES)
    copy_head(model, reference, "classifier")
    images = np.random.default_rng(0).normal(size=(B, 15, 15, 2)).astype("float32")
    with torch.no_grad():
        logits = reference(torch.tensor(images.transpose(0, 3, 1, 2))).logits
    check_agreement("heads", to_numpy(model(images)), probabilities(logits))
