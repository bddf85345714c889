"""Text that is shown to a person contains no character that controls the terminal, hides text or fakes a line."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.errors import InvalidOptionError
from pgqueue.maintenance.alerting.messages import alert_tasks
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.outcome import Outcome
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import JobDead, Run
from pgqueue.text.shown import block, visible
from pgqueue.ui.cli import main
from tests.hostile_text import HOSTILE, KEPT, acts


@given(st.text(st.characters()), st.booleans())
def test_visible_text_contains_no_control_character(text, lines):
    assert not acts(visible(text, lines=lines), "\t\n" if lines else "\t")
    assert visible(visible(text, lines=lines), lines=lines) == visible(text, lines=lines)


def test_readable_characters_stay_as_they_are_and_other_characters_become_escapes():
    assert visible(KEPT) == KEPT
    assert visible("a\tb\x1b[2J\x85\u202e\n\U000e0041") == "a\tb\\x1b[2J\\x85\\u202e\\n\\U000e0041"
    assert visible("a\nb\r", lines=True) == "a\nb\\r"


def test_every_line_of_a_block_of_foreign_text_is_indented():
    assert block("a\nDEAD\x1b") == "    a\n    DEAD\\x1b"


@pytest.fixture
def lines() -> Any:
    """Yields a function that returns the lines that a logging handler of the user has written from the records of pgqueue."""
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("pgqueue")
    logger.addHandler(handler)
    yield lambda: sink.getvalue().splitlines()
    logger.removeHandler(handler)


def test_the_error_of_a_job_is_one_line_of_the_log_whatever_text_it_contains(lines):
    for error in (ValueError(HOSTILE), type(f"E{HOSTILE[:9]}\nforged", (Exception,), {})("x")):
        outcome = Outcome.dead("permanent_error", error)
        emit(JobDead(Run(1, 1, "t", "default", 1, 1), 0.1, outcome.reason, outcome.error))
    assert len(lines()) == 2
    assert not any(acts(line) for line in lines())


def test_a_traceback_in_the_log_is_indented_so_that_its_message_cannot_fake_a_line(lines):
    try:
        int(f"1{HOSTILE}")
    except ValueError:
        logging.getLogger("pgqueue").exception("a hook failed: %r", HOSTILE)
    first, *rest = lines()
    assert first.startswith("ERROR a hook failed: ")
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert not any(acts(line) for line in (first, *rest))


def test_an_error_of_the_command_line_is_cleaned(monkeypatch, capsys):
    def broken(**_: Any) -> None:
        raise InvalidOptionError(f"what {HOSTILE}", why=f"a\nb {HOSTILE}", do=HOSTILE)

    monkeypatch.setattr("pgqueue.ui.cli.commands.root", lambda words: broken)
    monkeypatch.setattr(sys, "argv", ["pgq", "jobs"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("PGQ-")
    assert all(line.startswith("  ") for line in said[1:])
    assert not any(acts(line) for line in said)


def test_a_message_of_an_alert_is_cleaned_before_it_is_sent(monkeypatch):
    sent = []
    monkeypatch.setattr(
        "pgqueue.maintenance.alerting.messages.post", lambda settings, message: sent.append(message)
    )
    [spec] = alert_tasks(AlertSettings(webhook="https://example.org/")).values()
    spec.function(alert=1, message=1, text=HOSTILE, subject="a\u202eb")
    assert sent == [{"alert": 1, "message": 1, "text": visible(HOSTILE), "subject": r"a\u202eb"}]
