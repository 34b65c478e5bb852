"""Documents: what is translated, what stays as it is, and how sentences are split and joined."""

import re

import pytest

import keras_transformer as kt
from keras_transformer.pipelines.sentences import split_sentences, split_to_fit
from tests.pipelines.test_translator import make_model, tokenizer  # noqa: F401


@pytest.fixture
def translator(tokenizer, monkeypatch):  # noqa: F811
    """A translator that writes sentences in brackets, and remembers how it was called."""
    translator = kt.Translator(make_model(), tokenizer)
    translator.calls = []

    def translate(texts, **options):
        translator.calls.append((list(texts), options))
        return [f"[{text}]" for text in texts]

    monkeypatch.setattr(translator, "translate", translate)
    return translator


LAYOUTS = {
    "": "",
    " \n\t\n": " \n\t\n",
    "One cat.": "[One cat.]",
    "One cat. Two dogs!  Three?": "[One cat.] [Two dogs!]  [Three?]",
    "One cat.\n\n\nTwo\ndogs.\n": "[One cat.]\n\n\n[Two]\n[dogs.]\n",
    "a\r\nb\r\n": "[a]\r\n[b]\r\n",
    "  indented \n\ttab\t\n": "  [indented] \n\t[tab]\t\n",
    "- one\n  * two. And more.\n+ three": "- [one]\n  * [two.] [And more.]\n+ [three]",
    "1. one\n12) two\n  a) three": "1. [one]\n12) [two]\n  a) [three]",
    "- [ ] to do\n- [x] done": "- [ ] [to do]\n- [x] [done]",
    "# Title\n## Part two": "# [Title]\n## [Part two]",
    "> quoted\n>> - twice": "> [quoted]\n>> - [twice]",
    "• dot\n— Well, no.": "• [dot]\n— [Well, no.]",
    "---\n***\n1234\n…": "---\n***\n1234\n…",
    "-5 degrees and -x": "[-5 degrees and -x]",
    "Dr. Smith paid $3.50. He left.": "[Dr. Smith paid $3.50.] [He left.]",
    "\ufeffone": "[\ufeffone]",
}


@pytest.mark.parametrize("text", LAYOUTS)
def test_layout(translator, text):
    assert translator.translate_document(text) == LAYOUTS[text]


def test_all_sentences_in_one_call(translator):
    documents = ["One. Two.\n\nThree.", "", "- Four."]
    found = translator.translate_document(documents, 7, num_beams=3, max_new_tokens=5)
    assert found == ["[One.] [Two.]\n\n[Three.]", "", "- [Four.]"]
    ((texts, options),) = translator.calls
    assert texts == ["One.", "Two.", "Three.", "Four."]
    assert options == {"num_beams": 3, "max_new_tokens": 5, "batch_size": 7, "verbose": 0}
    assert translator.translate_document([]) == []
    assert translator.translate_document(["", "--"]) == ["", "--"]
    assert len(translator.calls) == 1


@pytest.mark.parametrize(
    ("source", "translations", "expected"),
    [
        ("今日は。明日は。", ["Today.", "Tomorrow."], "Today. Tomorrow."),
        ("Today. Tomorrow.", ["今日は。", "明日は。"], "今日は。明日は。"),
        ("今日は。明日は。", ["今天。", "明天。"], "今天。明天。"),
        ("Today. Tomorrow.", ["他说：“今天。”", "明天。"], "他说：“今天。”明天。"),
        ("Today. Tomorrow.", ["오늘", "내일"], "오늘 내일"),
        ("Today. Tomorrow.", ["", "x"], " x"),
        ("One.  Two.", ["一。", "二。"], "一。  二。"),
    ],
)
def test_spaces_between_sentences(translator, monkeypatch, source, translations, expected):
    monkeypatch.setattr(translator, "translate", lambda texts, **options: translations)
    assert translator.translate_document(source) == expected


@pytest.mark.parametrize(
    ("text", "language", "count"),
    [
        ("Das ist z. B. gut. Am 3. Oktober auch.", "de", 2),
        ("Das ist z. B. gut. Am 3. Oktober auch.", "deu_Latn", 2),
        ("El Sr. Pérez llegó. Se fue.", "spa_Latn", 2),
        ("यह एक वाक्य है। यह दूसरा है।", "hin_Deva", 2),
        ("你好。今天怎么样？很好！", "zho_Hans", 3),
        ("今日は晴れです。明日は雨です。", None, 2),
        ("مرحبا. كيف حالك؟ جيد.", "ar", 3),
        ("Mr. Smith left. It rained.", "xx", 2),
    ],
)
def test_sentences_of_many_languages(text, language, count):
    found = split_sentences(text, language)
    assert len(found) == count and "".join(found) == text


