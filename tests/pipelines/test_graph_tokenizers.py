"""Tokenizers inside a TensorFlow graph give the ids and texts of those in Python."""

import pytest

import keras_transformer as kt
from tests.harness import BACKEND
from tests.pretrained import folders
from tests.pretrained.tokenizers import TEXTS, awkward_texts, trained

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel is TensorFlow's")


def marian(target=False, **changes):
    """Marian's tokenizer, of which the ids are other than SentencePiece's."""
    proto = trained(110, "bpe").proto if target else trained().proto
    pieces = folders.pieces_of(proto)[4:]
    tokens = ["</s>", "<unk>", ">>fra<<", *reversed(pieces), "<pad>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    ids = {"unknown_id": 1, "padding_id": len(tokens) - 1, "start_id": len(tokens) - 1, "end_id": 0}
    return kt.data.MarianTokenizer(proto, **{"vocabulary": vocabulary, **ids, **changes})


CASES = {
    "marian": marian,
    "marian, spaces cleaned": lambda: marian(clean_up_spaces=True),
    "marian, no special tokens": lambda: marian(special_tokens=()),
    "marian, more ids than tokens": lambda: marian(vocabulary_size=150),
    "sentencepiece": trained,
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_ids_and_texts(name):
    import tensorflow as tf

    from keras_transformer.pipelines.graph_tokenizers import make_graph_tokenizer

    tokenizer = CASES[name]()
    in_graph = make_graph_tokenizer(tokenizer)
    # The names of special pieces that a text spells out are Marian's alone.
    awkward = folders.AWKWARD if name.startswith("marian") else []
    texts = [*TEXTS, *awkward_texts(), *awkward]
    rows = kt.data.encode(tokenizer, texts)
    assert in_graph.tokenize(tf.constant(texts)).to_list() == rows
    assert in_graph.tokenize(tf.constant([], tf.string)).to_list() == []
    if name.endswith("than tokens"):
        rows.append([2, 149, 5, 149])
    detokenized = in_graph.detokenize(tf.ragged.constant(rows, dtype=tf.int32)).numpy()
    assert [text.decode() for text in detokenized] == list(tokenizer.detokenize(rows))
