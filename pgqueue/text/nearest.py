"""Suggestions for a message about an unknown word: which known word was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 64  # of a longer word, only so many characters are compared
CLOSE = 0.5  # a word that is less alike than this is not suggested; 0: nothing in common, 1: equal


def nearest(word: str, words: Iterable[str], most: int = 1) -> list[str]:
    """The words that look most like ``word``, the nearest first."""
    return difflib.get_close_matches(word[:LONGEST], list(words), n=most, cutoff=CLOSE)


def guess(word: str, words: Iterable[str], otherwise: str, most: int = 1) -> str:
    """``did you mean x?`` with the nearest words, or ``otherwise`` if no word is near."""
    near = nearest(word, words, most)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def rather(value: object, words: Sequence[str], meant: Mapping[str, str] | None = None) -> str:
    """A hint for a value that is not one of ``words``: ``did you mean x? use x, y``.

    The suggested word is ``meant[value]``, or else the nearest of ``words``. If no word is near, the hint only lists them.
    """
    word = value[:LONGEST].lower() if isinstance(value, str) else ""
    near = (meant or {}).get(word) or next(iter(nearest(word, words)), None)
    return (f"did you mean {near}? " if near else "") + "use " + ", ".join(words)
