"""pgqueue's own logger and handler work with every logging configuration of the user, whenever the user makes it."""

from __future__ import annotations

import io
import logging
import logging.config
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgqueue.runtime.interruption import here
from pgqueue.telemetry import log_output
from pgqueue.telemetry.guard import Failure


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Handler]:
    """Yields the handler of pgqueue's logger, as ``pgq work`` sets it up if the user has not configured logging."""
    level, handlers = log_output.LOG.level, list(log_output.LOG.handlers)
    monkeypatch.setattr(log_output, "_chosen", [])
    log_output.LOG.handlers = []
    monkeypatch.setattr(log_output.POOLS, "handlers", [])
    monkeypatch.setattr(log_output.POOLS, "disabled", False)
    log_output.LOG.setLevel(logging.NOTSET)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_output.set_up()
    [handler] = log_output.LOG.handlers
    yield handler
    log_output.LOG.handlers = handlers
    log_output.LOG.setLevel(level)


def record() -> logging.LogRecord:
    return logging.LogRecord("pgqueue", logging.ERROR, "", 1, "text", (), None)


def test_the_logger_is_never_disabled() -> None:
    logging.config.dictConfig({"version": 1})
    assert not log_output.LOG.disabled
    assert log_output.LOG.isEnabledFor(logging.ERROR)


def test_pgqueues_handler_writes_no_more_lines_after_the_user_configures_logging(
    own: logging.Handler,
) -> None:
    logging.getLogger().handlers[:] = []  # removes the handler of pytest, too
    assert own.filter(record())
    logging.getLogger().addHandler(logging.NullHandler())
    assert not own.filter(record())
    log_output.LOG.propagate = False
    try:
        assert own.filter(record())
    finally:
        log_output.LOG.propagate = True


def test_pgqueues_handler_writes_no_lines_if_the_user_adds_a_handler_to_the_logger(
    own: logging.Handler,
) -> None:
    logging.getLogger().handlers[:] = []
    theirs = logging.NullHandler()
    log_output.LOG.addHandler(theirs)
    assert not own.filter(record())
    log_output.LOG.removeHandler(theirs)
    assert own.filter(record())


@pytest.mark.usefixtures("own")
def test_psycopgs_pools_write_only_their_errors_as_lines_of_pgqueue() -> None:
    logging.getLogger().handlers[:] = []
    [handler] = log_output.POOLS.handlers
    assert isinstance(handler, log_output.Own)
    handler.setStream(said := io.StringIO())
    log_output.POOLS.warning("discarding closed connection: %s", "BAD")
    log_output.POOLS.error("it broke: %s", "one\ntwo")
    log_output.LOG.addHandler(logging.NullHandler())
    log_output.POOLS.error("the user's handler does not get this line")
    logging.getLogger().addHandler(logging.NullHandler())
    log_output.POOLS.error("the user's handler gets this line")
    assert [line[30:] for line in said.getvalue().splitlines()] == [
        "ERROR   it broke: one\\ntwo",
        "ERROR   the user's handler does not get this line",
    ]


def test_a_second_set_up_of_the_log_changes_nothing(own: logging.Handler) -> None:
    log_output.set_up()
    assert log_output.LOG.handlers == [own]
    assert log_output.LOG.level == logging.INFO


def test_a_level_chosen_on_the_command_line_overrides_the_level_of_the_user(own: logging.Handler) -> None:
    log_output.LOG.setLevel(logging.ERROR)
    log_output.set_up()
    assert log_output.LOG.level == logging.ERROR
    log_output.choose(logging.DEBUG)
    log_output.choose(None)
    log_output.set_up()
    assert (log_output.LOG.level, log_output.chosen()) == (logging.DEBUG, logging.DEBUG)


class OddError(BaseException):
    """An exception of the user that is no Exception, only a BaseException."""


