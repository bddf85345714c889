"""Makes text that can be stored and logged from the names, messages and tracebacks of users' exceptions.

No function here raises an error, even if a method of such an exception raises one.
"""

from __future__ import annotations

import traceback
from typing import Any

from pgqueue.text.values import name_of

ERROR_LIMIT = 2_000  # the middle of a longer message is cut out; in characters
TRACEBACK_LIMIT = 16_000  # the middle of a longer traceback is cut out; in characters
TRACEBACK: Any = BaseException.__dict__[
    "__traceback__"
]  # finds the real traceback, even if a user's class redefines ``__traceback__``


def clean(text: str, limit: int) -> str:
    """Returns ``text`` in a form that a text column can store: without NUL and lone surrogates.

    If the text has more than ``limit`` characters, its middle is cut out.
    """
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n[… {len(text) - limit} characters …]\n{text[-limit // 2 :]}"
    return text.replace("\x00", "\ufffd").encode("utf-8", "backslashreplace").decode()


def message(error: BaseException) -> str:
    """Returns the error's message. If a user's ``__str__`` returns a subclass of str, ``str.__str__`` makes an ordinary str of it."""
    try:
        return clean(str.__str__(str(error)), ERROR_LIMIT)
    except BaseException as broken:  # noqa: BLE001 - a user's __str__ can raise any exception, even SystemExit
        return f"(its message cannot be shown: {name_of(broken)})"


def plain(error: BaseException) -> Exception:
    """Returns an exception with the same name and message. Its class contains no code of the user."""
    kind: type[Exception] = type(name_of(error), (Exception,), {"__module__": "builtins"})
    return kind(message(error))


def describe(error: BaseException) -> str:
    """Returns the error's name and message, such as ``ValueError: bad address``."""
    said = message(error)
    return clean(f"{name_of(error)}: {said}" if said else name_of(error), ERROR_LIMIT)


def trace(error: BaseException) -> str | None:
    """Returns the error's traceback as text. If it is long, its middle is cut out. Cyclic causes and huge exception groups do no harm."""
    try:
        if error.__traceback__ is None:
            return None
        lines = traceback.TracebackException.from_exception(
            error, limit=-30, max_group_width=5, max_group_depth=5
        )
        return clean("".join(lines.format()), TRACEBACK_LIMIT)
    except BaseException as broken:  # noqa: BLE001
        return f"(the traceback cannot be shown: {name_of(broken)})"
