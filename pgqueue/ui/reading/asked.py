"""What somebody asks of a page, and helpers that pages share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from pgqueue.errors import PageNotFoundError
from pgqueue.text.values import is_id

BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Asked:
    """``path``: the parts of the address that vary. ``query``: what stands behind the question mark."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def number(self, name: str, default: int | None = None) -> int | None:
        """Returns a parameter of the query that is an id; ``default`` if it is missing or is no id."""
        given = self.query.get(name, "")
        return int(given) if is_id(given) else default

    def id(self, name: str, noun: str) -> int:
        """Returns a part of the path that is an id. Raises PageNotFoundError if no row can have it."""
        given = self.path[name]
        if not is_id(given):
            raise PageNotFoundError(
                f"There is no {noun} {given[:40]!r}.", do="An id is a whole number from 1 on."
            )
        return int(given)


def path_to(*parts: object, **query: object) -> str:
    """Returns a path inside the app: ``path_to("jobs", 7)`` is ``/jobs/7``. Each part is escaped. Parameters that are None are left out."""
    path = "/" + "/".join(quote(str(part), safe="") for part in parts)
    given = {name: value for name, value in query.items() if value is not None}
    return path + ("?" + urlencode(given) if given else "")


def filled(to: str | None, row: Mapping[str, object]) -> str | None:
    """Returns a path with the values of a row in place of the names in braces. None: there is no path, or a value is missing."""
    if to is None:
        return None
    names = BRACES.findall(to)
    if any(row.get(name) is None for name in names):
        return None
    return BRACES.sub(lambda found: quote(str(row[found[1]]), safe=""), to)
