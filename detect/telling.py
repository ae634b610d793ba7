"""How long work tells how it goes: one line at a time, to whoever wants to hear it."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]


def silent(text: str) -> None:
    """For callers who do not want to hear anything."""
