"""Run with BLOCK_TENSORFLOW=1: any import of TensorFlow then fails."""

import os
import sys

if os.environ.get("BLOCK_TENSORFLOW"):
    if "tensorflow" in sys.modules:
        raise RuntimeError("TensorFlow must be blocked before anything imports it.")
    # None makes `import tensorflow` raise, also where a library only tries it.
    sys.modules["tensorflow"] = None
    sys.modules["tensorflow_text"] = None
