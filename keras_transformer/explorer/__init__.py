"""The explorer: a local web page that shows what a model computes.

`python -m keras_transformer.explorer FOLDER` starts it.
"""

from keras_transformer.explorer.answers import Answers
from keras_transformer.explorer.app import make_app
from keras_transformer.explorer.opened_model import OpenedModel, open_model

__all__ = ["Answers", "OpenedModel", "make_app", "open_model"]
