"""What stands over the page for a moment: a question before an action, the field of a search, the list of keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from pgqueue.text.shown import visible
from pgqueue.ui.acting.acts import Act
from pgqueue.ui.acting.doing import about_of, heading_of, refused_of, text_of
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.operations import Preview
from pgqueue.ui.reading.text import fitted

LONGEST = 200  # characters of a field
COLUMNS = 3  # of the list of keys


class Asking(ModalScreen[Mapping[str, str] | None]):
    """Asks for a yes, or for the values of fields. Its answer: the values by name; None: the person does not want it."""

    DEFAULT_CSS = """
    Asking { align: center middle; }
    Asking > Vertical { width: 76; max-width: 100%; height: auto; max-height: 100%; border: round $foreground; padding: 0 1; }
    Asking Static { height: auto; }
    """

    def __init__(
        self, heading: str, texts: Sequence[str] = (), asks: Sequence[tuple[str, str]] = (), values: Mapping[str, str] | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        self._heading, self._texts, self._asks, self._values = heading, texts, asks, values or {}

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text(self._heading, "bold"), markup=False)
            for text in filter(None, self._texts):
                yield Static(Text(visible(text)), markup=False)
            for name, label in self._asks:
                yield Static(Text(label, "dim"), markup=False)
                yield Input(self._values.get(name, ""), id=name, max_length=LONGEST, compact=True)
            keys = "Enter: yes   Escape: no" if self._asks else "y: yes   n: no"
            yield Static(Text(keys, "dim"), markup=False)

    def on_mount(self) -> None:
        self.query("Input").focus()

    def on_input_submitted(self) -> None:
        fields = list(self.query(Input))
        at = next((number for number, one in enumerate(fields) if one.has_focus), 0)
        if at + 1 < len(fields):
            fields[at + 1].focus()
        else:
            self.dismiss({one.id or "": one.value for one in fields})

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" or (event.key in ("n", "q") and not self._asks):
            self.dismiss(None)
        elif event.key in ("y", "Y") and not self._asks:
            self.dismiss({})


def question(chosen: Act, form: Form, preview: Preview | None) -> Asking:
    """Returns the question before an action."""
    counts = (
        ", ".join(f"{number:,} {state}" for state, number in sorted(preview.counts.items()))
        if preview
        else ""
    )
    texts = [about_of(form), counts, text_of(preview), refused_of(preview)]
    return Asking(heading_of(chosen, preview), texts, chosen.asks)


class Keys(ModalScreen[None]):
    """Shows all keys until a key is pressed."""

    DEFAULT_CSS = Asking.DEFAULT_CSS.replace("Asking", "Keys")
    AUTO_FOCUS: ClassVar[str | None] = ""

    def __init__(self, keys: Sequence[tuple[str, str]], note: str) -> None:
        super().__init__()
        self._keys, self._note = keys, note

    def compose(self) -> ComposeResult:
        rows = -(-len(self._keys) // COLUMNS)
        lines = []
        for row in range(rows):
            cells = [f"{fitted(key, 6)} {fitted(what, 16)}" for key, what in self._keys[row::rows]]
            lines.append(" ".join(cells).rstrip())
        with Vertical():
            yield Static(Text("Keys", "bold"), markup=False)
            yield Static(Text("\n".join(lines)), markup=False)
            yield Static(Text(self._note, "dim"), markup=False)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss(None)
