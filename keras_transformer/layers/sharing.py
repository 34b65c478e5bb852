"""Layers that several others were given, and that their copies are to share again.

Keras knows within one file which objects were one. It does not where a model is cloned, or made of
its config: there each layer makes its own of what its config holds.
"""

from __future__ import annotations

import uuid
import weakref
from typing import Any

import keras

# The name under which Keras itself looks for objects that it has made already.
_KEY = "shared_object_id"


class _Sharing:
    """Who was given a layer, and what stands for the layer in configs where several were."""

    def __init__(self):
        self.owners: weakref.WeakSet = weakref.WeakSet()
        self.roles: set[tuple[str, str]] = set()
        self.token: str | None = None


# Weak, so that no layer lives longer for it.
_sharings: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# By its token the last copy that was made of a shared layer.
_copies: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def take_layer(identifier: Any, owner: keras.layers.Layer) -> keras.layers.Layer | None:
    """Takes a layer that was given to another layer's constructor, or restores it.

    Args:
        identifier: a layer, its config, or None.
        owner: the layer that it was given to, named already.

    Returns:
        The layer. Those that shared one share its copy: each takes the copy that was made last,
        unless one of its class and name has taken that already, or it has been made otherwise
        since, as of another dtype policy.
    """
    if identifier is None:
        return None
    role = (type(owner).__name__, owner.name)
    layer, token = identifier, None
    if isinstance(identifier, dict):
        layer, token = keras.saving.deserialize_keras_object(identifier), identifier.get(_KEY)
    if token is not None:
        last = _copies.get(token)
        if (
            last is not None
            and role not in _sharing_of(last).roles
            and last.get_config() == layer.get_config()
        ):
            layer = last
        _copies[token] = layer
        _sharing_of(layer).token = token
    _sharing_of(layer).owners.add(owner)
    _sharing_of(layer).roles.add(role)
    return layer


def serialize_layer(layer: keras.layers.Layer) -> dict[str, Any]:
    """Returns the config of a layer that was given to another layer's constructor."""
    config = keras.saving.serialize_keras_object(layer)
    # The layer that holds it builds it, under its own name.
    config.pop("build_config", None)
    config.pop(_KEY, None)
    sharing = _sharing_of(layer)
    if sharing.token is None and len(sharing.owners) > 1:
        sharing.token = uuid.uuid4().hex
    return config if sharing.token is None else {**config, _KEY: sharing.token}


def _sharing_of(layer):
    return _sharings.setdefault(layer, _Sharing())
