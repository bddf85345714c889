"""Shows values in messages, and is not disturbed by the code of the values' classes."""

from __future__ import annotations

import reprlib


def name_of(value: object) -> str:
    """The name that Python itself stores for a value's class. A metaclass can define another ``__name__``, which is not asked."""
    return str.__str__(type.__dict__["__name__"].__get__(type(value)))


def shown(value: object) -> str:
    """A value as a message shows it: short and in ASCII. If its ``__repr__`` raises an error, the name of its class is shown."""
    try:
        text = str.__str__(ascii(value) if isinstance(value, str) else reprlib.repr(value))
    except BaseException:  # noqa: BLE001 - repr fails for a number of 5,000 digits, and a user's class can raise any exception
        text = f"a {name_of(value)}"
    return text.encode("ascii", "backslashreplace").decode()[:80]
