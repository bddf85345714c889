"""Errors are grouped by their fingerprint: the class, and the innermost frame of the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from tests.command_line import Done
from tests.factories import add_jobs, look
from tests.worker_by_hand import Hand

HEAD = "Traceback (most recent call last):\n"
OWN = '  File "/srv/{}/shop/billing.py", line {}, in charge\n    pay(1)\n'
LIBRARY = (
    '  File "/srv/x/.venv/lib/python3.12/site-packages/httpx/_client.py", line 9, in send\n    raise x\n'
)
PGQUEUE = '  File "/srv/x/pgqueue/worker/running/call.py", line 51, in perform\n    call()\n'
STDLIB = '  File "/usr/lib/python3.12/json/decoder.py", line 353, in raw_decode\n    raise x\n'
FROZEN = '  File "<frozen importlib._bootstrap>", line 1, in _find\n'


def origin(db: Connection[Any], error: str, traceback: str | None = None) -> str:
    [(found,)] = db.execute("select pgqueue.error_origin(%s, %s)", [error, traceback])
    return str(found)


def fail(db: Connection[Any], hand: Hand, error: Exception, *, dead: bool = True) -> int:
    [job] = add_jobs(db)
    [attempt] = hand.claim()
    try:
        raise error  # noqa: TRY301
    except Exception as raised:  # noqa: BLE001
        outcome = Outcome.dead("permanent_error", raised) if dead else Outcome.retried(3600.0, raised)
    assert hand.settle(attempt, outcome)
    return job


@pytest.mark.parametrize(
    ("error", "traceback", "expected"),
    [
        ("ValueError: no 7", HEAD + PGQUEUE + OWN.format("a", 3) + LIBRARY, "ValueError in charge (shop/billing.py)"),
        ("ValueError: no 8", HEAD + OWN.format("b", 99) + STDLIB + FROZEN, "ValueError in charge (shop/billing.py)"),
        ("httpx.ReadTimeout", HEAD + LIBRARY, "httpx.ReadTimeout"),
        ("ValueError: no", None, "ValueError"),
        ("KeyError: 'a'", HEAD + '  File "/srv/cause.py", line 1, in cause\n' + "\nDuring handling …\n\n" + HEAD + OWN.format("a", 1), "KeyError in charge (shop/billing.py)"),
        ("ValueError: deep", HEAD + OWN.format("a", 1) + LIBRARY * 60, "ValueError in charge (shop/billing.py)"),
        ("OSError: win", HEAD + '  File "C:\\srv\\shop\\mail.py", line 1, in send\n', "OSError in send (shop/mail.py)"),
        ("worker 17 (box-3, pid 99) died or lost its lease while it ran this job", None, "worker … … died or lost its lease while it ran this job"),
        ("E: " + "x" * 100_000, "y" * 16_000, "E"),
        ("E" * 128 + ": why", None, "E" * 128),
        ("E" * 129 + ": why", None, "E" * 120),
        ("E" * 128 + ": why", HEAD + OWN.format("a", 3), "E" * 128 + " in charge (shop/billing.py)"),
        ("E" * 129 + ": why", HEAD + OWN.format("a", 3), "E" * 120),
        ("Not a class", HEAD + OWN.format("a", 3), "Not a class"),
        ("E   \n", None, "E"),
    ],
)  # fmt: skip
def test_an_origin_is_the_class_and_the_innermost_frame_of_the_application(
    db: Connection[Any], error: str, traceback: str | None, expected: str
) -> None:
    assert origin(db, error, traceback) == expected


def test_a_real_traceback_has_the_frame_of_the_handler(db: Connection[Any], hand: Hand) -> None:
    fail(db, hand, ValueError("no"))
    [group] = run(db, statements.list_errors())
    assert group.origin == "ValueError in fail (stages/test_error_groups.py)"


def test_errors_are_counted_by_their_origin_and_the_dead_jobs_too(db: Connection[Any], hand: Hand) -> None:
    for number in range(3):
        fail(db, hand, ValueError(f"bad {number}"))
    last = fail(db, hand, KeyError("k"), dead=False)
    db.execute("update pgqueue.transitions set at = at - interval '2 h' where error like '%bad 0'")
    latest, former = run(db, statements.list_errors())
    assert (latest.in_hour, latest.in_day, latest.in_week, latest.dead, latest.job_id) == (1, 1, 1, 0, last)
    assert (former.in_hour, former.in_day, former.in_week, former.dead) == (2, 3, 3, 3)
    assert (former.error, former.tasks, former.queues) == ("ValueError: bad 2", ["t"], ["default"])
    assert former.read_since is None
    assert len(run(db, statements.list_dead_of_error(former.fingerprint))) == 3
    assert [one.error for one in run(db, statements.list_failures(former.fingerprint, count=2))] == [
        "ValueError: bad 2", "ValueError: bad 1",
    ]  # fmt: skip
    assert run(db, statements.list_errors(former.fingerprint)) == [former]


def test_a_list_that_has_not_read_all_failures_says_since_when_it_counts(
    db: Connection[Any], hand: Hand
) -> None:
    for _ in range(3):
        fail(db, hand, ValueError("no"))
    [group] = run(db, statements.list_errors(most=2))
    assert group.in_week == 2
    assert group.read_since is not None


def test_dead_jobs_are_grouped_when_their_transitions_are_gone(db: Connection[Any], hand: Hand) -> None:
    job = fail(db, hand, ValueError("no"))
    db.execute("delete from pgqueue.transitions")
    [group] = run(db, statements.list_errors())
    assert (group.in_week, group.dead, group.job_id) == (0, 1, job)


def test_failures_are_read_from_the_end_of_large_tables(db: Connection[Any]) -> None:
    db.execute(
        "insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason, error, at)"
        " select i, 1, 1, 'running', 'dead', 'failed', 'E' || mod(i, 2) || ': x', now() - make_interval(secs => 30000 - i)"
        " from generate_series(1, 30000) i"
    )
    found = run(db, statements.list_errors(most=1000))
    assert sorted((group.origin, group.in_week) for group in found) == [("E0", 500), ("E1", 500)]
    assert {group.job_id for group in found} == {29_999, 30_000}


def test_a_reader_can_list_errors(granted: Callable[..., str], db: Connection[Any], hand: Hand) -> None:
    fail(db, hand, ValueError("no"))
    with psycopg.connect(granted("reader"), autocommit=True) as reader:
        [group] = run(reader, statements.list_errors())
        assert run(reader, statements.list_failures(group.fingerprint))


def test_pgq_errors_lists_shows_and_retries_a_group(
    pgq: Callable[..., Done], db: Connection[Any], hand: Hand, app: App
) -> None:
    jobs = [fail(db, hand, ValueError("no")) for _ in range(2)]
    other = fail(db, hand, KeyError("k"))
    listed = {item["origin"].split(" ")[0]: item for item in pgq("errors", "list", "--json").items}
    fingerprint = listed["ValueError"]["fingerprint"]
    assert [row[0] for row in pgq("errors", "list").rows] == [listed["KeyError"]["fingerprint"], fingerprint]
    shown = pgq("errors", "show", fingerprint[:8])
    assert (shown.code, "in fail" in shown.out, "Traceback" in shown.out) == (0, True, True)
    assert pgq("errors", "retry", fingerprint, "--dry-run").code == 0
    assert look(db, jobs[0]) == "dead"
    done = pgq("errors", "retry", fingerprint, "--json")
    assert sorted(item["id"] for item in done.items) == jobs
    assert [look(db, job) for job in (*jobs, other)] == ["pending", "pending", "dead"]
    assert "no job of this group is dead" in pgq("errors", "retry", fingerprint).err
    assert pgq("errors", "show", "nothing").code == 5
