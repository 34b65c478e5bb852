"""Training: losses, metrics, schedules, optimizers, callbacks and the papers' recipes."""

from keras_transformer.training.checkpoint_averaging import CheckpointAveraging
from keras_transformer.training.chunked_loss import ChunkedLossModel
from keras_transformer.training.clock import StopAfter, TimeBudget
from keras_transformer.training.contrastive_loss import InBatchNegatives
from keras_transformer.training.decoupled_adamw import DecoupledAdamW
from keras_transformer.training.freezing import GradualUnfreezing, freeze, unfreeze
from keras_transformer.training.layouts import layout_map
from keras_transformer.training.lora import enable_lora, merge_lora
from keras_transformer.training.lora_files import load_lora, save_lora
from keras_transformer.training.losses import MaskedCrossentropy
from keras_transformer.training.metrics import MaskedAccuracy, Perplexity
from keras_transformer.training.non_finite import NonFinite, StopOnNonFinite
from keras_transformer.training.optimizer_arguments import AccumulationSchedule
from keras_transformer.training.recipes import (
    bert_finetuning_recipe,
    gpt1_finetuning_recipe,
    gpt1_pretraining_recipe,
    transformer_recipe,
)
from keras_transformer.training.resuming import load_training
from keras_transformer.training.saving import SaveTraining
from keras_transformer.training.schedules import (
    InverseSquareRootSchedule,
    NoamSchedule,
    WarmupCosineSchedule,
    WarmupLinearSchedule,
)
from keras_transformer.training.step_times import StepTime
from keras_transformer.training.translation_evaluation import (
    TranslationEvaluation,
    TranslationSample,
)
from keras_transformer.training.tuning import Tuning, tune
from keras_transformer.training.weight_averages import average_checkpoints
from keras_transformer.training.weight_penalties import add_l2

__all__ = [
    "AccumulationSchedule",
    "CheckpointAveraging",
    "ChunkedLossModel",
    "DecoupledAdamW",
    "GradualUnfreezing",
    "InBatchNegatives",
    "InverseSquareRootSchedule",
    "MaskedAccuracy",
    "MaskedCrossentropy",
    "NoamSchedule",
    "NonFinite",
    "Perplexity",
    "SaveTraining",
    "StepTime",
    "StopAfter",
    "StopOnNonFinite",
    "TimeBudget",
    "TranslationEvaluation",
    "TranslationSample",
    "Tuning",
    "WarmupCosineSchedule",
    "WarmupLinearSchedule",
    "add_l2",
    "average_checkpoints",
    "bert_finetuning_recipe",
    "enable_lora",
    "freeze",
    "gpt1_finetuning_recipe",
    "gpt1_pretraining_recipe",
    "layout_map",
    "load_lora",
    "load_training",
    "merge_lora",
    "save_lora",
    "transformer_recipe",
    "tune",
    "unfreeze",
]
