"""The keys of the dashboard: those of the web page, and an upper-case letter for each action. Shift means that the person is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgqueue.ui.acting.form import Form
from pgqueue.ui.reading.page import Action, Page
from pgqueue.ui.reading.pages import PAGES
from pgqueue.ui.tui.line import Line

# For each key: what it does, and the words of the actions (ui/acting/acts.py) of which a page has at most one.
ACTIONS: Mapping[str, tuple[str, frozenset[str]]] = {
    "R": ("retry", frozenset({"retry", "retry_workflow", "retry_batch"})),
    "C": ("cancel", frozenset({"cancel", "cancel_workflow", "cancel_batch"})),
    "D": ("delete", frozenset({"delete"})),
    "N": ("run now", frozenset({"run_now", "run_schedule"})),
    "E": ("edit", frozenset({"edit"})),
    "P": ("pause or resume", frozenset({"pause", "resume", "pause_schedule", "resume_schedule"})),
    "L": ("change a limit", frozenset({"set_limit"})),
    "X": ("remove a limit", frozenset({"remove_limit"})),
    "S": ("resolve alerts", frozenset({"resolve_alert"})),
    "U": ("undo", frozenset({"undo"})),
}
# For each page in the menu: the key after `g`.
PATHS: Mapping[str, str] = {page.key: page.path for page in PAGES if page.key}
KEYS: Sequence[tuple[str, str]] = (
    ("j k", "row down, row up"),
    ("Enter", "open the row"),
    ("Escape", "go back"),
    ("/", "search"),
    ("Tab", "next view"),
    ("x", "tick the row"),
    ("*", "tick all matches"),
    ("p", "pause updates"),
    ("q", "quit"),
)


def form_for(
    key: str, page: Page, line: Line | None, ticked: Sequence[object], *, is_all: bool
) -> Form | None:
    """Returns the form of the action that the key means here. None: the key means nothing here.

    The action is about all jobs that match the search (``is_all``), else about the ticked rows, else about the row under the cursor, and
    else about the page's subject.
    """
    words = ACTIONS[key][1]
    chosen = _among(words, line.table.selects if line is not None and line.table is not None else ())
    if chosen is not None and line is not None:
        if is_all:
            return Form({"action": [chosen.word], "all": ["yes"], "q": [page.search or ""]})
        return Form({"action": [chosen.word], "id": [str(one) for one in ticked or [line.id]]})
    if (action := _among(words, page.actions)) is not None:
        return Form({"action": [action.word], **{name: [value] for name, value in action.fields.items()}})
    return None


def _among(words: frozenset[str], actions: Sequence[Action]) -> Action | None:
    return next((action for action in actions if action.word in words), None)


def help_lines(*, can_act: bool) -> list[tuple[str, str]]:
    """Returns each key with what it does."""
    places = [(f"g {page.key}", page.menu or page.name) for page in PAGES if page.key]
    actions = [(key, what) for key, (what, _) in ACTIONS.items()] if can_act else []
    return [*KEYS, *actions, *places]
