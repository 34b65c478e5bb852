"""The explorer's page in a real browser, with real servers of tiny models."""
