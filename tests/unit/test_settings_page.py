"""The tables of ``docs/rules/settings.md`` agree with the definitions of the settings in the code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pgqueue.config import ShowSettings, WorkerSettings
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.setting import settings_of

PAGE = Path(__file__).parents[2] / "docs/rules/settings.md"


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def worker_rows() -> Iterable[str]:
    for name, said in settings_of(WorkerSettings).items():
        option = ", ".join(code(flag) for flag in said.flags or (said.flag,))
        allowed = ", ".join(map(code, said.words)) or said.range_text
        yield row(
            option,
            code(name if said.in_file else ""),
            said.default_text,
            allowed,
            said.help.replace("*", "\\*"),
        )


def alert_rows() -> Iterable[str]:
    for name, said in settings_of(AlertSettings).items():
        yield row(code(name), code(f"PGQUEUE_ALERTS_{name.upper()}"), said.default_text, said.help)


def show_rows() -> Iterable[str]:
    for name, said in settings_of(ShowSettings).items():
        yield row(code(name), code(f"PGQUEUE_{name.upper()}"), said.help)


def test_the_page_has_a_row_for_each_setting():
    page = PAGE.read_text(encoding="utf-8")
    for rows in ("\n".join(worker_rows()), "\n".join(alert_rows()), "\n".join(show_rows())):
        assert f"|\n{rows}\n\n" in page + "\n", f"write this table to {PAGE.name}:\n{rows}"
