"""The steps of a job: rules for their names, the class of their checkpoints, and fingerprints of their arguments. This module does no I/O.

pgqueue finds the checkpoint of a step by the job, the name and the key of the step, not by the order of the steps. So another attempt of
the job can do its steps in another order or in parallel. It can also leave out steps, or do new steps between the old ones.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, SchemaSerializer, to_json, to_jsonable_python

from pgqueue.errors import (
    InvalidNameError,
    InvalidPayloadError,
    PayloadTooLargeError,
    StepRefusedError,
    StepTooLargeError,
)
from pgqueue.model.payload import check_text, complaints, plain, plain_numbers
from pgqueue.text.described import message
from pgqueue.text.values import name_of, shown

Kind = Literal["step", "effect", "cursor"]
StepName = str | tuple[str, object]
StepId = tuple[str, str]  # the name and the key of a step; the key is empty if the step has none
NAME_LIMIT = 255  # the name of a step can have at most this many bytes, and so can its key
VALUE_LIMIT = 256 * 1024  # the value that a step returns can have at most this many bytes as JSON
MOST_STEPS = 10_000  # a job can have at most this many checkpoints
CURSOR = "pgqueue.saved"  # the name of the checkpoint that ``job.save`` writes
ODD = 1  # the claim sets this bit of the lease_id in the first attempt of a job, and in no later attempt


class Checkpoint(NamedTuple):
    """A row that holds what a step returned, as JSON text in ``value``. ``fingerprint`` is made of the step's arguments.

    It is None in a cursor. ``lease_id``: the lease of the attempt that stored the row. ``at``: when the row was stored. Before a checkpoint
    is stored, these two have their default values.
    """

    kind: str
    name: str
    key: str
    fingerprint: int | None
    value: str
    lease_id: int = 0
    at: datetime | None = None

    @property
    def step_id(self) -> StepId:
        return self.name, self.key


class Load(NamedTuple):
    """Asks for all checkpoints of a job."""


LOAD = Load()
Question = (
    Checkpoint | Load
)  # what an attempt asks the checkpointer: to store this checkpoint, or to load all checkpoints


def is_first(lease_id: int) -> bool:
    """Whether this lease belongs to the first attempt of its job. Such a job has no checkpoints.

    See sql/claiming/fragments/starting.sql.
    """
    return lease_id & ODD == 1


def step_id(name: object) -> StepId:
    """Returns the name and the key of a step, as two texts. ``name`` is a text such as ``"pay"``, or a pair such as ``("page", 3)``.

    The key is empty if ``name`` is a text. Raises InvalidNameError if ``name`` has another form or breaks a rule for names.
    """
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
                name,
                f"its {what} contains a character that PostgreSQL cannot store",
                "leave this character out",
            )
        if len(text.encode()) > NAME_LIMIT:
            raise _bad_name(name, f"its {what} has more than {NAME_LIMIT} bytes", "make it shorter")
    if not name or name.startswith("pgqueue."):
        raise _bad_name(
            name, "it is empty, or begins with pgqueue., which is reserved", "give it another name"
        )
    return name, str(key)


def named(step_id: StepId) -> str:
    """Returns the text by which messages name a step: ``'pay'``, or ``('page', '3')`` if the step has a key."""
    name, key = step_id
    return ascii(step_id if key else name)


def _bad_name(name: object, why: str, do: str) -> InvalidNameError:
    return InvalidNameError(f"{shown(name)} cannot name a step: {why}.", do=do)


def fingerprint(args: Sequence[object], kwargs: Mapping[str, object]) -> int:
    """Returns a hash of the arguments as JSON: 8 bytes, as a signed number.

    A value that JSON cannot hold is replaced by the name of its type.
    """
    if not args and not kwargs:
        return EMPTY
    try:
        text = json.dumps([args, kwargs], sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys of several types, or a value that is too deep
        text = json.dumps(
            [[name_of(value) for value in args], {name: name_of(kwargs[name]) for name in sorted(kwargs)}]
        )
    return _digest(text.encode())


def _plain(value: object) -> object:
    """Returns a value that JSON can hold. The members of a set are sorted, because their order differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(member, sort_keys=True, default=_plain) for member in value)
    made = to_jsonable_python(value, fallback=name_of)
    return made if type(made) in (str, int, float, list, dict) else name_of(value)


def _digest(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)


EMPTY = _digest(b"[]")


class Codec(NamedTuple):
    """The functions that write the value of a step as JSON, and read it back."""

    write: Callable[[Any], bytes]
    read: Callable[[str], Any]

    def encode(self, step: str, value: object) -> str:
        """Returns the value as JSON text. Raises StepTooLargeError or StepRefusedError if it cannot be stored."""
        try:
            text = plain_numbers(self.write(value))
            return check_text(text, f"The value of step {step}", VALUE_LIMIT)
        except PayloadTooLargeError as error:
            raise StepTooLargeError(error.what, do=error.do) from None
        except InvalidPayloadError as error:
            raise StepRefusedError(error.what, why=error.why, do=error.do) from None
        except ValidationError as error:
            raise StepRefusedError(
                f"The value of step {step} does not fit the annotation of its function: {complaints(error)}.",
                do="annotate the function with the type that it returns",
            ) from None
        except BaseException as error:  # noqa: BLE001 - code of the value's own class can raise any exception
            raise StepRefusedError(
                f"The value of step {step} is of type {name_of(value)}, which is not JSON: {message(error)}",
                do="return plain data, or annotate the function with a type that JSON can carry",
            ) from None


def codec_of(function: Callable[..., object]) -> Codec:
    """Returns the codec for the values that a function returns, made from its annotation.

    Without an annotation, values come back as plain JSON. Raises StepRefusedError if no JSON can carry the annotated type.
    """
    inner = getattr(function, "func", function)  # the function inside a partial
    inner = getattr(inner, "__func__", inner)  # the function of a method
    if "return" not in (getattr(inner, "__annotations__", None) or ()):
        return ANY
    try:
        known = _codecs.get(inner)
        if known is None:
            known = _codecs[inner] = _made(inner)
    except TypeError:  # no weak reference can be made to this callable
        known = _made(inner)
    return known


def _made(function: Callable[..., object]) -> Codec:
    try:
        hint = typing.get_type_hints(function, include_extras=True)["return"]
        adapter = TypeAdapter[Any](plain(hint))
        written = SchemaSerializer(adapter.core_schema, CoreConfig(ser_json_inf_nan="constants"))
    except Exception as error:  # noqa: BLE001 - a user's own type, and an annotation that is a text, can raise any error
        raise StepRefusedError(
            f"The annotation of what {getattr(function, '__qualname__', 'the function')} returns cannot be used: {message(error)}",
            do="annotate it with a type that JSON can carry, or leave the annotation out",
        ) from None
    # Fields are stored under their names, although a value can have them under an alias.
    return Codec(
        lambda value: written.to_json(
            adapter.validate_python(value, by_alias=True, by_name=True), by_alias=False, round_trip=True
        ),
        lambda text: adapter.validate_json(text, by_alias=True, by_name=True),
    )


ANY = Codec(lambda value: to_json(value, inf_nan_mode="constants"), json.loads)
_codecs: WeakKeyDictionary[Callable[..., object], Codec] = WeakKeyDictionary()
