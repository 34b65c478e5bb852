"""Decoding: generation, streaming, beam search, samplers and logit filters."""

from keras_transformer.decoding.beam_search import BeamSearchResult, beam_search
from keras_transformer.decoding.compilation import set_jit_compile
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.forced_terms import AnyOf
from keras_transformer.decoding.forecast import forecast
from keras_transformer.decoding.generate import Generation, generate, stream
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.decoding.logit_filters import (
    ban_ids,
    ban_repeated_ngrams,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    scale_temperature,
    used_ids,
)
from keras_transformer.decoding.programs import set_max_programs
from keras_transformer.decoding.samplers import (
    MinP,
    RandomSampler,
    TopK,
    TopP,
    draw,
    get_sampler,
    greedy,
)
from keras_transformer.decoding.score import score

__all__ = [
    "AnyOf",
    "BeamSearchResult",
    "DecodingModel",
    "Generation",
    "LexicalShortlist",
    "MinP",
    "RandomSampler",
    "TopK",
    "TopP",
    "ban_ids",
    "ban_repeated_ngrams",
    "beam_search",
    "draw",
    "forecast",
    "generate",
    "get_sampler",
    "greedy",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "penalize_repetition",
    "scale_temperature",
    "score",
    "set_jit_compile",
    "set_max_programs",
    "stream",
    "used_ids",
]
