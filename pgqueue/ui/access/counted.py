"""Counts what each caller of a server has open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def counted(counts: Counter[str], caller: str) -> Iterator[None]:
    """Counts one more thing of this caller while the block runs. Callers that have nothing open are forgotten."""
    counts[caller] += 1
    try:
        yield
    finally:
        counts[caller] -= 1
        if not counts[caller]:
            del counts[caller]
