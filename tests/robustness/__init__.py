"""What must hold under bad conditions, and for what is published."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
