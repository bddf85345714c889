"""What a route, a call of it and its answer are. ``routes.py`` declares each route once, as a ``Route``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.api.service import Service

M = TypeVar("M", bound=BaseModel)


class Shape(BaseModel):
    """The base of all bodies and queries: types are not converted, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NoQuery(Shape):
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is sent as JSON. ``content`` None: the answer has no body."""

    content: object
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed all checks. ``query`` and ``body`` are of the types that the route declares.

    ``prefix``: the path of the API, as the caller must send it: the path under which the app is mounted, and ``/api/v1``.
    """

    service: Service
    who: Who
    request: Request
    prefix: str
    job_id: int
    query: BaseModel
    body: BaseModel | None

    def asks(self, kind: type[M]) -> M:
        """Returns the query, which is of the type ``kind``."""
        assert isinstance(self.query, kind)
        return self.query

    def sends(self, kind: type[M]) -> M:
        """Returns the body, which is of the type ``kind``."""
        assert isinstance(self.body, kind)
        return self.body

    def url(self, path: str) -> str:
        return self.prefix + path


Run = Callable[[Call], Awaitable[Answer | Response]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One of the answers of a route, for the document. ``shape``: a TypedDict; None: no JSON body."""

    text: str
    shape: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route: from this declaration come the routing, the checks of a request, and its part of the OpenAPI document.

    ``role``: the role that a caller needs. ``largest``: the largest number of bytes of a body. ``problems``: the codes of errors that this
    route has besides those that every route has.
    """

    method: str
    path: str
    name: str
    text: str
    run: Run
    answers: Mapping[int, Outcome]
    role: Role = Role.viewer
    query: type[Shape] = NoQuery
    body: type[Shape] | None = None
    largest: int = 0
    problems: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # request headers that the document names

    @property
    def has_id(self) -> bool:
        return "{id}" in self.path

    @property
    def act(self) -> str:
        """What a caller may not do, if its role is too low: ``cancel a job``."""
        return self.text[:1].lower() + self.text[1:].rstrip(".")
