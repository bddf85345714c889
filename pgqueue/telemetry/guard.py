"""Calls code that can raise any exception, such as a user's logging handler.

If such a call fails, the caller goes on, and only the first failure of each kind is written to stderr.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable

from pgqueue.runtime.interruption import uninterrupted
from pgqueue.text.described import TRACEBACK, describe


class Failure:
    """Writes a line to stderr when a call of one kind fails for the first time. Does nothing if stderr does not work."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.is_said = False

    def say(self, error: BaseException) -> None:
        if self.is_said or sys.stderr is None:
            return
        self.is_said = True
        try:
            sys.stderr.write(f"pgqueue: {self.what}: {describe(error)}\n")
        except (
            BaseException
        ) as worse:  # stderr is closed, or the user replaced it by an object that can raise any exception
            if is_of_a_signal(worse):
                raise


def guarded(failure: Failure, call: Callable[..., object], /, *args: object, **kwargs: object) -> None:
    """Makes the call, and delays interruptions until its end.

    Reports its errors, but raises an error that a signal's handler has raised.
    """
    with uninterrupted():
        try:
            call(*args, **kwargs)
        except BaseException as error:
            if is_of_a_signal(error):
                raise
            failure.say(error)


def is_of_a_signal(error: BaseException) -> bool:
    """Returns whether the handler of a signal raised the error. Such a handler can run between any two steps of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    if issubclass(type(error), KeyboardInterrupt) and signal.default_int_handler in handlers:
        return True
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(TRACEBACK.__get__(error)))
