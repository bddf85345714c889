"""The lines that a handler logs are stored with its job, if its task asks for this: ``keep_logs``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidOptionError
from pgqueue.telemetry import job_context
from pgqueue.telemetry.captured import Captured, Passing
from pgqueue.worker import job_lines
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.job_lines import LineBuffer, kept_lines
from tests.command_line import pgq
from tests.worker_by_hand import Hand

APP = """
import asyncio, logging
from dataclasses import dataclass
from typing import Annotated
from pgqueue import App, Redact

app = App()
log = logging.getLogger("shop")

@app.task(name="on_loop", keep_logs=True, retry=[0.0])
async def on_loop(key: Annotated[str, Redact]) -> None:
    log.debug("too low")
    log.info("key %s", key)
    await asyncio.to_thread(log.info, "on a thread")
    raise ValueError("again")

@app.task(name="on_thread", keep_logs="DEBUG")
def on_thread() -> None:
    log.debug("two\\nlines \\x1b[31m")
    try:
        int("x")
    except ValueError:
        log.exception("failed")

@app.task(name="in_child", keep_logs="WARNING", executor="process")
def in_child() -> None:
    log.info("too low")
    for n in range(3):
        log.warning("child %d", n)

@dataclass
class Item:
    n: int

@app.task(name="chunked", keep_logs=True, chunk=5, chunk_wait=1)
def chunked(items: list[Item]) -> None:
    log.info("%d items", len(items))

@app.task(name="silent", keep_logs=False)
def silent() -> None:
    log.error("not kept")

@app.task(name="usual")
def usual() -> None:
    log.debug("too low")
    log.info("kept if the worker keeps lines")

@app.task(name="usual_in_child", executor="process")
def usual_in_child() -> None:
    usual.spec.function()

@app.task(name="usual_chunk", executor="process", chunk=5)
def usual_chunk(items: list[Item]) -> None:
    usual.spec.function()