def test_the_language_of_the_sentences(translator, monkeypatch):
    seen = []

    def split(text, language):
        seen.append(language)
        return [text]

    monkeypatch.setattr("keras_transformer.pipelines.documents.split_sentences", split)
    translator.translate_document("a")
    translator.translate_document("a", source_language="fra_Latn")
    translator.translate_document("a", source_language="fra_Latn", sentence_language="de")
    translator.defaults = translator.defaults._replace(source_language="pt")
    translator.translate_document("a")
    assert seen == [None, "fra_Latn", "de", "pt"]


# === Long sentences ===


def by_words(limit):
    return lambda text: len(text.split()) <= limit


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a b c", 3, ["a b c"]),
        ("a b; c d: e", 3, ["a b; ", "c d: e"]),
        ("a b; c d, e f, g", 3, ["a b; ", "c d, ", "e f, g"]),
        ("a, b, c, d e f g h", 4, ["a, b, c, ", "d e f g ", "h"]),
        ("a b c d e", 2, ["a b ", "c d ", "e"]),
        ("1,000,000 is: 2", 2, ["1,000,000 is: ", "2"]),
    ],
)
def test_splitting_to_fit(text, limit, expected):
    found = split_to_fit(text, by_words(limit))
    assert found == expected and "".join(found) == text


def test_splitting_without_spaces():
    def fits(text):
        return len(text) <= 4

    assert split_to_fit("今日は、明日。", fits) == ["今日は、", "明日。"]
    assert split_to_fit("今日は明日。", fits) is None


def test_long_sentences(translator):
    text = "- the cat sat, the dog ran: the house. The end."
    count = len(translator.encode_sources(["the dog ran:"])[0][0])
    found = translator.translate_document(text, max_sentence_length=count)
    ((pieces, _),) = translator.calls
    assert len(pieces) > 3
    lengths = [len(row) for row in translator.encode_sources(pieces)[0]]
    assert max(lengths) <= count
    assert re.sub(r"[\[\]]", "", found) == text


def test_positions_of_the_model(tokenizer, monkeypatch):  # noqa: F811
    model = kt.models.transformer(
        40, None, 1, 2, 16, 32, position_layout="learned", max_length=11, dropout=0.0
    )
    translator = kt.Translator(model, tokenizer)
    document = "the cat sat on the mat, a dog ran after the cat.\n- the cat"
    found = translator.translate_document(document)
    assert found.split("\n")[1].startswith("- ")
    message = r"`text` must not contain words longer .*'thecat.* with a word of more than 11 ids"
    with pytest.raises(ValueError, match=message):
        translator.translate_document("thecatsatonthematadogranafterthecat on")


# === The real thing ===


@pytest.mark.slow
def test_a_document_of_real_sentences():
    folder = kt.datasets.firefox_models.load_folder("en-pt")
    translator = kt.Translator.from_pretrained(folder)
    sentences = ["The house is red.", "Where is the cat?", "I like this book.", "Dr. Smith left."]
    house, cat, book, doctor = translator.translate(sentences)
    assert (house, cat) == ("A casa é vermelha.", "Onde está o gato?")
    one, two, three, four = sentences
    text = f"# {one}\n\n{two} {three}\n\n  1. {four}\n  2. {one}\n"
    found = translator.translate_document(text)
    assert found == f"# {house}\n\n{cat} {book}\n\n  1. {doctor}\n  2. {house}\n"


def test_progress(tokenizer, capsys):  # noqa: F811
    translator = kt.Translator(make_model(), tokenizer)
    translator.translate_document(["a cat. The dog.", "a\n\nb"], verbose=1, max_new_tokens=1)
    assert "4/4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (5, {}, "`text` must be a string or a list of strings. Received: text=5"),
        (["a", None], {}, r"`text` must contain strings. Received: text\[1\]=None"),
        ("a", {"num_return": 2}, "`num_return` must not be given.*num_return=2"),
        ("a", {"return_scores": True}, "`return_scores` must not be given"),
        ("a", {"target_prefix": "x"}, "`target_prefix` must not be given.*='x'"),
        ("a", {"max_sentence_length": 0}, "`max_sentence_length` must be a positive integer"),
    ],
)
def test_messages(translator, text, options, message):
    with pytest.raises(ValueError, match=message):
        translator.translate_document(text, **options)
