"""JSON on its way into the database. If jsonb cannot hold a value, the value is refused, and the error names the path to it."""

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
from pydantic_core import PydanticCustomError

from pgqueue.errors import InvalidPayloadError, PayloadTooLargeError
from pgqueue.text.values import shown

ARGS_LIMIT = 256 * 1024
RESULT_LIMIT = 64 * 1024
DEPTH_LIMIT = 64
DIGITS_LIMIT = 400
SHOW_VALUES = "PGQUEUE_SHOW_VALUES"  # environment variable: 1 shows the values that do not fit

# A text in which quick searches find nothing suspicious is good, so nearly every payload needs no walk. Plain searches come
# first, because one regex for all of them costs more than all the rest of an enqueue in Python.
EXPONENT = re.compile(rb"[0-9]e[-+]?[0-9]")
NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"|(?P<number>-?[0-9]+(?:\.[0-9]+)?e[-+]?[0-9]+)')
LONG_NUMBER = re.compile(rb"[0-9]{401}")


def check_texts(texts: list[bytes], what: str, limit: int) -> list[str]:
    """``check_text`` for many texts. Mostly, one look at all of them together shows that they are good."""
    if not texts:
        return []
    longest, together = max(map(len, texts)), b"\n".join(texts)  # no JSON text holds a bare line end
    if longest <= limit and not _is_suspicious(together, longest, len(texts)):
        return together.decode().split("\n")
    return [check_text(text, what, limit) for text in texts]


def _is_suspicious(text: bytes, longest: int, count: int = 1) -> bool:
    """Whether one of ``count`` texts may hold what jsonb refuses.

    Each text has at least one brace, so the limit of the braces grows by one for each further text.
    """
    return (
        b"\\u" in text
        or b"NaN" in text
        or b"Infinity" in text
        or text.count(b"[") + text.count(b"{") > DEPTH_LIMIT + count - 1
        or (longest > DIGITS_LIMIT and LONG_NUMBER.search(text) is not None)
    )


def check_text(text: bytes, what: str, limit: int) -> str:
    """JSON text that jsonb stores as it is; raises PayloadTooLargeError or InvalidPayloadError."""
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


def plain_numbers(text: bytes) -> bytes:
    """The same JSON text without exponents: jsonb would write 1e22 as a whole number, which comes back as an int."""
    return NUMBERS.sub(_without_exponent, text) if EXPONENT.search(text) else text


def _without_exponent(found: re.Match[bytes]) -> bytes:
    if found["number"] is None:
        return found[0]
    digits = format(Decimal(found[0].decode()), "f")
    return (digits if "." in digits else digits + ".0").encode()


def walk(root: object, what: str) -> None:
    """Raises InvalidPayloadError, naming the path, for anything jsonb cannot hold."""
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


# Iterable is not among these, because pydantic would read it lazily and only once.
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
    """``kind`` with every Any in it replaced by plain JSON, so that a set or a datetime is refused, not turned into text."""
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
    """Refuses a value such as a range or a deque: it fits an abstract kind, but would come back as an unequal list."""
    made = validate(value)
    if isinstance(value, abc.Sequence) and not isinstance(value, type(made)) and value != made:
        kind = type(made).__name__
        raise PydanticCustomError("changed", "it would come back as a {kind}: give a {kind}", {"kind": kind})
    return made


SEQUENCES = (abc.Sequence, abc.MutableSequence)
AS_GIVEN = WrapValidator(_as_given)
PLAIN |= {kind: plain(kind[JsonValue]) for kind in (*SEQUENCES, abc.Iterable)}


def complaints(error: ValidationError) -> str:
    """The first three complaints of pydantic in one sentence. Values may be secret, so they are shown only if SHOW_VALUES is set."""
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
            case "union_tag_invalid" if not values:  # because its message holds the tag
                message = "its tag is none of those expected"
        found = shown(item["input"]) if values else type(item["input"]).__name__
        said.append(
            f"{path or '$'}: {message}" + (f", not {found}" if item["type"] != "json_invalid" else "")
        )
    rest = error.error_count() - len(said)
    return "; ".join(said) + (f"; and {rest} more" if rest > 0 else "")
