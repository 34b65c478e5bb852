"""Tests under bad conditions, and of the published distributions."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
