"""The base of all errors of pgqueue."""

from __future__ import annotations

from typing import ClassVar


class PgQueueError(Exception):
    """The base of all errors of pgqueue.

    ``what``: one sentence that says what happened, with the wrong value. ``why``: the cause, if it is known. ``do``: what the user can do,
    if possible a command to paste. ``facts``: further values, each with a label.
    """

    code: ClassVar[str] = "PGQ-001"
    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, why: str = "", do: str = "", facts: dict[str, str] | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.do = do
        self.facts = facts or {}

    def __str__(self) -> str:
        more = [f"{label}: {text}" for label, text in (("why", self.why), ("do", self.do)) if text]
        return "  ".join([f"{self.code}  {self.what}", *more])

    def as_dict(self) -> dict[str, object]:
        """Returns the error as the option ``--json`` prints it."""
        return {"code": self.code, "message": self.what, "why": self.why, "do": self.do, **self.facts}
