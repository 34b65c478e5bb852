"""The memory of a process that answers requests of all lengths."""

import gc
import os
from pathlib import Path

from keras_transformer.decoding import programs
from tests.robustness.pipelines import ask, make_pipelines, requests_of_all_lengths

MOST_GROWTH = 0.02
# The share of the requests after which all programs that fit have been compiled.
WARM_UP = 0.3


def run(count):
    """Answers requests one after another; the memory must not grow after the first ones."""
    pipelines, requests = make_pipelines(), requests_of_all_lengths(count)
    warm = int(WARM_UP * count)
    sizes = []
    for index, request in enumerate(requests, start=1):
        ask(pipelines, request)
        if index == warm or (index > warm and index % max(1, count // 20) == 0):
            sizes.append(resident_megabytes())
    kept, mappings = num_programs(), num_mappings()
    growth = max(sizes) / sizes[0] - 1.0
    report = (
        f"{count} requests of all lengths: {sizes[0]:.0f} MB after {warm}, at most "
        f"{max(sizes):.0f} MB from then on ({100 * growth:+.1f} %); {kept} programs, "
        f"{mappings} mappings"
    )
    assert kept <= programs.max_programs(), report
    assert growth < MOST_GROWTH, report
    return report


def resident_megabytes():
    """The memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def num_mappings():
    """The memory mappings of this process, of which Linux allows 65,530."""
    return len(Path("/proc/self/maps").read_text().splitlines())


def num_programs(*pipelines):
    """The compiled programs that decoding keeps for the models of pipelines, by default for all."""
    models = {id(pipeline.model) for pipeline in pipelines}
    return sum(
        len(compiled)
        for model, kept in list(programs._kept.items())
        if not models or id(model) in models
        for by_settings in kept.forms.values()
        for compiled in by_settings.values()
    )
