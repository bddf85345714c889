"""Reads the parts of a request, and refuses with one sentence each part that a route did not declare."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from pgqueue.errors import InvalidRequestError
from pgqueue.text.nearest import guess
from pgqueue.text.values import is_storable, shown
from pgqueue.ui.api.strict_json import decode

M = TypeVar("M", bound=BaseModel)

# Of a body that is too large, this many bytes are read and dropped: many clients read no answer before they have sent the whole body.
DRAINED = 8_000_000
CLOSE = {"Connection": "close"}
BODY_PATIENCE = 30.0  # seconds; a body must arrive within this time
JSON_TYPE = re.compile(r"application/json\s*(;\s*charset=\"?utf-8\"?\s*)?", re.IGNORECASE | re.ASCII)
ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
LONGEST_QUERY = 8192


def read_id(text: str) -> int:
    """Returns the id in a path, which is a decimal number in it."""
    if not ID.fullmatch(text) or int(text) >= 2**63:
        raise InvalidRequestError(
            f"{shown(text)} is no job's id.", do="send the id that an enqueue has answered"
        )
    return int(text)


def read_query(request: Request, kind: type[M]) -> M:
    """Returns the query as ``kind``. A value is decoded from its text: numbers as numbers, and texts as they are."""
    if len(request.url.query) > LONGEST_QUERY:
        raise InvalidRequestError(
            "The query is too long.", do=f"send at most {LONGEST_QUERY} characters", http_code=414
        )
    given: dict[str, object] = {}
    for name, text in request.query_params.multi_items():
        field = kind.model_fields.get(name)
        if not is_storable(name + text) or "\ufffd" in name + text:
            raise InvalidRequestError("The query has a character that no job can contain.", do="send UTF-8")
        if field is not None and get_origin(_inner(field.annotation)) is list:
            listed = given.setdefault(name, [])
            assert isinstance(listed, list)
            listed.append(text)
        elif name in given:
            raise InvalidRequestError(f"The query has {shown(name)} twice.", do="send it once")
        else:
            given[name] = (
                _number(text) if field is not None and _inner(field.annotation) in (int, float) else text
            )
    return checked(kind, given, "The query")


def _inner(annotation: object) -> object:
    """Returns ``X`` of ``X | None``."""
    arguments = get_args(annotation)
    return arguments[0] if type(None) in arguments else annotation


def _number(text: str) -> object:
    """Decodes a number as JSON writes it. Other texts are returned as they are, so that the check of the type refuses them."""
    if re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    is_number = re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?", text, re.ASCII)
    return float(text) if is_number else text


async def read_body(request: Request, kind: type[M], largest: int) -> M:
    """Returns the body as ``kind``. Raises InvalidRequestError: 415 for other types, 413 for more than ``largest`` bytes, 400, or 422."""
    if "content-encoding" in request.headers or not JSON_TYPE.fullmatch(
        request.headers.get("content-type", "")
    ):
        raise InvalidRequestError(
            "The body is not sent as JSON.",
            do="send the header Content-Type: application/json, and no Content-Encoding",
            http_code=415,
        )
    return checked(kind, decode(await _received(request, largest)), "The body")


async def refuse_body(request: Request) -> None:
    """Raises InvalidRequestError if the request has a body, although its route takes none."""
    if await _received(request, 1):
        raise InvalidRequestError("This request takes no body.", do="send none")


async def _received(request: Request, largest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            async for part in request.stream():
                size += len(part)
                if size > largest + DRAINED:
                    break
                if size <= largest:
                    parts.append(part)
    except TimeoutError:
        raise InvalidRequestError(
            f"The body has not arrived within {BODY_PATIENCE:g} s.", http_code=408, headers=CLOSE
        ) from None
    except ClientDisconnect:
        raise InvalidRequestError("The client has left before its body arrived.") from None
    if size > largest:
        raise InvalidRequestError(
            f"The body has more than {largest} bytes.", do="send less", http_code=413, headers=CLOSE
        )
    return b"".join(parts)


def checked(kind: type[M], given: object, what: str) -> M:
    """Returns ``given`` as ``kind``. Raises InvalidRequestError, which names each wrong field, and for an unknown one the nearest name."""
    if not isinstance(given, dict):
        raise InvalidRequestError(f"{what} is not a JSON object.", do="send a JSON object")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    found.sort(
        key=lambda item: item["type"] != "extra_forbidden"
    )  # a wrong name is often why another one is missing
    said = [_complaint(item["type"], item["loc"], item["msg"], kind) for item in found[:20]]
    first = f"{what}: {said[0][0]}".removesuffix("?") + ("?" if said[0][0].endswith("?") else ".")
    if len(found) > 1:
        first += f" {len(found) - 1} more of its fields are wrong."
    listed = [{"at": at, "message": message} for message, at in said]
    raise InvalidRequestError(first, http_code=422, listed=listed)


def _complaint(
    word: str, where: tuple[int | str, ...], message: str, kind: type[BaseModel]
) -> tuple[str, str]:
    at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")[:200]
    name = shown(where[-1]) if where else "it"
    if word == "missing":
        return f"{at} is missing", at
    if word == "extra_forbidden":
        return (
            f"{name} is unknown; {guess(str(where[-1]), _names(kind), 'known: ' + ', '.join(_names(kind)))}",
            at,
        )
    return f"{at}: {message[:1].lower()}{message[1:]}", at


def _names(kind: type[BaseModel]) -> Iterable[str]:
    """Returns the names of all fields, those of the items of a list too."""
    names = list(kind.model_fields)
    for field in kind.model_fields.values():
        for inner in getattr(field.annotation, "__args__", ()):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names = list(inner.model_fields)
    return names
