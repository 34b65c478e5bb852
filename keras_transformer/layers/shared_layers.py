"""Layers that are passed to the constructors of several others, and stay shared in copies.

Keras restores shared objects when it loads a file, but not when it clones a model or restores it
from its config: each owner would then deserialize its own copy.
"""

from __future__ import annotations

import uuid
import weakref
from typing import Any

import keras

# The key under which Keras itself looks up shared objects.
_KEY = "shared_object_id"


class _Sharing:
    """The layers that own a shared layer, and the token that identifies it in configs."""

    def __init__(self):
        self.owners: weakref.WeakSet = weakref.WeakSet()
        self.roles: set[tuple[str, str]] = set()
        self.token: str | None = None


# Weak, so as not to keep layers alive.
_sharings: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# The most recent copy of each shared layer, by token.
_copies: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def take_layer(identifier: Any, owner: keras.layers.Layer) -> keras.layers.Layer | None:
    """Registers a layer passed to another layer's constructor, restoring it from a config first.

    Args:
        identifier: A layer, its config, or None.
        owner: The layer it was passed to, which must already have its name.

    Returns:
        The layer. Owners that shared a layer before saving share one copy after restoring. An owner
        gets a new copy if an owner of the same class and name already uses the existing one, or if
        the configs differ (for example, in dtype policy).
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
    """Returns the config of a layer that was passed to another layer's constructor."""
    config = keras.saving.serialize_keras_object(layer)
    # The owner builds it, under the owner's own path.
    config.pop("build_config", None)
    config.pop(_KEY, None)
    sharing = _sharing_of(layer)
    if sharing.token is None and len(sharing.owners) > 1:
        sharing.token = uuid.uuid4().hex
    return config if sharing.token is None else {**config, _KEY: sharing.token}


def _sharing_of(layer):
    return _sharings.setdefault(layer, _Sharing())


def without_object_ids(config: Any) -> Any:
    """Returns a config without the ids that Keras adds when loading and saving, for comparisons.

    Args:
        config: A serialized value.

    Returns:
        A copy without these ids at any depth.
    """
    if isinstance(config, dict):
        return {key: without_object_ids(value) for key, value in config.items() if key != _KEY}
    if isinstance(config, (list, tuple)):
        return [without_object_ids(value) for value in config]
    return config
