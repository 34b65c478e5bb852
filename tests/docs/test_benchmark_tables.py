"""Tables copied from docs/benchmarks.md into other pages."""

import pytest

pytest.importorskip("mkdocs")

from tests.docs.site import ROOT, load_hook  # noqa: E402

PAGE = """# Benchmarks

## Bread: loaves per hour

| oven | loaves |
|---|---|
| small | 3 |

| oven | shelves | loaves | minutes, each |
|---|---|---|---|
| stone | 1 | 5 | 11 |
| steam | 2 | 13 | 7 |
| stone | 2 | 17 |  |

2026-11-27, 2 ovens (gas, old), flour 4.05.

## Bread

| oven | loaves |
|---|---|
| none | 0 |

2026-11-29, no ovens.
"""


def copied(**settings):
    return load_hook("benchmark_tables").copied_table(PAGE, **settings)


def test_columns_and_rows_of_the_first_table_that_has_them():
    table = copied(
        section="Bread: loaves per hour",
        columns="minutes, each | oven | loaves",
        where="shelves = 2",
    )
    assert table == (
        "| minutes, each | oven | loaves |\n"
        "| --- | --- | --- |\n"
        "| 7 | steam | 13 |\n"
        "|  | stone | 17 |\n\n"
        "Measured on 2026-11-27, 2 ovens (gas, old); more in "
        "[Benchmarks](benchmarks.md#bread-loaves-per-hour)."
    )


def test_a_title_is_matched_as_a_whole():
    assert "| none | 0 |" in copied(section="Bread", columns="oven|loaves")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"section": "Bread:", "columns": "oven"}, "`section` must be .* Received: 'Bread:'"),
        ({"section": "Bread", "columns": "oven | minutes"}, "`columns` must be .* oven . minutes"),
        (
            {"section": "Bread", "columns": "oven", "where": "loaves = 2"},
            "`where` must hold .* Received: loaves = 2",
        ),
    ],
)
def test_what_is_not_there_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        copied(**settings)


def test_every_marker_of_the_pages_finds_its_table():
    hook = load_hook("benchmark_tables")
    count = 0
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        result = hook.on_page_markdown(text, page=None, config=None, files=None)
        count += len(hook.MARKER.findall(text))
        assert "<!-- from benchmarks" not in result, path
    assert count >= 5
