"""The values of steps as JSON, and fingerprints of the arguments of steps. This module does no I/O."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, SchemaSerializer, to_json, to_jsonable_python

from pgqueue.errors import InvalidPayloadError, PayloadTooLargeError, StepRefusedError, StepTooLargeError
from pgqueue.model.job import Job
from pgqueue.model.payload import check_text, complaints, plain, plain_numbers
from pgqueue.text.described import message
from pgqueue.text.values import name_of

VALUE_LIMIT = 256 * 1024  # the value that a step returns can have at most this many bytes as JSON


def fingerprint(args: Sequence[object], kwargs: Mapping[str, object]) -> int:
    """Returns a hash of the arguments as JSON: 8 bytes, as a signed number.

    A value that JSON cannot hold is replaced by the name of its type. So is a ``Job``, because it changes with each attempt, and an iterator,
    such as a generator or an open file, because to read it would take its items away from the step. If some code of the user's classes raises
    an error, each argument is replaced by the name of its type.
    """
    if not args and not kwargs:
        return EMPTY
    try:
        text = json.dumps([args, kwargs], sort_keys=True, default=_plain)
    except Exception:  # noqa: BLE001 - keys of several types, a value that is too deep, or an error of the user's code
        text = json.dumps(
            [[name_of(value) for value in args], {name: name_of(kwargs[name]) for name in sorted(kwargs)}]
        )
    return _digest(text.encode())


def _plain(value: object) -> object:
    """Returns a value that JSON can hold. The members of a set are sorted, because their order differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(member, sort_keys=True, default=_plain) for member in value)
    if isinstance(value, Iterator | Job):
        return name_of(value)
    if isinstance(value, deque):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
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
