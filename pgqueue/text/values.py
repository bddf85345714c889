"""Makes short texts from values, for messages. No function here raises an error, even if code in the class of a value raises one."""

from __future__ import annotations

import reprlib


def name_of(value: object) -> str:
    """Returns the name that Python itself has stored for a value's class. If a metaclass defines another ``__name__``, that is ignored."""
    return str.__str__(type.__dict__["__name__"].__get__(type(value)))


def with_article(value: object) -> str:
    """Returns the name of a value's class with an article, as a sentence needs it: ``an int``, ``a dict``."""
    name = name_of(value)
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def shown(value: object) -> str:
    """Returns a value as a message shows it: short and in ASCII. If its ``__repr__`` raises an error, returns the name of its class."""
    try:
        text = str.__str__(ascii(value) if isinstance(value, str) else reprlib.repr(value))
    except BaseException:  # noqa: BLE001 - repr fails for a number of 5,000 digits, and a user's class can raise any exception
        text = with_article(value)
    return text.encode("ascii", "backslashreplace").decode()[:80]


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text: it contains neither NUL nor a half of a surrogate pair."""
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


def is_id(text: str) -> bool:
    """Whether the text is a whole number that a row can have as its id: from 1 to 2^63 - 1."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) < 2**63
