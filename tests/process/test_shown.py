"""Text that comes from jobs is shown with escapes in the place of its control characters, so that it cannot control the terminal."""

from __future__ import annotations

import json

import pytest

from pgqueue.model.outcome import Outcome
from tests.command_line import on_terminal, pgq, shop
from tests.hostile_text import HOSTILE, acts
from tests.worker_by_hand import Hand

BAD = HOSTILE.replace("\ud800", "")


@pytest.fixture
def job(db) -> int:
    """Makes a dead job with hostile arguments, tag, meta, error and traceback, and returns its id."""
    options = {"tags": [BAD[:20]], "meta": {"x": BAD}, "max_attempts": 1}
    [(job_id,)] = db.execute(
        "select id from pgqueue.enqueue('greet', %s, %s)", [json.dumps({"name": BAD}), json.dumps(options)]
    ).fetchall()
    hand = Hand(db, ["greet"])
    try:
        int(BAD)
    except ValueError as error:
        hand.settle(hand.claim(1)[0], Outcome.dead("permanent_error", error))
    db.execute("insert into pgqueue.limits (key, per_key, concurrency) values (%s, true, 1)", [BAD[:60]])
    return job_id


COMMANDS = (["jobs", "list"], ["jobs", "show", "{job}"], ["why", "{job}"], ["limits", "list"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_writes_control_characters_that_come_from_a_job(job, dsn, tmp_path, words):
    words = [word.format(job=job) for word in words]
    piped = pgq(*words, cwd=tmp_path, dsn=dsn)
    assert piped.returncode == 0, piped.stderr
    assert not acts(piped.stdout + piped.stderr, "\t\n")
    assert not any(line.startswith("2026-11-29 CRITICAL") for line in piped.stdout.splitlines())
    seen = on_terminal(words, tmp_path, dsn, NO_COLOR="1", COLUMNS="400")
    assert not acts(seen, "\t\n\r\x1b"), "all escape characters were written by rich"
    assert "\x1b]0;" not in seen
    assert "\x1b[2J" not in seen


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_write_characters_outside_ascii_as_escapes_if_the_output_can_only_encode_ascii(
    job, dsn, tmp_path, words
):
    environment = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = pgq(*[word.format(job=job) for word in words], cwd=tmp_path, dsn=dsn, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert done.stdout.isascii()


def test_the_error_of_a_job_is_one_line_in_the_log_of_its_worker(dsn, db, tmp_path):
    shop(tmp_path)
    db.execute(
        "select pgqueue.enqueue('fussy', %s, '{\"max_attempts\": 1}')", [json.dumps({"value": f"Ü{BAD}"})]
    )
    done = pgq(
        "work", "-A", "shop:app", "--drain", cwd=tmp_path, dsn=dsn,
        env={"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "is dead" in done.stderr
    assert "Traceback" not in done.stderr
    assert not acts(done.stderr, "\n")
    assert done.stderr.isascii()
