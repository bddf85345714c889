"""Steps: how a job's step is named, what its checkpoint holds, and how its value and its arguments are written. Does no I/O.

A step is known by its job, its name and its key, never by its place among the steps. So steps may be taken in another order, in
parallel, or not at all, when the handler runs again, and new steps may stand between old ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic_core import to_jsonable_python

from pgqueue.errors import InvalidNameError
from pgqueue.text.values import name_of, shown

Kind = Literal["step", "effect", "cursor"]
StepName = str | tuple[str, object]
NAME_LIMIT = 255  # bytes of a name, and of a key
VALUE_LIMIT = 256 * 1024  # bytes of a value as JSON
MOST_STEPS = 10_000  # checkpoints of one job
CURSOR = "pgqueue.saved"  # the name under which ``job.save`` stores
ODD = 1  # the lowest bit of the lease_id of a job's first attempt


class Checkpoint(NamedTuple):
    """What is stored of a step. ``value``: JSON text. ``fingerprint``: of the arguments; None: the step has none.

    ``lease_id`` and ``at`` say which attempt stored it, and when; in a new checkpoint they are not set yet.
    """

    kind: str
    name: str
    key: str
    fingerprint: int | None
    value: str
    lease_id: int = 0
    at: datetime | None = None

    @property
    def step_id(self) -> tuple[str, str]:
        return self.name, self.key


def is_first(lease_id: int) -> bool:
    """Whether this lease belongs to the first attempt of its job, so that there are no checkpoints (sql/claiming/fragments/starting.sql)."""
    return lease_id & ODD == 1


def step_id(name: object) -> tuple[str, str]:
    """Returns name and key of a step named ``"pay"``, or ``("page", 3)``. Raises InvalidNameError for any other name."""
    key: object = ""
    if isinstance(name, tuple) and len(name) == 2:
        name, key = name
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise _bad_name(
                name, f"its key is {name_of(key)} ({shown(key)})", "give a text or a whole number as the key"
            )
        if key == "":
            raise _bad_name(name, "its key is empty", "give the name alone, or a key that is not empty")
    if not isinstance(name, str):
        raise _bad_name(name, "it is no text", 'give a name, or a name and a key: ("page", 3)')
    for what, text in (("name", name), ("key", str(key))):
        if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise _bad_name(
                name, f"its {what} holds a character that PostgreSQL cannot store", "leave it out"
            )
        if len(text.encode()) > NAME_LIMIT:
            raise _bad_name(name, f"its {what} has more than {NAME_LIMIT} bytes", "make it shorter")
    if not name or name.startswith("pgqueue."):
        raise _bad_name(
            name, "it is empty, or begins with pgqueue., which is reserved", "give it another name"
        )
    return name, str(key)


def _bad_name(name: object, why: str, do: str) -> InvalidNameError:
    return InvalidNameError(f"{shown(name)} cannot name a step: {why}.", do=do)


def fingerprint(args: Sequence[object], kwargs: Mapping[str, object]) -> int:
    """Returns 8 bytes of BLAKE2b of the arguments' JSON, as a signed number. Values that are not JSON count by their types alone."""
    if not args and not kwargs:
        return EMPTY
    try:
        text = json.dumps([args, kwargs], sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys of several types, a circle, or a very deep value
        text = json.dumps(
            [[name_of(value) for value in args], {name: name_of(kwargs[name]) for name in sorted(kwargs)}]
        )
    return _digest(text.encode())


def _plain(value: object) -> object:
    """A form of the value that JSON has. The members of a set are sorted, because their order differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(member, sort_keys=True, default=_plain) for member in value)
    made = to_jsonable_python(value, fallback=name_of)
    return made if type(made) in (str, int, float, list, dict) else name_of(value)


def _digest(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)


EMPTY = _digest(b"[]")


class Codec(NamedTuple):
    """How values of one type are written as JSON, and read back."""

    write: Callable[[Any], bytes]
    read: Callable[[str], Any]
