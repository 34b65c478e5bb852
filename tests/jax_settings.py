"""JAX's settings for tests, to be made before it is imported."""

import tempfile
from pathlib import Path

JAX_SETTINGS = {
    # Tests compile thousands of small programs and run each of them once.
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    # Many of those programs are the same in several tests.
    "JAX_COMPILATION_CACHE_DIR": str(Path(tempfile.gettempdir(), "keras_transformer_tests_jax")),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # On a GPU JAX multiplies float32 with ten bits of precision unless told otherwise.
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
}
