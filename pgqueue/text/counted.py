"""Writes a number with its noun, for people: in the singular for one, in the plural for all other numbers."""

from __future__ import annotations

from collections.abc import Collection


def count(number: int, noun: str, many: str | None = None) -> str:
    """Returns ``1 job`` or ``2,000 jobs``. ``many`` is the plural, if it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def listed(noun: str, numbers: Collection[int]) -> str:
    """Returns ``worker 7`` or ``workers 7, 8``."""
    return f"{noun if len(numbers) == 1 else noun + 's'} {', '.join(map(str, numbers))}"
