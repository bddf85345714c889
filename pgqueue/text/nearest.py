"""What to say of a word that is not among the known words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 64  # characters of a word that are compared
CLOSE = 0.5  # the least likeness, from 0 to 1


def nearest(word: str, words: Iterable[str], most: int = 1) -> list[str]:
    """The words that look most like ``word``, the nearest first."""
    return difflib.get_close_matches(word[:LONGEST], list(words), n=most, cutoff=CLOSE)


def guess(word: str, words: Iterable[str], otherwise: str, most: int = 1) -> str:
    """``did you mean x?`` with the nearest words, or ``otherwise`` if no word is near."""
    near = nearest(word, words, most)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def rather(value: object, words: Sequence[str], meant: Mapping[str, str] | None = None) -> str:
    """What to use instead of a value that is not among these words. First the word that ``meant`` gives for it, or else the nearest; then all."""
    word = value[:LONGEST].lower() if isinstance(value, str) else ""
    near = (meant or {}).get(word) or next(iter(nearest(word, words)), None)
    return (f"did you mean {near}? " if near else "") + "use " + ", ".join(words)
