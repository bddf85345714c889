"""Log records have a stable event and fields, and become one line of JSON, whatever they contain."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import logging.config
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from pgqueue import JobContext, JobFields, JsonFormatter, current_job
from pgqueue.telemetry import events, job_context, log, log_output
from pgqueue.telemetry.events.jobs import JobCompleted
from pgqueue.telemetry.json_lines import STANDARD, json_line
from pgqueue.telemetry.record_fields import NAMES, event_name, fields_of
from tests.hostile_text import HOSTILE, acts
from tests.unit.test_events import FACTS, samples

RESERVED = STANDARD | {"time", "level", "logger", "exception"}


class Job:
    """Stands for a running attempt."""

    def __init__(self, job_id: int = 7, secret: str = "hunter2") -> None:
        self._job_id, self._secret = job_id, secret

    def context(self) -> JobContext:
        return JobContext(self._job_id, "pay", "default", 2, 11)

    def mask(self, text: str) -> str:
        return text.replace(self._secret, "[redacted]")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Collects the records of all loggers as objects, each read back from its line of JSON."""
    found: list[dict[str, Any]] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = self.format(record)
            assert line.splitlines() == [line]
            assert not acts(line, "")
            found.append(json.loads(line))

    handler = Collecting()
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    monkeypatch.setattr(log_output.LOG, "level", logging.DEBUG)
    yield found
    logging.getLogger().removeHandler(handler)


def test_each_fact_has_an_event_of_its_own() -> None:
    names = [event_name(kind) for kind in FACTS]
    assert len(set(names)) == len(names)
    assert all(
        name.count(".") == 1 and name == name.lower() and name.isidentifier() is False for name in names
    )
    assert set(NAMES) <= set(FACTS)
    assert {"job.completed", "job.retry_scheduled", "job.dead", "lease.lost", "worker.started"} <= set(names)


def test_no_field_has_a_reserved_name_and_each_has_one_type_in_all_events() -> None:
    types: dict[str, set[type]] = defaultdict(set)
    for kind in (*log.LINES, JobCompleted):
        for fact in samples(kind):
            for name, value in fields_of(fact).items():
                assert name not in RESERVED, (kind, name)
                if value is not None:
                    types[name].add(float if type(value) is int and float in types[name] else type(value))
    mixed = {name: found for name, found in types.items() if len(found) > 1}
    assert mixed == {}


@pytest.mark.parametrize("kind", log.LINES, ids=lambda kind: kind.__name__)
def test_the_record_of_each_fact_is_a_line_of_json_with_its_event_and_its_fields(
    kind: Any, lines: list[dict[str, Any]]
) -> None:
    for fact in samples(kind):
        lines.clear()
        events.emit(fact)
        for said in lines:
            assert said["event"] == event_name(kind)
            assert {"time", "level", "logger", "message"} <= said.keys()
            expected = {name: value for name, value in fields_of(fact).items() if value is not None}
            assert {name: said[name] for name in expected} == json.loads(json.dumps(expected))
            assert dt.datetime.fromisoformat(said["time"]).tzinfo is not None


def test_hostile_text_in_a_users_record_stays_on_one_line() -> None:
    extra = {"odd": {HOSTILE: [HOSTILE]}, "event": HOSTILE}
    record = logging.makeLogRecord(
        {"msg": "got %s", "args": (HOSTILE,), "levelname": "INFO", "name": "mine", **extra}
    )
    line = JsonFormatter().format(record)
    assert line.splitlines() == [line]
    assert not acts(line, "")
    said = json.loads(line)
    assert said["message"] == f"got {HOSTILE}"
    assert said["odd"] == {HOSTILE: [HOSTILE]}


