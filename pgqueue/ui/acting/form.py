"""The fields with which an action is asked for, wherever a person filled them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgqueue.errors import InvalidOptionError
from pgqueue.text.values import is_id, shown


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
            if not is_id(value):
                raise InvalidOptionError(f"{shown(value)} is no id.", do="go back, and tick rows")
            found.append(int(value))
        return found

    def id(self, name: str) -> int:
        """Returns the id in this field. Raises InvalidOptionError if there is none."""
        found = self.ids(name)
        if not found:
            raise InvalidOptionError(f"The form has no field {name}.", do="go back, and try it again")
        return found[0]
