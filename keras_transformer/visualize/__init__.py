"""Looking inside a model: recordings of its tensors, and figures of them."""

from keras_transformer.visualize.alignments import alignment
from keras_transformer.visualize.attention_figures import head_view, model_view, plot_attention
from keras_transformer.visualize.attention_scores import attention_scores
from keras_transformer.visualize.beam_trees import beam_tree
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.logit_lenses import logit_lens
from keras_transformer.visualize.position_figures import plot_positions
from keras_transformer.visualize.rollout import attention_rollout
from keras_transformer.visualize.saliency_figures import saliency
from keras_transformer.visualize.trace import Trace, record
from keras_transformer.visualize.vision_figures import plot_vit_attention

__all__ = [
    "Figure",
    "Trace",
    "alignment",
    "attention_rollout",
    "attention_scores",
    "beam_tree",
    "head_view",
    "logit_lens",
    "model_view",
    "plot_attention",
    "plot_positions",
    "plot_vit_attention",
    "record",
    "saliency",
]
