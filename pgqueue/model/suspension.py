"""The sleeps of handlers, and their waits for signals. This module does no I/O.

A handler that sleeps or waits ends its attempt, and gives back its slot. Later the job is claimed again, and the handler runs from its
beginning. When it comes to a sleep that is over or to a signal that has arrived, it goes on. Absurd and Inngest suspend work in the same way.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pgqueue.errors import InvalidNameError, InvalidOptionError, SignalTimeoutError
from pgqueue.model.steps import Checkpoint, StepId, step_id
from pgqueue.model.units import seconds
from pgqueue.text.values import is_storable, shown

SIGNAL_LIMIT = 250  # the name of a signal can have at most this many bytes
RESERVED = ("pgqueue.", "gather:")  # names of signals that pgqueue itself sends begin with these texts
WAIT = "wait:"  # the checkpoint of a wait has this text and the first signal of the wait as its name


class Suspended(BaseException):
    """Passes through a handler that sleeps or waits for a signal. It is no error: it ends the attempt, and the job goes on later.

    It is a BaseException, so that ``except Exception`` does not catch it. Code that catches it must raise it again.
    """

    def __init__(self) -> None:
        super().__init__("the job sleeps or waits for a signal")


class Signal(NamedTuple):
    """A signal that was sent to a job. ``payload``: plain JSON. ``at``: when it was sent. ``sender``, ``key``: as the sender gave them."""

    name: str
    payload: Any = None
    at: datetime | None = None
    sender: str | None = None
    key: str | None = None


class Request(NamedTuple):
    """A sleep or a wait that suspends its job. ``name`` and ``key`` name its checkpoint.

    ``delay``: the length of a sleep, or the time-out of a wait, in seconds; None: the wait has no time-out. If its checkpoint is stored
    already, the moment in the checkpoint counts. ``names``: the signals that a wait waits for. ``version``: the version of the task.
    """

    kind: Literal["sleep", "wait"]
    name: str
    key: str
    delay: float | None
    names: tuple[str, ...] = ()
    version: int | None = None


class Wait(NamedTuple):
    """A call of ``job.wait_for``. ``timeout`` is in seconds. ``default`` is what the call returns after its time-out; ...: it has none."""

    names: tuple[str, ...]
    timeout: float | None
    default: object
    key: str

    @classmethod
    def of(cls, names: tuple[object, ...], timeout: Any, default: object, key: object) -> Wait:
        """Checks what a handler has given. Raises InvalidNameError or InvalidOptionError."""
        limit = None if timeout is None else seconds(timeout, "The timeout of a wait", past=False)
        return cls(signal_names(names), limit, default, "" if key is None else step_id(("wait", key))[1])

    def result(self, signal: Signal | None) -> object:
        """Returns the signal that ended the wait. After its time-out, returns the default, or raises SignalTimeoutError if there is none."""
        if signal is None and self.default is ...:
            raise SignalTimeoutError(self.names)
        return self.default if signal is None else signal


class Suspension:
    """The requests by which an attempt asks to be suspended. ``is_begun``: whether one of them has raised Suspended in the handler."""

    __slots__ = ("is_begun", "requests")

    def __init__(self) -> None:
        self.requests: dict[StepId, Request] = {}
        self.is_begun = False

    def add(self, request: Request) -> None:
        self.requests[request.name, request.key] = request

    def remove(self, request: Request) -> None:
        self.requests.pop((request.name, request.key), None)


def is_suspension(error: BaseException) -> bool:
    """Whether an error is Suspended, or a group that contains nothing else, as ``asyncio.TaskGroup`` raises it."""
    if issubclass(type(error), Suspended):
        return True
    if not issubclass(type(error), BaseExceptionGroup):
        return False
    try:
        _, rest = error.split(Suspended)  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - a user's class can override ``split``
        return False
    return rest is None


def signal_names(names: tuple[object, ...]) -> tuple[str, ...]:
    """Returns the names of the signals that a handler waits for. Raises InvalidNameError or InvalidOptionError."""
    if not names:
        raise InvalidOptionError(
            "A wait needs the name of a signal.", do='write: job.wait_for("approved", "refused")'
        )
    return tuple(dict.fromkeys(signal_name(name) for name in names))


def signal_name(name: object) -> str:
    """Returns the name of a signal. Raises InvalidNameError if it is no text or breaks a rule for names."""
    if not isinstance(name, str):
        raise _bad_name(name, "it is no text", 'give a name, such as "approved"')
    if not name or name.startswith(RESERVED):
        raise _bad_name(
            name,
            "it is empty, or begins with pgqueue. or gather:, which are reserved",
            "give it another name",
        )
    if not is_storable(name):
        raise _bad_name(
            name, "it contains a character that PostgreSQL cannot store", "leave this character out"
        )
    if len(name.encode()) > SIGNAL_LIMIT:
        raise _bad_name(name, f"it has more than {SIGNAL_LIMIT} bytes", "make it shorter")
    return name


def check_label(what: str, value: object) -> None:
    """Raises InvalidOptionError if the ``key`` or the ``sender`` of a signal is neither None nor a text of 1 to 255 bytes."""
    if value is None:
        return
    if not isinstance(value, str) or not is_storable(value) or not 1 <= len(value.encode()) <= 255:
        raise InvalidOptionError(
            f"The {what} of a signal is {shown(value)}.", do="give a text of 1 to 255 bytes, or leave it out"
        )


def wait_name(signal: str) -> str:
    """Returns the name of the checkpoint of a wait whose first signal is ``signal``."""
    return WAIT + signal


def is_open(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint of a wait says only until when the job waits, and not how the wait has ended."""
    return checkpoint.kind == "wait" and "names" in json.loads(checkpoint.value)


def signal_of(checkpoint: Checkpoint) -> Signal | None:
    """Returns the signal that has ended a wait; None if its time-out has passed."""
    said = json.loads(checkpoint.value).get("signal")
    if said is None:
        return None
    at = None if said["at"] is None else datetime.fromisoformat(said["at"])
    return Signal(said["name"], said["payload"], at, said["sender"], said["key"])


def _bad_name(name: object, why: str, do: str) -> InvalidNameError:
    return InvalidNameError(f"{shown(name)} cannot name a signal: {why}.", do=do)
