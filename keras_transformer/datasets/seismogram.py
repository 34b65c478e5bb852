"""Seismograms: real-world time series, of a small earthquake and of hours of background motion."""

import gzip

import numpy as np

from keras_transformer.checks import check_choice
from keras_transformer.datasets.download import Wheel, fetch

LICENSE = "LGPL 3.0, https://www.gnu.org/licenses/lgpl-3.0.html"
"""The license of the data, that of ObsPy."""
ATTRIBUTION = (
    "The example seismograms of ObsPy, "
    "stations RJOB and KW1 of the Bavarian network, https://obspy.org"
)
"""The attribution to give where the data is used."""

_MEMBERS = {
    "RJOB": "obspy/core/data/example.npz",
    "KW1": "obspy/signal/tests/data/BW.KW1._.EHZ.D.2011.090_downsampled.asc.gz",
}
OBSPY = Wheel(
    name="obspy",
    version="1.5.1",
    sha256="c39707a77f5b63546d6fbcf8b0d2d9d983939bab5b22e9ee0ccfe5f1875e8740",
    members={
        _MEMBERS["RJOB"]: "78864eacab47b3abf156c4d9eb683d72202144b253b2ca3d239688a9be11b1c6",
        _MEMBERS["KW1"]: "1ab5b46344e4d166d82113c4947cdd5aa3ca8353b128640e6b221345e475a5bc",
    },
    tag="cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64",
)
CHANNELS = ("EHZ", "EHN", "EHE")
"""The channels of RJOB: vertical, north, east. KW1 has only the first."""
SAMPLES_PER_SECOND = 100


def load_data(station: str = "RJOB") -> np.ndarray:
    """Loads the ground motion at one of two stations.

    RJOB has 30 seconds with a small earthquake that starts after 4.7 seconds. KW1 has 2.6 hours of
    vertical motion: background for half an hour, then the slow waves of a distant earthquake.

    Downloaded once (15 MB for both) and cached in `$KERAS_HOME` or `~/.keras`.

    Args:
        station: "RJOB" or "KW1".

    Returns:
        float32 (3000, 3) or (936001, 1): samples by `CHANNELS`, 100 per second, in instrument
        counts.

    Raises:
        ValueError: If the station is unknown.
        RuntimeError: If the data is not in the cache and cannot be downloaded.

    Example:
        ```python
        series = kt.datasets.seismogram.load_data()
        background = kt.datasets.seismogram.load_data("KW1")
        ```
    """
    check_choice(tuple(_MEMBERS), station=station)
    path = fetch(OBSPY, _MEMBERS[station])
    if station == "KW1":
        with gzip.open(path, "rt") as lines:
            return np.loadtxt(lines, dtype="float32", ndmin=2)
    with np.load(path, allow_pickle=False) as arrays:
        return np.stack([arrays[name] for name in CHANNELS], axis=1).astype("float32")
