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
    """Who has a layer, and as what: weakly, so that nothing lives longer for it."""

    def __init__(self):
        self.token = uuid.uuid4().hex
        self.owners: weakref.WeakSet = weakref.WeakSet()
        self.roles: set[tuple] = set()


_sharings: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# The last copy that was made of a shared layer, by its token.
_copies: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def take_layer(identifier: Any, owner: keras.layers.Layer) -> keras.layers.Layer | None:
    """Restores a layer that was given to another layer's constructor, or takes it as it is.

    Args:
        identifier: a layer, its config, or None.
        owner: the layer that it was given to, named already.

    Returns:
        The layer. Of a layer that was shared, those that shared it get one copy: each takes the
        copy that was made last, unless it has taken it already.
    """
    if identifier is None:
        return None
    layer = identifier
    role = (type(owner).__name__, owner.name)
    if isinstance(identifier, dict):
        layer = keras.saving.deserialize_keras_object(identifier)
        token = identifier.get(_KEY)
        if token is not None:
            last = _copies.get(token)
            if last is not None and role not in _sharing_of(last).roles:
                layer = last
            _copies[token] = layer
    sharing = _sharing_of(layer)
    sharing.owners.add(owner)
    sharing.roles.add(role)
    return layer


def serialize_layer(layer: keras.layers.Layer) -> dict[str, Any]:
    """The config of a layer that was given to another layer's constructor."""
    config = keras.saving.serialize_keras_object(layer)
    # Who holds it builds it, under its own name.
    config.pop("build_config", None)
    config.pop(_KEY, None)
    sharing = _sharings.get(layer)
    if sharing is not None and len(sharing.owners) > 1:
        config[_KEY] = sharing.token
    return config


def _sharing_of(layer):
    return _sharings.setdefault(layer, _Sharing())
