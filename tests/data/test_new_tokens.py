"""New tokens of tokenizers: their ids, what stays the same, saving, and a whole translator."""

import pytest
import tokenizers

import keras_transformer as kt
from tests.decoding.reference import enliven

TEXTS = ["the cat sat on the mat", "a dog ran after the cat", "a mat, a dog."]
NEW = ["Zyrtec", "<formal>", "New York", "qu"]


def keras_hub_tokenizer():
    return kt.data.train_tokenizer(TEXTS, 30, model_type="bpe")


def sentence_piece():
    proto = kt.data.train_tokenizer(TEXTS, 25).proto
    return kt.data.SentencePieceTokenizer(proto, padding_id=25, start_id=27)


def marian():
    trained = kt.data.train_tokenizer(TEXTS, 25)
    tokens = ["</s>", "<unk>", *trained.get_vocabulary()[4:], "<pad>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    size = len(tokens)
    ids = {"padding_id": size - 1, "start_id": size - 1, "end_id": 0}
    return kt.data.MarianTokenizer(
        trained.proto, vocabulary, unknown_id=1, vocabulary_size=size + 3, **ids
    )


def hugging_face():
    inner = tokenizers.ByteLevelBPETokenizer()
    inner.train_from_iterator(TEXTS, 270, special_tokens=["</s>"], show_progress=False)
    return kt.data.HuggingFaceTokenizer(
        inner.to_str(), padding_id=272, start_id=0, end_id=0, vocabulary_size=275
    )


KINDS = {
    "keras_hub": keras_hub_tokenizer,
    "sentence_piece": sentence_piece,
    "marian": marian,
    "hugging_face": hugging_face,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


@pytest.mark.parametrize("more", [0, 4])
def test_ids(tokenizer, more):
    size = tokenizer.vocabulary_size()
    longer = kt.data.with_new_tokens(tokenizer, NEW, size + more if more else None)
    first = size + more
    assert type(longer) is type(tokenizer)
    assert longer.vocabulary_size() == first + 4
    for index, token in enumerate(NEW):
        (row,) = kt.data.encode(longer, [f"the {token} cat"])
        assert first + index in row
        assert longer.id_to_token(first + index).replace("\u2581", " ") == token
        assert kt.data.decode(longer, [row]) == [f"the {token} cat"]
    assert kt.data.encode(longer, TEXTS) == kt.data.encode(tokenizer, TEXTS)
    assert kt.data.special_ids(longer) == kt.data.special_ids(tokenizer)
    assert tokenizer.vocabulary_size() == size


def test_more_new_tokens(tokenizer):
    longer = kt.data.with_new_tokens(kt.data.with_new_tokens(tokenizer, NEW[:1]), NEW[1:])
    at_once = kt.data.with_new_tokens(tokenizer, NEW)
    texts = [*TEXTS, "Zyrtec in New York <formal>"]
    assert kt.data.encode(longer, texts) == kt.data.encode(at_once, texts)


def test_saving(tokenizer, tmp_path):
    longer = kt.data.with_new_tokens(tokenizer, NEW, tokenizer.vocabulary_size() + 2)
    kt.data.save_tokenizer(longer, tmp_path)
    again = kt.data.load_tokenizer(tmp_path)
    texts = [*TEXTS, "the Zyrtec <formal> New York"]
    assert kt.data.encode(again, texts) == kt.data.encode(longer, texts)
    assert again.vocabulary_size() == longer.vocabulary_size()


@pytest.mark.parametrize(
    ("tokens", "first_id", "message"),
    [
        ([], None, r"`tokens` must be a list of strings. Received: tokens=\[\]"),
        ("ab", None, "`tokens` must be a list of strings. Received: tokens='ab'"),
        (["a", " "], None, r"`tokens.1.` must be a string with visible.*tokens.1.=' '"),
        (["new", 5], None, r"`tokens\[1\]` must be a string with visible.*=5"),
        (["new", "new"], None, r"`tokens` must be new and distinct.*tokens\[1\]='new'"),
        (["new"], 3, "`first_id` must be an integer >= .* Received: first_id=3"),
    ],
)
def test_messages(tokenizer, tokens, first_id, message):
    tokens = ["new1", " "] if tokens == ["a", " "] else tokens
    with pytest.raises(ValueError, match=message):
        kt.data.with_new_tokens(tokenizer, tokens, first_id)


def test_a_token_that_is_known(tokenizer):
    known = tokenizer.id_to_token(6)
    if "\u2581" in known:
        known = next(
            token
            for token in map(tokenizer.id_to_token, range(4, 25))
            if token and "\u2581" not in token
        )
    with pytest.raises(ValueError, match="`tokens` must be new and distinct"):
        kt.data.with_new_tokens(tokenizer, [known])


def test_another_class():
    class Other:
        def vocabulary_size(self):
            return 5

        def token_to_id(self, token):
            return None

    with pytest.raises(ValueError, match="`tokenizer` must be a SentencePiece, .*: a Other"):
        kt.data.with_new_tokens(Other(), ["new"])


@pytest.mark.slow
def test_a_translator_with_new_words(tmp_path):
    """Model and tokenizer get the same ids; the folder keeps them."""
    tokenizer = keras_hub_tokenizer()
    model = enliven(kt.models.transformer(30, None, 1, 2, 16, 32))
    longer = kt.data.with_new_tokens(tokenizer, NEW)
    translator = kt.Translator(kt.models.with_new_tokens(model, 4, initializer="mean"), longer)
    texts = ["the cat", "the Zyrtec sat"]
    found = translator.translate(texts, 7, target_prefix="a Zyrtec")
    assert all(text.startswith("a Zyrtec") for text in found)
    translator.save(tmp_path / "folder")
    again = kt.Translator.load(tmp_path / "folder")
    assert again.translate(texts, 7, target_prefix="a Zyrtec") == found
    with pytest.raises(ValueError, match="`source_tokenizer` must not have more ids"):
        kt.Translator(model, longer)
