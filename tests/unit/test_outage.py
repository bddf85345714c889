"""Tests of what an error of the driver means for a worker, and of how long the worker pauses before its next try."""

from __future__ import annotations

import logging

import psycopg
import pytest
from psycopg import errors

from pgqueue.database.outage import ConnectionLost, Outage, Trouble, is_lost, may_pass, shown_to_a_person
from pgqueue.database.sifting import is_of_a_value
from pgqueue.errors import DatabaseUnreachableError, LockedError, ReadOnlyServerError, TooManyConnectionsError
from pgqueue.runtime.clock import monotonic


@pytest.mark.parametrize(
    "error",
    [
        errors.ConnectionException("08000"),
        errors.ConnectionFailure("08006"),
        errors.AdminShutdown("57P01"),
        errors.CrashShutdown("57P02"),
        errors.CannotConnectNow("57P03"),
        errors.IdleSessionTimeout("57P05"),
        errors.TooManyConnections("53300"),
        errors.ConnectionTimeout("connection timeout expired"),
        psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"),
        psycopg.OperationalError("FATAL:  sorry, too many clients already"),
        psycopg.InterfaceError("the connection is closed"),
        DatabaseUnreachableError("The database cannot be reached."),
        TooManyConnectionsError("The server has no free connection."),
        ConnectionLost("no answer for 32 s"),
    ],
    ids=repr,
)
def test_a_lost_server_is_recognised_by_the_sqlstate_or_by_a_broken_socket(error):
    assert is_lost(error)
    assert not is_of_a_value(error)
    if isinstance(error, psycopg.Error):
        assert isinstance(shown_to_a_person(error), DatabaseUnreachableError | TooManyConnectionsError)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (errors.ObjectNotInPrerequisiteState("no replica identity"), False),
        (errors.DiskFull("53100"), False),
        (errors.LockNotAvailable("55P03"), False),
        (errors.QueryCanceled("57014"), False),
        (errors.DatabaseDropped("57P04"), False),
        (errors.ReadOnlySqlTransaction("25006"), False),
        (errors.InsufficientPrivilege("42501"), False),
        (errors.UndefinedTable("42P01"), False),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "a"'), False),
        (errors.ProgramLimitExceeded("54000"), True),
        (errors.InternalError_("invalid memory alloc request size 1073741824"), False),
        (errors.NumericValueOutOfRange("22003"), True),
        (errors.CheckViolation("23514"), True),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), True),
        (UnicodeEncodeError("latin-1", "10 €", 3, 4, "no"), True),
    ],
    ids=repr,
)
def test_other_errors_do_not_count_as_a_lost_server(error, refused):
    assert not is_lost(error)
    assert is_of_a_value(error) is refused


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (errors.DeadlockDetected(), True),
        (errors.SerializationFailure(), True),
        (errors.QueryCanceled(), True),
        (LockedError("Another transaction has locked what this needs."), True),
        (errors.DiskFull(), True),
        (errors.OutOfMemory(), True),
        (errors.IoError(), True),
        (errors.ObjectNotInPrerequisiteState(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (ReadOnlyServerError("This transaction is read-only."), True),
        (errors.ProgramLimitExceeded(), False),
        (errors.InsufficientPrivilege(), False),
        (errors.NumericValueOutOfRange(), False),
        (errors.RaiseException(), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_an_error_is_temporary_if_a_resource_is_short_or_another_transaction_is_in_the_way(error, passes):
    assert may_pass(error) is passes


@pytest.mark.parametrize("failures", [1, 2, 6, 1_100])
def test_the_pause_between_tries_grows_to_two_seconds_and_stays_there_in_a_long_outage(failures):
    trouble = Trouble("the test")
    pauses = [trouble.after(ConnectionLost()) for _ in range(failures)]
    assert pauses[0] == pytest.approx(0.1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(min(0.1 * 2 ** (failures - 1), 2.0) if failures < 6 else 2.0)
    assert Trouble("another").after(ConnectionLost()) == pauses[0]


def test_an_error_of_the_server_is_logged_once_and_the_pause_grows_with_each_try(caplog):
    caplog.set_level(logging.DEBUG, "pgqueue")
    trouble = Trouble("the claim")
    pauses = [trouble.after(errors.ObjectNotInPrerequisiteState("no\nidentity")) for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 1 < pauses[-1] <= 30
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "the claim failed: no identity (SQLSTATE 55000); next try in 0.5 s")
    ]
    trouble.after(errors.DiskFull("full"))
    assert len(caplog.records) == 2, "an error of another kind is logged"
    trouble.over()
    assert trouble.after(errors.DiskFull("full")) == pauses[0]
    assert len(caplog.records) == 2, "the same error is not logged again within a minute"


def test_a_bug_is_logged_with_a_traceback_and_an_outage_is_not_logged(caplog):
    caplog.set_level(logging.DEBUG, "pgqueue")
    Trouble("the claim").after(ConnectionLost())
    assert not caplog.records
    Trouble("the claim").after(KeyError("k"))
    [record] = caplog.records
    assert record.exc_info


def test_an_answer_to_a_statement_that_was_sent_during_an_outage_ends_the_outage(caplog):
    """A new connection would end the outage, too. But it is possible that no new connection is made: for example, if only the leader needs the failed connection, and the worker no longer leads."""
    outage, before = Outage("postgresql://h/d"), monotonic()
    outage.unreachable(ConnectionLost("no such file"), before)
    outage.answered(before)
    assert "database is back" not in caplog.text
    outage.answered(monotonic())
    outage.answered(monotonic())
    assert caplog.text.count("went away") == caplog.text.count("database is back") == 1
