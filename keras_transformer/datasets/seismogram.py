"""A seismogram of a small earthquake: a real-world time series with three channels."""

import numpy as np

from keras_transformer.datasets.download import Wheel, fetch

LICENSE = "LGPL 3.0, https://www.gnu.org/licenses/lgpl-3.0.html"
"""The license of the data, that of ObsPy."""
ATTRIBUTION = (
    "The example seismogram of ObsPy, station RJOB of the Bavarian network, https://obspy.org"
)
"""The attribution to give where the data is used."""

_MEMBER = "obspy/core/data/example.npz"
OBSPY = Wheel(
    name="obspy",
    version="1.5.1",
    sha256="c39707a77f5b63546d6fbcf8b0d2d9d983939bab5b22e9ee0ccfe5f1875e8740",
    members={_MEMBER: "78864eacab47b3abf156c4d9eb683d72202144b253b2ca3d239688a9be11b1c6"},
    tag="cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64",
)
CHANNELS = ("EHZ", "EHN", "EHE")
"""The channels: vertical, north, east."""
SAMPLES_PER_SECOND = 100


def load_data() -> np.ndarray:
    """Loads 30 seconds of the seismogram; the earthquake starts after 4.7 seconds.

    Downloaded once (15 MB) and cached in `$KERAS_HOME` or `~/.keras`.

    Returns:
        float32 (3000, 3): samples by `CHANNELS`, 100 per second, in instrument counts.

    Raises:
        RuntimeError: If it is not in the cache and cannot be downloaded.

    Example:
        ```python
        series = kt.datasets.seismogram.load_data()
        ```
    """
    with np.load(fetch(OBSPY, _MEMBER), allow_pickle=False) as arrays:
        return np.stack([arrays[name] for name in CHANNELS], axis=1).astype("float32")