def test_values_that_are_no_json_are_shown_as_text() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise SystemExit

    loop: dict[str, Any] = {"a": Odd(), "b": {1, 2}}
    loop["self"] = loop
    assert isinstance(json.loads(json_line(loop)), dict)
    assert json.loads(json_line({"a": Odd(), "n": 1})) == {"a": "an Odd", "n": 1}
    odd = json_line(
        {"nan": float("nan"), "far": [float("-inf")], "keys": {(1, 2): 3}, "n": 1, "good": {"x": [1]}}
    )
    strictly = json.loads(odd, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert strictly == {"nan": "nan", "far": "[-inf]", "keys": "{(1, 2): 3}", "n": 1, "good": {"x": [1]}}


def test_an_exception_is_one_field_of_its_line(lines: list[dict[str, Any]]) -> None:
    try:
        int("two\nlines")
    except ValueError:
        logging.getLogger("mine").exception("failed")
    [said] = lines
    assert said["exception"].startswith("Traceback (most recent call last):\n")
    assert said["exception"].endswith(r"'two\nlines'")


# ------------------------------------------------------------------ the job of a record


def test_a_users_record_has_the_job_for_which_it_was_written(lines: list[dict[str, Any]]) -> None:
    logger = logging.getLogger("mine")

    def work(job_id: int) -> None:
        job_context.running.set(Job(job_id))  # type: ignore[arg-type]
        logger.info("within")
        assert current_job() == JobContext(job_id, "pay", "default", 2, 11)

    async def work_async() -> None:
        work(3)
        await asyncio.to_thread(logger.info, "on a thread")

    copy_context().run(work, 1)
    threads = [threading.Thread(target=work, args=[2])]
    threads[0].start()
    threads[0].join()
    asyncio.run(work_async())
    logger.info("outside")
    assert [(said["message"], said.get("job_id")) for said in lines if said["logger"] == "mine"] == [
        ("within", 1), ("within", 2), ("within", 3), ("on a thread", 3), ("outside", None),
    ]  # fmt: skip
    assert lines[0].items() >= {"task": "pay", "queue": "default", "attempt": 2, "worker_id": 11}.items()
    assert current_job() is None


def test_the_filter_works_in_a_configuration_of_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"job": {"()": "pgqueue.JobFields"}},
        "formatters": {
            "text": {"format": "%(job_id)s %(task)s %(trace_id)s %(message)s"},
            "json": {"()": "pgqueue.JsonFormatter"},
        },
        "handlers": {
            "text": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "filters": ["job"], "formatter": "text"},
            "json": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"},
        },
        "loggers": {"configured": {"handlers": ["text", "json"], "level": "INFO", "propagate": False}},
    })  # fmt: skip
    logger = logging.getLogger("configured")

    def work() -> None:
        job_context.running.set(Job())  # type: ignore[arg-type]
        logger.info("within")

    copy_context().run(work)
    logger.info("outside")
    within, in_json, outside, _ = capsys.readouterr().out.splitlines()
    assert (within, outside) == ("7 pay None within", "None None None outside")
    assert json.loads(in_json)["job_id"] == 7


def test_a_field_that_a_record_already_has_stays() -> None:
    record = logging.makeLogRecord({"task": "mine"})
    assert JobFields().filter(record)
    assert record.__dict__["task"] == "mine"


def test_the_secret_values_of_a_job_are_masked_in_pgqueues_own_records(lines: list[dict[str, Any]]) -> None:
    from pgqueue.telemetry.events.users import HookFailed

    def work() -> None:
        job_context.running.set(Job())  # type: ignore[arg-type]
        events.emit(HookFailed("hook", "pay:on_dead", 7, ValueError("hunter2")))

    copy_context().run(work)
    assert "hunter2" not in json.dumps(lines)
    assert lines[0]["error"] == "ValueError: [redacted]"


# ------------------------------------------------------------------ pgqueue's own handlers


@pytest.mark.parametrize("name", ["auto", "text", "json"])
def test_pgqueues_handlers_write_in_the_chosen_format(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_output, "_formats", [name])
    monkeypatch.setattr(log_output, "_chosen", [logging.INFO])
    for logger in (log_output.LOG, log_output.POOLS, logging.getLogger()):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "level", logging.WARNING)
    log_output.set_up()
    log_output.set_up()

    def work() -> None:
        job_context.running.set(Job())  # type: ignore[arg-type]
        logging.getLogger("mine").warning("hello\nERROR forged")
        log_output.LOG.warning("ours")

    copy_context().run(work)
    said = capsys.readouterr().err.splitlines()
    if name == "json":
        assert [(one["logger"], one["job_id"]) for one in map(json.loads, said)] == [
            ("mine", 7),
            ("pgqueue", 7),
        ]
    elif name == "text":
        assert said[0].endswith(r"WARNING mine: hello\nERROR forged [job 7, pay]")
        assert said[1].endswith("WARNING ours")
        assert len(said) == 2
    else:
        assert said[-1].endswith("WARNING ours")


def test_the_code_of_the_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/logging.md").read_text(encoding="utf-8")
    by_dict, by_hand, for_structlog, kept, callback = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    for logger in (logging.getLogger(), logging.getLogger("shop")):
        for name in ("handlers", "level"):
            monkeypatch.setattr(logger, name, getattr(logger, name))
    namespace: dict[str, Any] = {}

    def work() -> None:
        job_context.running.set(Job())  # type: ignore[arg-type]
        exec(by_dict, namespace)
        logging.getLogger("shop").info("paid")
        exec(by_hand, namespace)
        logging.getLogger("shop").warning("paid twice")
        exec(for_structlog, namespace)
        exec(kept, {"__name__": "page"})
        exec(callback, namespace)
        assert namespace["app"].callbacks["failed"] == [namespace["tell"]]
        assert namespace["add_job"](None, "", {"a": 1}) == {"a": 1, "job_id": 7, "task": "pay", "attempt": 2}

    before = list(logging.getLogger("shop").handlers)
    try:
        copy_context().run(work)
    finally:
        logging.getLogger("shop").handlers[:] = before
    said = capsys.readouterr().err
    assert "INFO shop [job 7] paid\n" in said
    assert "WARNING job=7 task=pay paid twice\n" in said
    assert namespace["add_job"](None, "", {}) == {}
