"""The undo of an action with all its slices, the last one first, each in a transaction of its own."""

from __future__ import annotations

from collections import Counter

from pgqueue.database import statements
from pgqueue.database.statements import Who
from pgqueue.database.statements.actions import ActedJob
from pgqueue.errors import InvalidOptionError
from pgqueue.model.refusal import ELSEWHERE
from pgqueue.sql import Statement
from pgqueue.ui.acting.operations import Progress


class Undo:
    """The steps of one undo, without I/O, as ``Operation`` has them. ``left``: how many changes were not undone, by the reason."""

    dry_run = False

    def __init__(self, audit_id: int, who: Who) -> None:
        self.who = who
        self.progress = Progress()
        self.left: Counter[str] = Counter()
        self.open_row: int | None = None
        self._action = audit_id
        self._rows: list[int] | None = None
        self._has_slices = False

    def next_statement(self) -> Statement[object] | None:
        if self._rows is None:
            return statements.list_undoable(self._action)
        if self._has_slices and self.progress.audit_id is None:
            return statements.begin_operation("undo", {"id": self._action}, None, self.who)
        if self._rows:
            return statements.undo(self._rows[0], self.who, self.open_row)
        return None if self.open_row is None else statements.end_operation(self.open_row, self.who)

    def took(self, answer: object) -> list[ActedJob]:
        if self._rows is None:
            assert isinstance(answer, list)
            self._rows, self._has_slices = answer, len(answer) > 1
        elif self._has_slices and self.progress.audit_id is None:
            assert isinstance(answer, int)
            self.progress.audit_id = self.open_row = answer
        elif self._rows:
            assert isinstance(answer, list)
            del self._rows[0]
            return self._count(answer)
        else:
            self.open_row = None
        return []

    def failed(self, error: Exception) -> list[ActedJob]:
        if not isinstance(error, InvalidOptionError) or not self._rows:
            raise error
        del self._rows[0]
        return self._count([ActedJob(None, None, ELSEWHERE)])  # it could be undone when it was listed

    def _count(self, found: list[ActedJob]) -> list[ActedJob]:
        for one in found:
            self.progress.audit_id = self.progress.audit_id or one.audit_id
            self.progress.seen += 1
            if one.result == "undone":
                self.progress.changed += 1
            else:
                self.left[one.result] += 1
        return found
