"""The checkpoint families in the Hugging Face format, by the `model_type` of their config."""

from __future__ import annotations

from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.hugging_face_bert import BERT
from keras_transformer.pretrained.families.hugging_face_distilbert import DISTILBERT
from keras_transformer.pretrained.families.hugging_face_gpt import GPT1, GPT2
from keras_transformer.pretrained.families.hugging_face_gpt_neo import GPT_NEO
from keras_transformer.pretrained.families.hugging_face_llama import LLAMA, QWEN2, QWEN3
from keras_transformer.pretrained.families.hugging_face_m2m_100 import M2M100
from keras_transformer.pretrained.families.hugging_face_marian import MARIAN
from keras_transformer.pretrained.families.hugging_face_opt import OPT
from keras_transformer.pretrained.families.hugging_face_roberta import ROBERTA, XLM_ROBERTA
from keras_transformer.pretrained.families.hugging_face_vit import VIT

FAMILIES: dict[str, Family] = {
    family.model_type: family
    # A model is saved as the first family that recognizes it, so RoBERTa comes before BERT, and
    # GPT-2 after the families with the same layers.
    for family in (
        *(ROBERTA, XLM_ROBERTA, BERT, DISTILBERT),
        *(LLAMA, QWEN2, QWEN3, GPT_NEO, OPT, GPT1, GPT2),
        *(M2M100, MARIAN, VIT),
    )
}
