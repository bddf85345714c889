"""``pgq explain``: what an error code means, without a network. The text is that of docs/errors.md, which the package contains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from pgqueue.errors import InvalidSettingError
from pgqueue.text.nearest import guess
from pgqueue.ui.cli.common import AsJson
from pgqueue.ui.cli.output import emit, tell

PACKAGE = Path(__file__).parents[2]
# In an installed package, the page is beside the errors. In a checkout, it is in docs/.
PAGES = (PACKAGE / "errors/errors.md", PACKAGE.parent / "docs/errors.md")
ROW = re.compile(r"\| (PGQ-\d+) \| `(\w+)` \| (-|\d+) \| (.*?) \| (.*) \|")
GROUP = re.compile(r"## (.*)")
WARNING = re.compile(r"`(\w+)`: (PGQ-\d+): (.*)")


class Entry(NamedTuple):
    code: str
    error: str
    group: str
    exit_code: int | None
    means: str
    first_step: str


def add(cli: typer.Typer) -> None:
    cli.command("explain")(explain)


def explain(
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="A code such as PGQ-204, or the name of an error.")
    ],
    as_json: AsJson = False,
) -> None:
    """Explain an error code: what it means, and what to do first."""
    known = entries()
    entry = found(code, known)
    if entry is None:
        raise InvalidSettingError(
            f"No error has the code {code[:40]!r}.",
            do=guess(
                _as_code(code),
                [one.code for one in known],
                "use a code that a message begins with, such as PGQ-204",
                most=3,
            ),
        )
    if as_json:
        emit(entry._asdict())
        return
    tell(entry.means, f"{entry.code}  ")
    facts = {
        "error": f"pgqueue.errors.{entry.error}",
        "group": entry.group,
        "exit code": entry.exit_code,
        "do first": entry.first_step,
    }
    for label, value in facts.items():
        if value not in (None, ""):
            tell(value, f"  {label:<9} ")


def found(code: str, known: list[Entry]) -> Entry | None:
    names = (_as_code(code), code.strip().lower())
    return next((one for one in known if one.code in names or one.error.lower() in names), None)


def _as_code(text: str) -> str:
    """Returns the code that was probably meant: PGQ-204 for 204, pgq204 and PGQ-204."""
    digits = re.fullmatch(r"(?:pgq)?[-_ ]?(\d{1,6})", text.strip().lower())
    return f"PGQ-{digits[1]}" if digits else text.strip().upper()


def entries() -> list[Entry]:
    """Returns all errors and warnings of the page."""
    page = next(path for path in PAGES if path.is_file()).read_text(encoding="utf-8")
    made: list[Entry] = []
    group = ""
    for line in page.splitlines():
        if match := GROUP.fullmatch(line):
            group = match[1] if match[1].endswith("Error") else ""
        elif match := ROW.fullmatch(line):
            exit_code = None if match[3] == "-" else int(match[3])
            made.append(Entry(match[1], match[2], group, exit_code, match[4], match[5].replace("`", "")))
        elif match := WARNING.fullmatch(line):
            made.append(Entry(match[2], match[1], "", None, match[3][:1].upper() + match[3][1:], ""))
    return made
