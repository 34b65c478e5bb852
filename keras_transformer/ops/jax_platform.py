"""The kind of device that JAX compiles for, by which code chooses between kernels."""

from __future__ import annotations

from keras import backend, distribution


def jax_platform() -> str | None:
    """Returns the kind of device that JAX compiles for: "cpu", "gpu" or "tpu"; None elsewhere.

    If a Keras distribution is set, this is the platform of its devices, which need not be the
    process's own: a program can be compiled on a CPU for a TPU slice that is only described.
    """
    if backend.backend() != "jax":
        return None
    current = distribution.distribution()
    if current is not None:
        device = current.device_mesh.devices.flat[0]  # a `jax.Device`, or a name such as "cpu:0"
        return getattr(device, "platform", None) or str(device).split(":")[0].lower()
    import jax

    return jax.default_backend()
