"""Makes suggestions for messages about an unknown word: which known word the user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 64  # only the first 64 characters of a word are compared
CLOSE = 0.5  # a word is suggested only if its similarity is at least this: 0 means nothing in common, 1 means equal


def nearest(word: str, words: Iterable[str], most: int = 1) -> list[str]:
    """Returns at most ``most`` words that look like ``word``, the most similar one first."""
    return difflib.get_close_matches(word[:LONGEST], list(words), n=most, cutoff=CLOSE)


def guess(word: str, words: Iterable[str], otherwise: str, most: int = 1) -> str:
    """Returns ``did you mean x?`` with the most similar words, or ``otherwise`` if no word is similar."""
    near = nearest(word, words, most)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def rather(value: object, words: Sequence[str], meant: Mapping[str, str] | None = None) -> str:
    """Returns a hint for a value that is not one of ``words``: ``did you mean x? use x, y``.

    The suggested word is ``meant[value]``, or else the most similar one of ``words``. If no word is similar, the hint only lists ``words``.
    """
    word = value[:LONGEST].lower() if isinstance(value, str) else ""
    near = (meant or {}).get(word) or next(iter(nearest(word, words)), None)
    return (f"did you mean {near}? " if near else "") + "use " + ", ".join(words)
