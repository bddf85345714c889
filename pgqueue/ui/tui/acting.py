"""The actions of the dashboard: asks the person, does what the person wants, and keeps what can be undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import psycopg

from pgqueue.database.outage import one_line
from pgqueue.database.statements import Who as Actor
from pgqueue.errors import PgQueueError
from pgqueue.ui.acting.acts import ACTS
from pgqueue.ui.acting.form import Form
from pgqueue.ui.tui.asking import Asking, question
from pgqueue.ui.tui.source import Lost, Source

Ask = Callable[[Asking], Awaitable[Mapping[str, str] | None]]


class Acting:
    """``ask``: shows a question and returns its answer. ``say``: shows a sentence."""

    def __init__(self, source: Source, actor: Actor, ask: Ask, say: Callable[[str], None]) -> None:
        self._source, self._actor, self._ask, self._say = source, actor, ask, say
        self._is_busy = False
        self._undoable: int | None = None  # the row of the audit of the last action

    def undo(self) -> Form | None:
        """Returns the form that undoes the last action. None: there is nothing to undo."""
        if self._undoable is None:
            return None
        return Form({"action": ["undo"], "audit": [str(self._undoable)]})

    async def act(self, form: Form) -> bool:
        """Asks, and does the action. Says what was done, or what went wrong. Returns whether something was done."""
        if self._is_busy:
            self._say("The last action has not ended yet.")
            return False
        self._is_busy = True
        try:
            return await self._act(form)
        except (PgQueueError, psycopg.Error, OSError, Lost) as error:
            self._say(one_line(error))
            return False
        finally:
            self._is_busy = False

    async def _act(self, form: Form) -> bool:
        chosen = ACTS[form.one("action")]
        preview = await self._source.preview(form, self._actor)
        if preview is not None and not preview.changes:
            self._say(f"{chosen.label}: no job would be changed.")
            return False
        given = await self._ask(question(chosen, form, preview))
        if given is None:
            return False
        self._say(f"{chosen.label} …")
        fields = {name: [value.strip()] for name, value in given.items()}
        wanted = Form({**form.fields, **fields, "confirmed": ["yes"]})
        self._undoable, text = await self._source.act(wanted, self._actor)
        self._say(text + (".  U: undo" if self._undoable else "."))
        return True
