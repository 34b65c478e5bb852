"""A translator or text generator that is killed while it saves can be loaded."""

import shutil

import pytest

import keras_transformer as kt

TEXTS = ["the cat sat on the mat", "the dog sat on the log"]
V = 20


@pytest.fixture(scope="module")
def tokenizer():
    return kt.data.train_tokenizer(TEXTS, vocabulary_size=V, model_type="bpe")


@pytest.fixture(scope="module")
def model():
    return kt.models.transformer(V, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12)


def translator(model, tokenizer, limit, shared=True, shortlist=None):
    target = tokenizer if shared else kt.data.train_tokenizer(TEXTS[::-1], 17, model_type="bpe")
    defaults = kt.DecodingDefaults(max_new_tokens=limit)
    return kt.Translator(model, tokenizer, target, defaults=defaults, shortlist=shortlist)


def loaded_limit(folder):
    return kt.Translator.load(folder).defaults.max_new_tokens


def test_other_files_stay_and_old_ones_go(tmp_path, model, tokenizer):
    folder = tmp_path / "saved"
    shortlist = kt.decoding.LexicalShortlist([0] * (V + 1), [], num_first=9)
    translator(model, tokenizer, 5, shared=False, shortlist=shortlist).save(folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "data").mkdir()
    translator(model, tokenizer, 6).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "data",
        "model.keras",
        "notes.txt",
        "source_tokenizer",
        "translator.json",
    ]
    assert (folder / "notes.txt").read_text() == "mine" and loaded_limit(folder) == 6


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_save_killed_while_it_moves_its_files_counts(tmp_path, model, tokenizer, moved):
    folder, newer = tmp_path / "saved", tmp_path / "newer"
    shortlist = kt.decoding.LexicalShortlist([0] * (V + 1), [], num_first=9)
    translator(model, tokenizer, 5, shared=False, shortlist=shortlist).save(folder)
    translator(model, tokenizer, 6).save(newer)
    newer.rename(folder / ".saved")
    for path in sorted((folder / ".saved").iterdir())[:moved]:
        shutil.rmtree(folder / path.name) if path.is_dir() else (folder / path.name).unlink()
        path.rename(folder / path.name)
    # The files of the old one that the new one does not have are still there.
    found = kt.Translator.load(folder)
    assert found.defaults.max_new_tokens == 6 and found.shortlist is None
    assert found.target_tokenizer is found.source_tokenizer
    # The next save finishes the move.
    translator(model, tokenizer, 7).save(folder)
    assert loaded_limit(folder) == 7 and not (folder / ".saved").exists()
    assert not (folder / "target_tokenizer").exists() and not (folder / "shortlist.npz").exists()


def test_a_save_killed_before_it_is_complete_does_not_count(tmp_path, model, tokenizer):
    folder = tmp_path / "saved"
    translator(model, tokenizer, 5).save(folder)
    (folder / ".saving").mkdir()
    (folder / ".saving" / "translator.json").write_text("{")
    assert loaded_limit(folder) == 5
    translator(model, tokenizer, 6).save(folder)
    assert loaded_limit(folder) == 6 and not (folder / ".saving").exists()
    # The very first save may be killed as well.
    first = tmp_path / "first"
    (first / ".saving").mkdir(parents=True)
    with pytest.raises(ValueError, match="must contain the file translator.json"):
        kt.Translator.load(first)
    translator(model, tokenizer, 6).save(first)
    assert loaded_limit(first) == 6


def test_a_folder_of_another_kind_is_refused_after_a_kill_too(tmp_path, model, tokenizer):
    newer, folder = tmp_path / "newer", tmp_path / "saved"
    translator(model, tokenizer, 6).save(newer)
    folder.mkdir()
    newer.rename(folder / ".saved")
    lm = kt.models.gpt(V, 1, 2, hidden_dim=8, intermediate_dim=12, max_length=9)
    with pytest.raises(ValueError, match="`folder` must be new, empty or hold a text generator"):
        kt.TextGenerator(lm, tokenizer).save(folder)
    assert loaded_limit(folder) == 6


def test_a_tokenizer_is_read_where_it_is(tmp_path, tokenizer):
    kt.data.save_tokenizer(tokenizer, tmp_path / "new")
    kt.data.save_tokenizer(kt.data.train_tokenizer(TEXTS, 17, model_type="bpe"), tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "old" / ".saved")
    (tmp_path / "old" / ".saved" / "config.json").replace(tmp_path / "old" / "config.json")
    assert kt.data.load_tokenizer(tmp_path / "old").vocabulary_size() == V
