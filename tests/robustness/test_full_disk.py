"""If the disk fills up during a save, what was saved before is unchanged."""

import contextlib
import resource

import keras
import numpy as np
import pytest

import keras_transformer as kt

TEXTS = ["the cat sat on the mat", "the dog sat on the log"]
V = 20


@contextlib.contextmanager
def disk_with(size):
    """Lets no file grow beyond a number of bytes, as on a disk that is almost full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def tokenizer():
    return kt.data.train_tokenizer(TEXTS, vocabulary_size=V, model_type="bpe")


def language_model():
    return kt.models.gpt(V, 1, 2, hidden_dim=8, intermediate_dim=32, max_length=9, dropout=0.0)


def translation_model():
    return kt.models.transformer(V, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=32)


def adapted():
    model = language_model()
    kt.training.enable_lora(model, rank=2)
    return model


def shortlist():
    return kt.decoding.LexicalShortlist(np.arange(V + 1), np.arange(V))


WRITERS = {
    "translator": lambda place, tok: kt.Translator(translation_model(), tok).save(place),
    "generator": lambda place, tok: kt.TextGenerator(language_model(), tok).save(place),
    "hugging_face": lambda place, tok: kt.pretrained.save_huggingface(language_model(), tok, place),
    "ctranslate2": lambda place, tok: kt.pretrained.save_ctranslate2(
        translation_model(), tok, place
    ),
    "tokenizer": lambda place, tok: kt.data.save_tokenizer(tok, place),
    "adapters.npz": lambda place, tok: kt.training.save_lora(adapted(), place),
    "shortlist.npz": lambda place, tok: shortlist().save(place),
}
# These write only to a new or empty folder.
ONCE = ("hugging_face", "ctranslate2")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 300])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_was_saved_before_stays(tmp_path, tokenizer, kind, size):
    for module in {"ctranslate2": ["ctranslate2"], "hugging_face": ["safetensors"]}.get(kind, ()):
        pytest.importorskip(module)
    write, place = WRITERS[kind], tmp_path / kind
    # First without the limit: JAX writes compiled programs to a cache, which must stay intact.
    (tmp_path / "once").mkdir()
    write(tmp_path / "once" / kind if kind in ONCE else place, tokenizer)
    before = contents(tmp_path)
    with disk_with(size), pytest.raises(OSError, match=f"Saving .*{kind} failed while writing"):
        write(place, tokenizer)
    assert contents(tmp_path) == before
    write(place, tokenizer)  # there is room again
    assert contents(tmp_path).keys() >= before.keys()


IDS = np.random.default_rng(2).integers(1, V, 100)


class FullAfter(keras.callbacks.Callback):
    """Fills the disk from one batch on, and empties it at the end of the epoch."""

    def __init__(self, stack):
        super().__init__()
        self.stack, self.steps = stack, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.steps += 1
        if self.steps == 3:
            self.stack.enter_context(disk_with(2000))

    def on_epoch_end(self, epoch, logs=None):
        self.stack.close()


def test_training_goes_on_without_room(tmp_path):
    def batches():
        return kt.data.LanguageModelBatches(IDS, length=7, batch_size=3)

    model, data = language_model(), batches()
    model.compile("sgd", kt.training.MaskedCrossentropy(), jit_compile=False)
    save = kt.training.SaveTraining(tmp_path, data, every_steps=1)
    with contextlib.ExitStack() as stack:
        full = FullAfter(stack)
        with pytest.warns(
            RuntimeWarning, match="training continues: .*model-0-3.keras failed"
        ) as found:
            # `full` is last, so that the disk is still full when the epoch's state is saved.
            model.fit(data, shuffle=False, verbose=0, callbacks=[save, full])
        (message,) = [str(w.message) for w in found if w.category is RuntimeWarning]
        assert str(tmp_path) in message
        assert full.steps == len(data) > 3
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model-0-2.keras", "model-0-2.npz", "training.json"]
    again = batches()
    loaded, epoch = kt.training.load_training(tmp_path, again)
    assert epoch == 0 and again.state()["batch"] == 2
    loaded.fit(again, shuffle=False, verbose=0)
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
