"""Reads the form that a page sends. A form is small, so its size and its number of fields have limits."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from pgqueue.errors import InvalidOptionError
from pgqueue.text.values import is_storable, shown
from pgqueue.ui.acting.form import Form

LARGEST = 64 * 1024  # bytes
MOST_FIELDS = 1000
LONGEST_FIELD = 1000  # characters


def back_of(form: Form) -> str:
    """Returns the path of the page from which the form came, inside this app. A form cannot lead to another server."""
    path = form.one("back")
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
