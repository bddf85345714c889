"""A value as a message shows it, whatever its class does."""

from __future__ import annotations

import reprlib


def name_of(value: object) -> str:
    """The true name of a value's class: its metaclass may lie."""
    return str.__str__(type.__dict__["__name__"].__get__(type(value)))


def shown(value: object) -> str:
    """A value as a message shows it: short and in ASCII, whatever its ``__repr__`` does."""
    try:
        text = str.__str__(ascii(value) if isinstance(value, str) else reprlib.repr(value))
    except BaseException:  # noqa: BLE001 - a number of 5,000 digits has no repr, and a user's class may raise anything
        text = f"a {name_of(value)}"
    return text.encode("ascii", "backslashreplace").decode()[:80]