"""


def test_the_lines_of_a_handler_are_kept_in_every_executor(
    dsn: str, db: Connection[Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(APP)
    jobs: list[tuple[str, object, int]] = [
        ("on_loop", {"key": "CANARY"}, 2), ("on_thread", {}, 1), ("in_child", {}, 1), ("silent", {}, 1), ("chunked", {"n": 1}, 1),
        ("chunked", {"n": 2}, 1),
    ]  # fmt: skip
    ids = [
        db.execute(
            "select id from pgqueue.enqueue(%s, %s, %s)",
            [task, json.dumps(args), json.dumps({"max_attempts": most})],
        ).fetchone()[0]  # type: ignore[index]
        for task, args, most in jobs
    ]
    done = pgq("work", "-A", "mine:app", "--drain", cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0, done.stderr
    found = {job_id: run(db, statements.list_job_lines(job_id)) for job_id in ids}
    kept = [[(line.attempt, line.level, line.logger, line.text) for line in found[job_id]] for job_id in ids]
    assert kept == [
        [(n, "INFO", "shop", text) for n in (1, 2) for text in ("key [redacted]", "on a thread")],
        [
            (1, "DEBUG", "shop", "two\nlines \\x1b[31m"),
            (1, "ERROR", "shop", "failed: ValueError: invalid literal for int() with base 10: 'x'"),
        ],
        [(1, "WARNING", "shop", f"child {n}") for n in range(3)],
        [],
        [(1, "INFO", "shop", "2 items")],
        [(1, "INFO", "shop", "2 items")],
    ]
    first, second = found[ids[1]]
    assert run(db, statements.list_job_lines(ids[1], first.id)) == [second]
    assert run(db, statements.list_job_lines(ids[1], 0, 1)) == [first]
    shown = pgq("jobs", "show", str(ids[1]), "--logs", cwd=tmp_path, dsn=dsn)
    assert r"two\nlines \x1b[31m" in shown.stdout
    in_json = json.loads(pgq("jobs", "show", str(ids[2]), "--logs", "--json", cwd=tmp_path, dsn=dsn).stdout)
    assert [line["text"] for line in in_json["lines"]] == ["child 0", "child 1", "child 2"]
    assert "lines" not in json.loads(pgq("jobs", "show", str(ids[2]), "--json", cwd=tmp_path, dsn=dsn).stdout)


@pytest.mark.parametrize(("options", "expected"), [((), []), (("--keep-logs",), [(1, "INFO")])])
def test_a_worker_keeps_lines_of_all_tasks_that_do_not_say_otherwise_if_its_setting_asks_for_it(
    dsn: str, db: Connection[Any], tmp_path: Path, options: tuple[str, ...], expected: list[tuple[int, str]]
) -> None:
    (tmp_path / "mine.py").write_text(APP)
    tasks = {"usual": {}, "usual_in_child": {}, "usual_chunk": {"n": 1}, "silent": {}, "in_child": {}}
    for task, args in tasks.items():
        db.execute("select from pgqueue.enqueue(%s, %s)", [task, json.dumps(args)])
    done = pgq("work", "-A", "mine:app", "--drain", *options, cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0, done.stderr
    rows = db.execute(
        "select j.task, l.attempt, l.level from pgqueue.job_lines l join pgqueue.jobs j on j.id = l.job_id"
    ).fetchall()
    kept = {task: [(attempt, level) for of, attempt, level in rows if of == task] for task in tasks}
    assert kept == {
        **dict.fromkeys(("usual", "usual_in_child", "usual_chunk"), expected),
        "silent": [],
        "in_child": [(1, "WARNING")] * 3,
    }


def test_the_lines_go_with_their_job(db: Connection[Any]) -> None:
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    run(
        db,
        statements.add_job_lines(
            [(1, 1, 1.5, "INFO", "shop", "one"), (2, 1, 1.5, "INFO", "shop", "of a job that is gone")]
        ),
    )
    assert run(db, statements.purge_job_lines(-(2**63), 10)) == 2
    assert db.execute("select job_id, extract(epoch from at)::float8 from pgqueue.job_lines").fetchall() == [
        (1, 1.5)
    ]
    assert run(db, statements.purge_job_lines(2, 10)) is None


# ------------------------------------------------------------------ one attempt


class Keeper:
    def __init__(self) -> None:
        self.lines = LineBuffer()


@pytest.fixture
def attempt(app: App, db: Connection[Any]) -> Iterator[Attempt]:
    """Yields an attempt that runs here. Its task keeps lines."""

    @app.task(name="t", keep_logs=True)
    def t() -> None: ...

    t.enqueue()
    [claimed] = Hand(db, ["t"]).claim(1)
    claimed.spec, claimed.keeper = t.spec, Keeper()  # type: ignore[assignment]
    token = job_context.running.set(claimed)
    with kept_lines(app):
        yield claimed
    job_context.running.reset(token)


def test_too_many_lines_of_an_attempt_are_left_out(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lines, "IN_SECOND", 5)
    monkeypatch.setattr(job_lines, "IN_ATTEMPT", 8)
    logger = logging.getLogger("shop")
    for second in (1000.0, 1001.0, 1002.0):
        for n in range(10):
            logger.handle(
                logging.makeLogRecord({"name": "shop", "msg": f"{n}", "levelno": 20, "created": second})
            )
    assert attempt.keeper is not None
    found = attempt.keeper.lines.take(100)  # type: ignore[attr-defined]
    until, forever = "(there are too many lines: some are left out from here on until the next second)", "(there are too many lines: some are left out from here on)"  # fmt: skip
    assert [line.text for line in found] == ["0", "1", "2", "3", until, "0", "1", forever]


def test_a_long_line_is_cut_and_a_line_that_cannot_be_shown_says_so(attempt: Attempt) -> None:
    class Odd:
        def __str__(self) -> str:
            raise SystemExit

    for message, argument in (("%s", "x" * 100_000), ("%s", Odd()), ("%s", "a\x00b\ud800")):
        Passing(job_lines.take).emit(
            logging.LogRecord("shop", logging.WARNING, "", 1, message, (argument,), None)
        )
    logging.getLogger("pgqueue").warning("a line of pgqueue is not the handler's")
    assert attempt.keeper is not None
    long, odd, hostile = attempt.keeper.lines.take(100)  # type: ignore[attr-defined]
    assert len(long.text) < job_lines.LINE_LIMIT + 100
    assert "cannot be shown" in odd.text
    assert hostile.text == r"a\x00b\ud800"


def test_a_line_is_kept_once_if_two_workers_of_a_process_keep_lines(attempt: Attempt) -> None:
    app, mine = App(), attempt.worker_id
    with kept_lines(app, 20, lambda worker_id: worker_id != mine):
        logging.getLogger("shop").warning("once")
    assert attempt.keeper is not None
    assert [line.text for line in attempt.keeper.lines.take(9)] == ["once"]  # type: ignore[attr-defined]


def test_lines_after_the_end_of_the_attempt_are_not_kept(attempt: Attempt) -> None:
    keeper, attempt.keeper = attempt.keeper, None
    logging.getLogger("shop").warning("late")
    assert keeper is not None
    assert keeper.lines.take(10) == []  # type: ignore[attr-defined]


def test_a_buffer_that_is_full_takes_no_more_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lines, "ROOM", 2)
    buffer = LineBuffer()
    lines = [job_lines.Line(1, 1, 1.0, "INFO", "shop", str(n)) for n in range(4)]
    for line in lines:
        buffer.add([line])
    assert buffer.take(1) == lines[:1]
    buffer.give_back(lines[:1])
    assert buffer.take(10) == lines[:2]


@pytest.mark.parametrize("level", ["LOUD", 10])
def test_a_level_that_is_unknown_is_refused(level: Any) -> None:
    with pytest.raises(InvalidOptionError, match="keep_logs"):
        App().task(name="t", keep_logs=level)(lambda: None)


def test_an_argument_that_logs_when_its_text_is_made_does_not_block_the_job(attempt: Attempt) -> None:
    class Talking:
        def __str__(self) -> str:
            job_lines.take(Captured(1.0, 30, "WARNING", "shop", lambda: "inner"))
            return "outer"

    talking = Talking()
    job_lines.take(Captured(1.0, 30, "WARNING", "shop", lambda: str(talking)))
    assert attempt.keeper is not None
    assert [line.text for line in attempt.keeper.lines.take(9)] == ["inner", "outer"]  # type: ignore[attr-defined]
