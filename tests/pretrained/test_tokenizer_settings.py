"""Where tokenizer.json and tokenizer_config.json differ: as transformers has it, or refused."""

import json

import pytest
import tokenizers
import transformers

import keras_transformer as kt
from tests.pretrained import folders
from tests.pretrained.test_tokenizers import refuse, same_ids_and_texts
from tests.pretrained.tokenizers import trained

TEXTS = [*folders.AWKWARD, "UPPER lower", "Çà et là É", "[SEP] the <|endoftext|>"]


def settle(folder, **settings):
    """Writes tokenizer_config.json."""
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def edit(folder, change):
    """Changes tokenizer.json by a function of its content."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("in_json", [True, False], ids=["json_lowers", "json_keeps"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True},
        {"strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
        {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    ],
    ids=lambda settings: "-".join(settings) or "silent",
)
def test_the_config_of_a_bert_wins(settings, in_json, tmp_path):
    folder = folders.bert(tmp_path, whole=True, lowercase=in_json)
    settle(folder, **settings)
    same_ids_and_texts(folder, "bert", TEXTS)


def test_a_plain_tokenizer_json_counts_as_it_is(tmp_path):
    folder = folders.bert(tmp_path, whole=True, lowercase=False)
    settle(folder, tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = kt.pretrained.load_tokenizer(folder)
    assert ours(TEXTS) == [theirs(t, add_special_tokens=False)["input_ids"] for t in TEXTS]
    assert ours(["THE"]) != ours(["the"])
    assert ours.end_id is theirs.sep_token_id is None


@pytest.mark.parametrize("in_json", [True, False])
@pytest.mark.parametrize("said", [True, False, None])
def test_a_space_in_front_of_a_gpt2s_text(said, in_json, tmp_path):
    folder = folders.gpt2(tmp_path, whole=True)
    edit(folder, lambda content: content["pre_tokenizer"].update(add_prefix_space=in_json))
    if said is not None:
        settle(folder, add_prefix_space=said)
    same_ids_and_texts(folder, "gpt2", TEXTS)


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt1"])
def test_tokens_that_tokenizer_json_adds(family, tmp_path):
    folder = getattr(folders, family)(tmp_path, whole=True)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([tokenizers.AddedToken("vieille maison", normalized=False)])
    tokenizer.add_special_tokens(["<extra>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    ours, theirs = same_ids_and_texts(folder, family, [*TEXTS, "the <extra> cat"])
    assert ours.vocabulary_size() == len(theirs)


def test_a_bert_tokenizer_beside_a_gpt2(tmp_path):
    folder = folders.bert(tmp_path)
    folders.write_config(folder, "gpt2")
    settle(folder, tokenizer_class="BertTokenizer", do_lower_case=False)
    same_ids_and_texts(folder, "bert", TEXTS)


def test_special_tokens_that_are_split(tmp_path):
    folder = folders.bert(tmp_path / "theirs", whole=True)
    settle(folder, split_special_tokens=True)
    ours, _ = same_ids_and_texts(folder, "bert", TEXTS)
    assert ours.end_id not in ours(["[SEP]"])[0]
    kt.data.save_tokenizer(ours, tmp_path / "ours")
    assert kt.data.load_tokenizer(tmp_path / "ours")(TEXTS) == ours(TEXTS)


def test_a_tokenizer_of_ours_that_is_handed_on_comes_back(tmp_path):
    """It knows no special token in a text, there as here."""
    tokenizer = trained(model_type="bpe")
    model = kt.models.gpt(
        vocabulary_size=120, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=16
    )
    kt.pretrained.save_huggingface(model, tokenizer, tmp_path / "new")
    again = kt.pretrained.load_tokenizer(tmp_path / "new")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    texts = ["the </s> cat", "<pad><s>the"]
    assert again(texts) == [theirs(t, add_special_tokens=False)["input_ids"] for t in texts]
    assert again.end_id not in again(texts)[0]


# === What is refused ===

STRUCTURES = {
    "normalizer": ("bert", lambda c: c.update(normalizer={"type": "NFC"})),
    "no_normalizer": ("gpt1", lambda c: c.update(normalizer=None)),
    "a_normalizer": ("gpt2", lambda c: c.update(normalizer={"type": "Lowercase"})),
    "clean_text": ("bert", lambda c: c["normalizer"].update(clean_text=False)),
    "pre_tokenizer": ("gpt2", lambda c: c["pre_tokenizer"].update(use_regex=False)),
    "decoder": ("bert", lambda c: c["decoder"].update(cleanup=False)),
    "model": ("gpt2", lambda c: c["model"].update(dropout=0.5)),
    "model_prefix": ("bert", lambda c: c["model"].update(continuing_subword_prefix="@@")),
    "model_merges": ("gpt1", lambda c: c["model"].update(ignore_merges=True)),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_not_of_its_class(name, tmp_path):
    family, change = STRUCTURES[name]
    folder = getattr(folders, family)(tmp_path, whole=True)
    edit(folder, change)
    part = name.removeprefix("no_").removeprefix("a_").replace("clean_text", "normalizer")
    part = "model" if part.startswith("model") else part
    refuse(folder, f"The {part} in .*tokenizer.json must be that of a .*Tokenizer")
    settle(folder, tokenizer_class="PreTrainedTokenizerFast")
    assert kt.pretrained.load_tokenizer(folder)(["the cat"])


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("bert", {"tokenizer_class": "DebertaTokenizer"}, "`tokenizer_class` in .*'DebertaTok"),
        ("bert", {"do_basic_tokenize": False}, "`do_basic_tokenize` in .* must be true"),
        ("bert", {"do_lower_case": "no"}, "`do_lower_case` in .* must be true or false"),
        ("marian", {"do_lower_case": True}, "`do_lower_case` in .* must be false or missing"),
        ("marian", {"sp_model_kwargs": {"enable_sampling": True}}, "`sp_model_kwargs` in"),
        ("marian", {"split_special_tokens": True}, "`split_special_tokens` in"),
    ],
)
def test_settings_that_are_not_supported(family, settings, message, tmp_path):
    folder = getattr(folders, family)(tmp_path)
    settle(folder, **settings)
    refuse(folder, message)
