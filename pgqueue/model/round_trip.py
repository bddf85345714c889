"""Checks that arguments come back from JSON equal. For some types this is certain; other values are compared. This module does no I/O."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from pgqueue.text.counted import count

# The types of core schemas (pydantic's descriptions of types) whose values always come back from JSON equal.
LEAVES = frozenset({"none", "bool", "int", "float", "str", "uuid"})
# A value of a union of these types comes back equal, because its JSON shows its type. Only int and float can look the same in JSON.
DISTINCT = LEAVES - {"uuid"}
CoreSchema = Mapping[str, Any]  # a core schema of pydantic; pydantic's own type for it is a large union
NUMBERS = {"int", "float"}
JSON = "pydantic.types.JsonValue:"
ALIASES = ("validation_alias", "serialization_alias", "serialization_exclude")


def is_closed(schema: CoreSchema) -> bool:
    """Whether each value of this core schema certainly comes back equal. This is true for plain types, and for lists and dicts of them."""
    match schema["type"]:
        case "definitions" | "nullable":
            closed = is_closed(schema["schema"])
        case "definition-ref":
            closed = schema["schema_ref"].startswith(JSON)
        case "list":
            closed = "items_schema" in schema and is_closed(schema["items_schema"])
        case "dict":
            closed = schema.get("keys_schema", {}).get("type") == "str" and is_closed(schema["values_schema"])
        case "typed-dict":
            rest = schema.get("extras_schema")
            closed = (
                (is_closed(rest) if rest is not None else schema.get("extra_behavior") != "allow")
                and not any(alias in field for field in schema["fields"].values() for alias in ALIASES)
                and all(is_closed(field["schema"]) for field in schema["fields"].values())
            )
        case "union":
            kinds = [choice["type"] if isinstance(choice, dict) else "" for choice in schema["choices"]]
            closed = (
                len(kinds) == len(set(kinds)) and DISTINCT.issuperset(kinds) and not NUMBERS.issubset(kinds)
            )
        case "literal":
            closed = all(type(value) is str for value in schema["expected"])
        case kind:
            closed = kind in LEAVES
    return bool(closed) and "serialization" not in schema


def has_any(schema: CoreSchema) -> bool:
    """Whether a part of a closed schema allows any JSON value. There, only the form of a number in JSON shows whether it was an int."""
    return any(definition["ref"].startswith(JSON) for definition in schema.get("definitions", ()))


def difference(sent: Any, back: Any, path: str = "") -> str | None:
    """Returns a text that says where and how ``back`` differs from ``sent``, but no values, which can be secret. None: they are equal."""
    fields = _fields(sent)
    if sent is back:
        said = None
    elif not isinstance(sent, type(back)) or (_is_record(sent) and type(sent) is not type(back)):
        said = f"{path} comes back as {_kind(back)} instead of {_kind(sent)}"
    elif isinstance(sent, list | tuple | deque):
        if len(sent) == len(back):
            said = _first((item, back[index], f"{path}[{index}]") for index, item in enumerate(sent))
        else:
            said = f"{path} comes back with {count(len(back), 'item')} instead of {len(sent)}"
    elif isinstance(sent, set | frozenset):
        said = None if _are_same_members(sent, back) else f"{path} comes back with other members"
    elif fields is not None:
        others = _fields(back) or {}
        if isinstance(back, OrderedDict) and list(sent) != sorted(sent, key=_order_in_jsonb):
            said = f"{path} comes back in another order"
        elif _are_same_members(fields, others):
            said = _first(
                (value, others[name], f"{path}.{name}" if path else str(name))
                for name, value in fields.items()
            )
        else:
            said = f"{path} comes back with other keys"
        if said is None and not isinstance(sent, dict) and _has_equality(sent) and sent != back:
            said = f"{path} comes back with another value"
    else:
        said = None if _are_equal(sent, back) else f"{path} comes back with another value"
    return said


def _first(pairs: Iterable[tuple[object, object, str]]) -> str | None:
    return next((said for pair in pairs if (said := difference(*pair)) is not None), None)


def _are_same_members(sent: Iterable[object], back: Iterable[object]) -> bool:
    found, wanted = {item: item for item in back}, list(sent)
    return len(found) == len(wanted) and all(
        item in found and isinstance(item, type(found[item])) for item in wanted
    )


def _are_equal(sent: object, back: object) -> bool:
    if isinstance(sent, datetime) and isinstance(back, datetime) and None not in (sent.tzinfo, back.tzinfo):
        # They are compared in UTC. For Python, a datetime in an hour that its zone has twice is unequal to all datetimes of other zones.
        sent, back = sent.astimezone(UTC), back.astimezone(UTC)
    return bool(sent == back)


def _fields(value: object) -> Mapping[str, object] | None:
    """Returns the fields of a dict, a model, a dataclass, or another object without an ``__eq__``. None for any other value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "__dict__") and not _has_equality(value):
        return dict(vars(value))
    return None


def _has_equality(value: object) -> bool:
    return type(value).__eq__ is not object.__eq__


def _is_record(value: object) -> bool:
    return isinstance(value, BaseModel) or dataclasses.is_dataclass(value)


def _order_in_jsonb(key: object) -> tuple[int, bytes]:
    text = str(key).encode()
    return len(text), text


def _kind(value: object) -> str:
    return type(value).__name__
