"""How many random configurations are checked, and from which seed."""

from hypothesis import HealthCheck, Phase, settings

KINDS = 5


def pytest_configure(config):
    number, seed = config.getoption("--configurations"), config.getoption("--hypothesis-seed")
    settings.register_profile(
        "properties",
        max_examples=max(1, number // KINDS),
        deadline=None,
        database=None,
        # The same configurations in each run, unless a seed is given.
        derandomize=seed is None,
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("properties")


def pytest_report_header(config):
    number, seed = config.getoption("--configurations"), config.getoption("--hypothesis-seed")
    return f"properties: {number} configurations, --hypothesis-seed {seed}"
