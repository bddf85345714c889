"""Checks JSON before it goes into the database. If jsonb cannot store a value, raises an error that contains the path to the value."""

from __future__ import annotations

import json
import math
import os
import re
from collections import abc
from collections.abc import Callable, Hashable
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import JsonValue, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError, to_json

from pgqueue.errors import InvalidPayloadError, PayloadTooLargeError
from pgqueue.text.described import message
from pgqueue.text.values import name_of, shown

ARGS_LIMIT = 256 * 1024
RESULT_LIMIT = 64 * 1024
SIGNAL_PAYLOAD_LIMIT = 256 * 1024
DEPTH_LIMIT = 64
DIGITS_LIMIT = 400
# The name of an environment variable. If it is set to 1, errors show the values that do not fit.
SHOW_VALUES = "PGQUEUE_SHOW_VALUES"

# If quick searches in the JSON text find nothing suspicious, all its values are good. So nearly no payload needs ``walk``, which visits every
# value. The searches are for fixed texts where possible: one regular expression for all would cost more than the rest of an enqueue.
EXPONENT = re.compile(rb"[0-9]e[-+]?[0-9]")
NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"|(?P<number>-?[0-9]+(?:\.[0-9]+)?e[-+]?[0-9]+)')
LONG_NUMBER = re.compile(rb"[0-9]{401}")


def check_texts(texts: list[bytes], what: str, limit: int) -> list[str]:
    """Does ``check_text`` for many texts. In most cases, one search through all of them together shows that all are good."""
    if not texts:
        return []
    # No text contains a line end, because JSON escapes it.
    longest, together = max(map(len, texts)), b"\n".join(texts)
    if longest <= limit and not _is_suspicious(together, longest, len(texts)):
        return together.decode().split("\n")
    return [check_text(text, what, limit) for text in texts]


def _is_suspicious(text: bytes, longest: int, count: int = 1) -> bool:
    """Whether one of ``count`` texts can contain a value that jsonb or pgqueue refuses.

    Counts brackets and braces instead of measuring the depth. If there are several texts, each has at least one brace, so each further
    text raises the limit by one.
    """
    return (
        b"\\u" in text
        or b"NaN" in text
        or b"Infinity" in text
        or text.count(b"[") + text.count(b"{") > DEPTH_LIMIT + count - 1
        or (longest > DIGITS_LIMIT and LONG_NUMBER.search(text) is not None)
    )


def check_text(text: bytes, what: str, limit: int) -> str:
    """Returns the JSON text if jsonb can store all its values. If not, raises PayloadTooLargeError or InvalidPayloadError."""
    if len(text) > limit:
        raise PayloadTooLargeError(
            f"{what} is {len(text) / 1024:,.0f} KiB of JSON; the limit is {limit // 1024} KiB.",
            do="store the data elsewhere and pass a reference to it",
        )
    if _is_suspicious(text, len(text)):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InvalidPayloadError(f"{what} cannot be read back from JSON: {error}") from None
        except RecursionError:
            raise InvalidPayloadError(f"{what} is nested more than {DEPTH_LIMIT} levels deep.") from None
        walk(value, what)
    return text.decode()


def signal_text(payload: object) -> str:
    """Returns the payload of a signal as JSON text. Raises InvalidPayloadError or PayloadTooLargeError."""
    what = "The payload of a signal"
    try:
        text = to_json(payload, inf_nan_mode="constants")
    except Exception as error:  # noqa: BLE001 - code of the value's own class can raise any error
        raise InvalidPayloadError(
            f"{what} is of type {name_of(payload)}, which is not JSON: {message(error)}",
            do="give plain data, such as a dict of texts and numbers",
        ) from None
    return check_text(plain_numbers(text), what, SIGNAL_PAYLOAD_LIMIT)


def plain_numbers(text: bytes) -> bytes:
    """Returns the same JSON text, but its numbers have no exponents.

    Otherwise jsonb would change 1e22 to a whole number, and Python would read an int instead of a float.
    """
    return NUMBERS.sub(_without_exponent, text) if EXPONENT.search(text) else text


def _without_exponent(found: re.Match[bytes]) -> bytes:
    if found["number"] is None:
        return found[0]
    digits = format(Decimal(found[0].decode()), "f")
    return (digits if "." in digits else digits + ".0").encode()


