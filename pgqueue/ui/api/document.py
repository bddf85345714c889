"""Makes the OpenAPI document from the declarations of the routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter

from pgqueue.ui.api.answers import Problem
from pgqueue.ui.api.calls import Route
from pgqueue.ui.api.problems import MEDIA
from pgqueue.ui.api.shapes import IDS

EVERYWHERE = (400, 401, 403, 421, 429, 500, 503)
REFERENCE = "#/components/schemas/{model}"
RETRIES = {"Retry-After": {"description": "Try again after this many seconds.", "schema": {"type": "string"}}}


def document(routes: Iterable[Route], prefix: str, version: str) -> dict[str, object]:
    """Returns the document. ``prefix``: the path of the API on its server."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    schemas["Problem"] = _schema(Problem, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pgqueue",
            "version": version,
            "description": "Jobs of pgqueue. An enqueue commits alone: it is not part of a transaction of the caller.",
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{"bearer": []}, {"basic": []}],
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, object]:
    made: dict[str, object] = {
        "operationId": route.name,
        "summary": route.text,
        "parameters": [*_path(route), *_query(route, schemas), *_headers(route.headers)],
        "responses": {str(code): _answer(outcome, schemas) for code, outcome in route.answers.items()},
    }
    codes = {*EVERYWHERE, *route.problems, *((404,) if route.has_id else ())}
    codes |= {408, 413, 415, 422} if route.body else {414, 422} if route.method == "GET" else {408, 413}
    made["responses"] |= {str(code): _problem(code) for code in sorted(codes)}  # type: ignore[operator]
    if route.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body, schemas)}},
        }
    return made


def _path(route: Route) -> list[object]:
    if not route.has_id:
        return []
    return [{"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": IDS}}]


def _query(route: Route, schemas: dict[str, Any]) -> list[object]:
    schema = _schema(route.query, schemas)
    found: list[object] = []
    for name, given in schema.get("properties", {}).items():
        field = _without_null(given)
        text = field.pop("description", "")
        item = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field}
        found.append({**item, "description": text} if text else item)
    return found


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a parameter that can be left out, but cannot be null."""
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "title", "default")}
    choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    return {**(choices[0] if choices else {}), **rest}


def _headers(headers: Mapping[str, str]) -> list[object]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in headers.items()
    ]


def _answer(outcome: Any, schemas: dict[str, Any]) -> dict[str, object]:
    made: dict[str, object] = {"description": outcome.text}
    if outcome.shape is not None:
        made["content"] = {outcome.media: {"schema": _reference(outcome.shape, schemas)}}
    elif outcome.media != "application/json":
        made["content"] = {outcome.media: {}}
    if outcome.headers:
        made["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in outcome.headers.items()
        }
    return made


def _problem(code: int) -> dict[str, object]:
    made: dict[str, object] = {
        "description": HTTPStatus(code).phrase,
        "content": {MEDIA: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
    }
    return {**made, "headers": RETRIES} if code in (429, 503) else made


def _reference(shape: Any, schemas: dict[str, Any]) -> dict[str, str]:
    name = shape.__name__
    if name not in schemas:
        schemas[name] = _schema(shape, schemas)
    return {"$ref": REFERENCE.format(model=name)}


def _schema(shape: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON schema of a TypedDict or a model. The schemas that it refers to are added to ``schemas``."""
    made = TypeAdapter(shape).json_schema(ref_template=REFERENCE)
    for name, inner in made.pop("$defs", {}).items():
        schemas.setdefault(name, inner)
    return made
