"""What to say of a word that is none of a few."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence


def rather(value: object, words: Sequence[str], meant: Mapping[str, str] | None = None) -> str:
    """What to use instead of a value that is none of these words: the one that is ``meant``, or the nearest; and all."""
    word = value[:64].lower() if isinstance(value, str) else ""
    near = (meant or {}).get(word) or next(iter(difflib.get_close_matches(word, words, n=1)), None)
    return (f"did you mean {near}? " if near else "") + "use " + ", ".join(words)
