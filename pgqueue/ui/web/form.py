"""Reads the form that a page sends. A form is small, so its size and its number of fields have limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from pgqueue.errors import InvalidOptionError
from pgqueue.text.values import is_storable, shown

LARGEST = 64 * 1024  # bytes
MOST_FIELDS = 1000
LONGEST_FIELD = 1000  # characters


@dataclass(frozen=True, slots=True)
class Form:
    fields: Mapping[str, Sequence[str]]

    def one(self, name: str) -> str:
        """Returns the value of a field; empty if the form has no such field."""
        return self.fields.get(name, ("",))[0].strip()

    def ids(self, name: str = "id") -> list[int]:
        """Returns the ids in all fields of this name. Raises InvalidOptionError if one of them is none."""
        found = []
        for value in self.fields.get(name, ()):
            if not (value.isascii() and value.isdecimal() and len(value) < 20 and 0 < int(value) < 2**63):
                raise InvalidOptionError(f"{shown(value)} is no id.", do="go back, and tick rows")
            found.append(int(value))
        return found

    def id(self, name: str) -> int:
        """Returns the id in this field. Raises InvalidOptionError if there is none."""
        found = self.ids(name)
        if not found:
            raise InvalidOptionError(f"The form has no field {name}.", do="go back, and try it again")
        return found[0]

    def back(self) -> str:
        """Returns the path of the page from which the form came, inside this app. A form cannot lead to another server."""
        path = self.one("back")
        is_inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
        return path if is_inside else "/"


async def read_form(request: Request) -> Form:
    """Reads the body of the request. Raises InvalidOptionError if it is no form of a page."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidOptionError(
            f"The request has the content type {shown(kind)}.", do="send a form, or use the HTTP API"
        )
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise InvalidOptionError("The form is too large.", do="tick fewer rows, or use a search")
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            max_num_fields=MOST_FIELDS,
            errors="strict",
            encoding="utf-8",
        )
    except ValueError:
        raise InvalidOptionError("The form cannot be read.", do="go back, and try it again") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if len(value) > LONGEST_FIELD or not is_storable(value):
            raise InvalidOptionError(f"The field {shown(name)} cannot be stored.", do="use a shorter text")
        fields.setdefault(name, []).append(value)
    return Form(fields)