def walk(root: object, what: str) -> None:
    """Raises InvalidPayloadError if jsonb cannot store a value in ``root``. The error contains the path to that value."""
    stack: list[tuple[str, object, int]] = [("$", root, 1)]
    while stack:
        path, value, depth = stack.pop()
        if depth > DEPTH_LIMIT:
            raise InvalidPayloadError(f"{what} is nested more than {DEPTH_LIMIT} levels deep at {path:.80}.")
        if isinstance(value, dict):
            for key, inner in value.items():
                _check_string(key, f"{path} (a key)", what)
                stack.append((f"{path}.{key}", inner, depth + 1))
        elif isinstance(value, list):
            stack.extend((f"{path}[{index}]", inner, depth + 1) for index, inner in enumerate(value))
        elif isinstance(value, str):
            _check_string(value, path, what)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidPayloadError(f"{what}: {path} is {value}, which JSON does not have.", do="use null")
        elif isinstance(value, int) and abs(value) >= 10**DIGITS_LIMIT:
            raise InvalidPayloadError(
                f"{what}: {path} has more than {DIGITS_LIMIT} digits.", do="pass it as a string"
            )


def _check_string(value: str, path: str, what: str) -> None:
    if "\x00" in value:
        raise InvalidPayloadError(f"{what}: {path!a} contains U+0000, which PostgreSQL's jsonb cannot store.")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidPayloadError(
            f"{what}: {path!a} contains a lone surrogate, which is no valid Unicode text."
        )


# The generic types that ``plain`` keeps. Iterable is not one of them, because pydantic would read its items lazily, and only once.
KEPT = (
    list,
    dict,
    tuple,
    set,
    frozenset,
    abc.Sequence,
    abc.MutableSequence,
    abc.Mapping,
    abc.MutableMapping,
    abc.Set,
)
PLAIN: dict[object, Any] = {
    Any: JsonValue,
    object: JsonValue,
    dict: dict[str, JsonValue],
    list: list[JsonValue],
    tuple: tuple[JsonValue, ...],
    abc.Mapping: abc.Mapping[str, JsonValue],
}


def plain(kind: Any) -> Any:
    """Returns ``kind`` with JsonValue in place of each Any.

    So a set or a datetime in such a place is refused. With Any, pydantic would turn it into a list or a text.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is None:
        return PLAIN.get(kind, kind) if isinstance(kind, Hashable) else kind
    if origin is Annotated:
        return Annotated[plain(inner[0]), *inner[1:]]
    made = tuple(part if part is Ellipsis else plain(part) for part in inner)
    if origin in (Union, UnionType):
        return Union[made]  # noqa: UP007 - made at run time
    if origin is abc.Iterable:
        return Annotated[abc.Sequence[made], AS_GIVEN]  # type: ignore[valid-type]
    if origin in SEQUENCES and made:
        return Annotated[origin[made], AS_GIVEN]
    return origin[made] if origin in KEPT and made else kind


def _as_given(value: object, validate: Callable[[object], object]) -> object:
    """Refuses a value such as a range or a deque for an abstract type.

    Such a value fits the type, but would come back from JSON as a list.
    """
    made = validate(value)
    if isinstance(value, abc.Sequence) and not isinstance(value, type(made)) and value != made:
        kind = type(made).__name__
        raise PydanticCustomError("changed", "it would come back as a {kind}: give a {kind}", {"kind": kind})
    return made


SEQUENCES = (abc.Sequence, abc.MutableSequence)
AS_GIVEN = WrapValidator(_as_given)
PLAIN |= {kind: plain(kind[JsonValue]) for kind in (*SEQUENCES, abc.Iterable)}


def complaints(error: ValidationError) -> str:
    """Returns the first three errors of pydantic in one sentence. Values can be secret, so they are shown only if SHOW_VALUES is set."""
    said = []
    values = os.environ.get(SHOW_VALUES) not in (None, "", "0")
    for item in error.errors(include_url=False, include_context=False)[:3]:
        path = f"{'.'.join(str(part) for part in item['loc']):.80}"
        message = item["msg"]
        match item["type"]:
            case "missing":
                said.append(f"{path} is missing")
                continue
            case "extra_forbidden":
                said.append(f"{path} is unknown")
                continue
            # pydantic's message would contain the tag, which is a value.
            case "union_tag_invalid" if not values:
                message = "its tag is none of those expected"
        found = shown(item["input"]) if values else type(item["input"]).__name__
        said.append(
            f"{path or '$'}: {message}" + (f", not {found}" if item["type"] != "json_invalid" else "")
        )
    rest = error.error_count() - len(said)
    return "; ".join(said) + (f"; and {rest} more" if rest > 0 else "")