class Again(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log_output.LOG.error("again: %s", record.msg)


class Raising(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def handle(self, record: logging.LogRecord) -> bool:
        raise self.error


def fails(*_: object, **__: object) -> Any:
    raise OddError


def reads_an_attribute(record: logging.LogRecord) -> bool:
    return bool(record.request_id)  # type: ignore[attr-defined]


def filter_of(owner: logging.Filterer) -> None:
    owner.addFilter(reads_an_attribute)


def handled_by(handler: logging.Handler) -> None:
    logging.getLogger().addHandler(handler)


def filtered_handler() -> None:
    handler = logging.StreamHandler()
    filter_of(handler)
    handled_by(handler)


def patched(name: str) -> Callable[[], None]:
    return lambda: log_output.LOG.__dict__.update({name: fails})


# Each function breaks the logging of a process in another way.
BREAKS: dict[str, Callable[[], object]] = {
    "a filter of a handler": filtered_handler,
    "a filter of the logger": lambda: filter_of(log_output.LOG),
    "a record factory that raises": lambda: logging.setLogRecordFactory(fails),
    "a record factory that makes no record": lambda: logging.setLogRecordFactory(lambda *_, **__: None),  # type: ignore[arg-type, return-value]
    "a handler that logs again": lambda: handled_by(Again()),
    "a handler that raises": lambda: handled_by(Raising(ValueError("no"))),
    "a handler that exits": lambda: handled_by(Raising(SystemExit(3))),
    "a handler that raises a BaseException of its own": lambda: handled_by(Raising(OddError())),
    "a handler that raises an error that cannot be shown": lambda: handled_by(
        Raising(type("E", (Exception,), {"__str__": fails})())
    ),
    **{
        f"a {name} that raises": patched(name)
        for name in ("isEnabledFor", "makeRecord", "handle", "callHandlers")
    },
}


@pytest.fixture
def unbroken(own: logging.Handler, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores the logging that a test breaks."""
    monkeypatch.setattr(log_output, "_failure", Failure(log_output._failure.what))
    attributes, filters, factory = (
        dict(log_output.LOG.__dict__),
        list(log_output.LOG.filters),
        logging.getLogRecordFactory(),
    )
    yield
    logging.setLogRecordFactory(factory)
    log_output.LOG.__dict__.clear()
    log_output.LOG.__dict__.update(attributes)
    log_output.LOG.filters[:] = filters


def log_all() -> None:
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log_output.LOG, name)("a %s", name)
    log_output.LOG.log(logging.ERROR, "a line")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        log_output.LOG.exception("with a traceback")


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.usefixtures("unbroken")
def test_logging_never_raises_and_one_line_on_stderr_reports_a_configuration_that_fails(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger().handlers[:] = []
    BREAKS[broken]()
    log_all()
    log_all()
    reports = [line for line in capsys.readouterr().err.splitlines() if "log lines are lost" in line]
    assert len(reports) == (0 if "again" in broken else 1)


@pytest.mark.parametrize("stderr", ["closed", "none", "exits"])
@pytest.mark.usefixtures("unbroken")
def test_logging_never_raises_even_if_stderr_cannot_be_written(
    stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger().handlers[:] = []
    with Path("/dev/null").open("w") as stream:
        if stderr == "exits":
            stream.write = Raising(SystemExit(3)).handle  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stderr", None if stderr == "none" else stream)
        log_output.LOG.handlers[:] = [log_output.Own()]
        if stderr == "closed":
            stream.close()
        log_all()
        handled_by(Raising(SystemExit(3)))
        log_all()


@pytest.mark.usefixtures("unbroken")
def test_a_logging_handler_that_itself_logs_gets_each_line_once() -> None:
    written: list[str] = []

    class Counting(Again):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())
            super().emit(record)

    logging.getLogger().handlers[:] = [Counting()]
    log_output.LOG.error("one")
    log_output.LOG.error("two")
    assert written == ["one", "two"]


@pytest.mark.parametrize("kind", ["interrupt", "exit", "alarm"])
@pytest.mark.usefixtures("unbroken")
def test_an_exception_of_a_signal_handler_passes_through_the_log(kind: str) -> None:
    def leave(*_: object) -> None:
        raise SystemExit(7)

    def late(*_: object) -> None:
        raise TimeoutError

    handler, expected = {
        "interrupt": (signal.default_int_handler, KeyboardInterrupt), "exit": (leave, SystemExit), "alarm": (late, TimeoutError)
    }[kind]  # fmt: skip

    class Interrupted(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            signal.raise_signal(signal.SIGINT)
            return True

    former = signal.signal(signal.SIGINT, handler)
    try:
        handled_by(Interrupted())
        with pytest.raises(expected):
            log_output.LOG.error("a line")
        logging.getLogger().handlers[:] = [Raising(KeyboardInterrupt())]
        # Signals are handled only on the main thread. So on this thread, KeyboardInterrupt can only be an error of the logging handler.
        thread = threading.Thread(target=log_all)
        thread.start()
        thread.join()
        assert log_output._failure.is_said
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("unbroken")
def test_an_interruption_of_the_thread_is_raised_only_after_the_line_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []

    class Late:
        shielded = False

        def shield(self, on: bool) -> None:
            written.append(f"shield {on}")
            if not on:
                raise OddError

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())
            raise ValueError

    monkeypatch.setattr(here, "thread", Late())
    logging.getLogger().handlers[:] = [Noting()]
    with pytest.raises(OddError):
        log_output.LOG.error("a line")
    assert written == ["shield True", "a line", "shield False"]


@pytest.mark.usefixtures("unbroken")
def test_a_record_has_the_place_in_the_code_where_it_was_logged(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().addHandler(caplog.handler)
    log_output.LOG.setLevel(logging.DEBUG)
    log_all()
    assert {(record.pathname, record.funcName) for record in caplog.records} == {(__file__, "log_all")}
    assert len(caplog.records) == 7


def test_the_logger_of_a_library_never_raises_and_keeps_the_class_that_the_user_gave_it() -> None:
    class Chosen(logging.Logger):
        def handle(self, record: logging.LogRecord) -> None:
            raise OddError

    logger = Chosen("a library")
    log_output._make(logger, log_output.Guarded)
    log_output._make(logger, log_output.Guarded)
    logger.error("a line")
    assert isinstance(logger, Chosen)
    log_output.guard_others()
    assert all(
        isinstance(logging.getLogger(name), log_output.Guarded)
        for name in ("asyncio", "psycopg", "psycopg.pool")
    )
