"""``Redact``: marks a type as secret, so that people do not see its values: ``token: Annotated[str, Redact]``.

The mark stands in pydantic's description of a type (its core schema), because pydantic already understands models, dataclasses, unions,
aliases and generics. This module finds the marks there, and returns them as paths (redaction.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter

from pgqueue.model.redaction import ANY_DEPTH, EACH, Path, Paths

MARK = "pgqueue_redact"
DEEP = 10  # types inside types that pydantic cannot describe are searched this deep
CoreSchema = Mapping[str, Any]


class Redact:
    """Marks a parameter of a task, a field of a model or a dataclass, or a return type as secret: ``Annotated[str, Redact]``.

    Handlers get the real value. Everything that shows jobs to people masks it: ``pgq``, log lines, errors, traces, the web page and the
    HTTP API.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        schema = handler(source)
        return {**schema, "metadata": {**schema.get("metadata", {}), MARK: True}}


def paths_in(schema: CoreSchema) -> Paths:
    """Returns the paths of all values in a core schema that are marked. A path also stands under each alias of a field."""
    return tuple(dict.fromkeys(_Walk(schema).paths(schema, ())))


class _Walk:
    def __init__(self, schema: CoreSchema) -> None:
        self._definitions = {one["ref"]: one for one in schema.get("definitions", ())}
        self._entered: dict[
            str, bool
        ] = {}  # the definitions around the current one; True: the type contains itself

    def paths(self, schema: CoreSchema, path: Path) -> list[Path]:
        if schema.get("metadata", {}).get(MARK):
            return [path]
        ref = schema.get("schema_ref") if schema["type"] == "definition-ref" else schema.get("ref")
        if ref is None:
            return self._inside(schema, path)
        if ref in self._entered:
            self._entered[ref] = True
            return []
        self._entered[ref] = False
        found = self._inside(self._definitions.get(ref, schema), ())
        if self._entered.pop(ref):
            found = [one if one[:1] == (ANY_DEPTH,) else (ANY_DEPTH, *one) for one in found]
        return [(*path, *one) for one in found]

    def _inside(self, schema: CoreSchema, path: Path) -> list[Path]:
        if "keys_schema" in schema and self.paths(schema["keys_schema"], ()):
            return [path]  # a key cannot be masked without its value
        return [
            found
            for key, inner in _parts(schema)
            for found in self.paths(inner, path if key is None else (*path, key))
        ]


def _parts(schema: CoreSchema) -> Iterator[tuple[str | None, CoreSchema]]:
    """Yields the schemas inside a schema, each with the key under which its values stand; None: they are the same value."""
    for name, inner in schema.items():
        match name:
            case "fields":
                yield from _fields(inner)
            case "computed_fields":
                for one in inner:
                    for key in {one["property_name"], one.get("alias") or one["property_name"]}:
                        yield key, one["return_schema"]
            case "items_schema" | "values_schema" | "extras_schema" | "extra_items":
                yield from ((EACH, one) for one in _schemas(inner))
            case "keys_schema" | "definitions" | "serialization" | "metadata":
                pass
            case _:
                yield from ((None, one) for one in _schemas(inner))


def _fields(fields: Any) -> Iterator[tuple[str, CoreSchema]]:
    named = (
        fields.items()
        if isinstance(fields, Mapping)
        else [(one["name"], one) for one in fields if isinstance(one, Mapping)]
    )
    for name, one in named:
        for key in dict.fromkeys(
            (name, *_aliases(one.get("validation_alias")), *_aliases(one.get("serialization_alias")))
        ):
            yield key, one["schema"]


def _aliases(alias: Any) -> list[str]:
    """Returns the first keys of an alias, which can be a name, a path, or a list of paths."""
    if alias is None:
        return []
    if isinstance(alias, str):
        return [alias]
    each = alias if alias and isinstance(alias[0], list) else [alias]
    return [str(path[0]) for path in each if path]


def _schemas(inner: Any) -> Iterator[CoreSchema]:
    """Yields the schemas in the value of a key of a schema: one schema, or a list or dict of schemas, such as the choices of a union."""
    if isinstance(inner, Mapping):
        if isinstance(inner.get("type"), str):
            yield inner
        else:
            for one in inner.values():
                yield from _schemas(one)
    elif isinstance(inner, list | tuple):
        for one in inner:
            yield from _schemas(one)


PLAIN = (None, type(None), bool, int, float, str, dict, list, object, Any)


def result_paths(hint: Any) -> Paths:
    """Returns the paths of all values that are marked in a return type. If pydantic cannot describe the type, a mark in it marks all."""
    if hint in PLAIN:
        return ()
    try:
        return paths_in(TypeAdapter(hint).core_schema)
    except Exception:  # noqa: BLE001 - a handler can have any return type, because its result is written by the type of the value
        return ((),) if _is_marked(hint) else ()


def _is_marked(hint: Any, depth: int = 0) -> bool:
    marks = (one if isinstance(one, type) else type(one) for one in getattr(hint, "__metadata__", ()))
    return Redact in marks or (depth < DEEP and any(_is_marked(one, depth + 1) for one in get_args(hint)))
