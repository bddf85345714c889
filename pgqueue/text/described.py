"""Makes text that can be stored and logged from the names, messages and tracebacks of users' exceptions.

No function here raises an error, even if a method of such an exception raises one.
"""

from __future__ import annotations

import traceback
from types import CodeType, TracebackType
from typing import Any

from pgqueue.text.values import name_of

ERROR_LIMIT = 2_000  # the middle of a longer message is cut out; in characters
TRACEBACK_LIMIT = 16_000  # the middle of a longer traceback is cut out; in characters
DEPTH = 30  # of a deeper traceback, the last frames are shown
REPEATED = 3  # a function that calls itself more often has a shorter traceback, which counts the repetitions
MOST_FRAMES = 1000
# The traceback module adds to the messages or the lines of these errors, and looks for that in their frames.
NOT_PLAIN = (SyntaxError, NameError, AttributeError, ImportError, BaseExceptionGroup)
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
        lines = _lines_of_plain(error)
        if lines is None:
            whole = traceback.TracebackException.from_exception(
                error, limit=-DEPTH, max_group_width=5, max_group_depth=5
            )
            lines = list(whole.format())
        return clean("".join(lines), TRACEBACK_LIMIT)
    except BaseException as broken:  # noqa: BLE001
        return f"(the traceback cannot be shown: {name_of(broken)})"


def _lines_of_plain(error: BaseException) -> list[str] | None:
    """Returns the lines of a traceback that needs no more than its frames and its message, or None.

    The same line fails again and again if a service is down. So the text of each frame is kept, because to make it takes most of the time:
    the file is looked at and its line is parsed.
    """
    is_plain = error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
    if not is_plain or isinstance(error, NOT_PLAIN):
        return None
    texts: list[str] = []
    codes: set[int] = set()
    frame = error.__traceback__
    while frame is not None:
        texts.append(_text_of(frame))
        codes.add(id(frame.tb_frame.f_code))
        frame = frame.tb_next
    if len(texts) > DEPTH or len(texts) - len(codes) >= REPEATED:
        return None
    last = traceback.TracebackException(type(error), error, None).format_exception_only()
    return ["Traceback (most recent call last):\n", *texts, *last]


# The texts of frames, by the code and the place in it. The code is kept, so that no other code gets its id.
_frames: dict[tuple[int, int], tuple[CodeType, str]] = {}


def _text_of(frame: TracebackType) -> str:
    code = frame.tb_frame.f_code
    known = _frames.get((id(code), frame.tb_lasti))
    if known is None:
        if len(_frames) >= MOST_FRAMES:
            _frames.clear()
        known = _frames[id(code), frame.tb_lasti] = code, "".join(traceback.format_tb(frame, 1))
    return known[1]
