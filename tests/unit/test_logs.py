"""pgqueue's own logger and handler, beside any configuration of the user, made at any moment."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from pgqueue import logs


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Handler]:
    """As under ``pgq work``, with nothing configured."""
    level, handlers = logs.LOG.level, list(logs.LOG.handlers)
    monkeypatch.setattr(logs, "_chosen", [])
    logs.LOG.handlers = []
    logs.LOG.setLevel(logging.NOTSET)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.set_up()
    [handler] = logs.LOG.handlers
    yield handler
    logs.LOG.handlers = handlers
    logs.LOG.setLevel(level)


def record() -> logging.LogRecord:
    return logging.LogRecord("pgqueue", logging.ERROR, "", 1, "text", (), None)


def test_the_logger_is_never_disabled() -> None:
    logging.config.dictConfig({"version": 1})
    assert not logs.LOG.disabled
    assert logs.LOG.isEnabledFor(logging.ERROR)


def test_its_own_handler_falls_silent_when_the_user_configures_logging_later(own: logging.Handler) -> None:
    logging.getLogger().handlers[:] = []  # also pytest's
    assert own.filter(record())
    logging.getLogger().addHandler(logging.NullHandler())
    assert not own.filter(record())
    logs.LOG.propagate = False
    try:
        assert own.filter(record())
    finally:
        logs.LOG.propagate = True


def test_a_handler_of_the_users_own_on_the_logger_takes_its_place(own: logging.Handler) -> None:
    logging.getLogger().handlers[:] = []
    theirs = logging.NullHandler()
    logs.LOG.addHandler(theirs)
    assert not own.filter(record())
    logs.LOG.removeHandler(theirs)
    assert own.filter(record())


def test_setting_up_twice_adds_nothing(own: logging.Handler) -> None:
    logs.set_up()
    assert logs.LOG.handlers == [own]
    assert logs.LOG.level == logging.INFO


def test_a_level_that_was_asked_for_goes_before_the_users(own: logging.Handler) -> None:
    logs.LOG.setLevel(logging.ERROR)
    logs.set_up()
    assert logs.LOG.level == logging.ERROR
    logs.choose(logging.DEBUG)
    logs.choose(None)
    logs.set_up()
    assert (logs.LOG.level, logs.chosen()) == (logging.DEBUG, logging.DEBUG)
