"""Names the theme's search dialog for screen readers. MkDocs calls the function named `on_...`."""

from __future__ import annotations

SEARCH = '<div class="md-search" data-md-component="search" role="dialog"'


def on_post_page(output, page, config):
    """Gives the dialog its name."""
    return output.replace(f"{SEARCH}>", f'{SEARCH} aria-label="Search">', 1)
