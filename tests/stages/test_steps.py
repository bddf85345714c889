"""Steps of handlers on the loop, on threads and in child processes: each is done once, and an attempt that runs again gets its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.config import WorkerSettings
from pgqueue.sql import Statement
from pgqueue.worker import steps
from pgqueue.worker.worker import Worker
from tests import noted_runs
from tests.apps import step_tasks
from tests.apps.step_functions import notes
from tests.apps.step_tasks import app
from tests.factories import look, reasons
from tests.proxy import proxy_to

WAYS = [
    ("pages_async", "async"), ("gathered", "async"), ("gathered", "thread"), ("pages", "thread"), ("threaded", "thread"),
    ("pages", "process"), ("pages_async", "process"), ("gathered", "process"), ("threaded", "process"),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers. The app of ``step_tasks`` uses the test's database."""
    with noted_runs.noted(app, tmp_path, dsn, monkeypatch) as path:
        yield path


def drain(executor: str = "thread", **settings: Any) -> None:
    noted_runs.drain(app, step_tasks.PATH, executor, **settings)


def enqueue(task: str, **args: Any) -> int:
    return app.tasks[task].enqueue(**args).id


@pytest.mark.parametrize(("task", "executor"), WAYS)
def test_a_step_is_done_once_and_its_value_comes_back_in_the_next_attempt(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, count=3)
    drain(executor)
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    said = notes(path)
    fetched = sorted(n for what, n in said if what == "fetch")
    got = [value for what, value in said if what == "got"]
    names = 2 if task == "gathered" else 1
    assert fetched == sorted([1, 2, 3] * names)
    assert got == [[["Page", n, n] for n in (1, 2, 3)] * names] * 2


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_the_jobs_of_a_chunk_take_steps_of_their_own(path: Path, db: Connection[Any], executor: str) -> None:
    jobs = [enqueue("chunked") for _ in range(3)]
    drain(executor)
    assert [look(db, job_id, "state, result") for job_id in jobs] == [("completed", 1)] * 3
    assert notes(path) == [["fetch", 1]] * 3


@pytest.mark.parametrize(
    ("task", "how", "said"),
    [
        *[("wrong", how, said) for how, said in {
            "twice": "DuplicateStepError: PGQ-612", "large": "StepTooLargeError: PGQ-613", "not json": "StepRefusedError: PGQ-614",
            "nul": "StepRefusedError: PGQ-614", "wrong type": "StepRefusedError: PGQ-614", "async": "StepRefusedError: PGQ-614",
        }.items()],
        ("wrong_async", "twice", "DuplicateStepError: PGQ-612"),
        ("wrong_async", "blocking", "StepRefusedError: PGQ-614"),
    ],
)  # fmt: skip
def test_a_step_that_can_never_succeed_makes_its_job_dead_at_once(
    path: Path, db: Connection[Any], task: str, how: str, said: str
) -> None:
    job_id = enqueue(task, how=how)
    drain("async")
    assert look(db, job_id, "state, attempt") == ("dead", 1)
    assert said in look(db, job_id, "last_error")
    assert reasons(db, job_id)[-1][-1] == "bad_step"
    kept = db.execute("select count(*) from pgqueue.checkpoints").fetchone()
    assert kept == ((1,) if how == "twice" and task == "wrong" else kept)


# ---------------------------------------------------------------- what is stored, and what is counted


def test_a_step_costs_one_statement_and_a_first_attempt_reads_nothing(
    path: Path, db: Connection[Any]
) -> None:
    sent = sent_by(enqueue, "pages", count=4)
    assert sent.count("store_checkpoint") == 8 - 4, "the second attempt stores nothing"
    assert sent.count("store_checkpoints") == 0
    assert sent.count("load_checkpoints") == 1, "only the second attempt reads, and it reads once"


def sent_by(enqueue: Callable[..., int], task: str, **args: Any) -> list[str]:
    """The names of the statements that the link of steps sends while the jobs of this task run."""
    enqueue(task, **args)
    return sent_by_drain()


def sent_by_drain(executor: str = "async", readers: Sequence[str] = ()) -> list[str]:
    """``readers``: the tasks of which the worker knows that their later attempts read checkpoints."""
    names: list[str] = []
    settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.1, executor=executor)
    worker = Worker(app, settings, app_path=step_tasks.PATH)
    worker._checkpointer.readers.update(readers)
    once = worker._links.steps.once

    def noting(statement: Statement[Any]) -> Any:
        names.append(statement.name)
        return once(statement)

    worker._links.steps.once = noting  # type: ignore[method-assign]
    worker.run()
    return names


@pytest.mark.parametrize(
    ("task", "executor"), [("pages_async", "async"), ("pages", "thread"), ("pages", "process")]
)
def test_the_checkpoints_of_jobs_that_are_claimed_together_are_read_by_one_statement(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    jobs = [enqueue(task, count=2) for _ in range(20)]
    db.execute("update pgqueue.jobs_live set run_at = now() + interval '1 h' where id = any(%s)", [jobs[1:]])
    read_ahead = sent_by_drain(executor)
    assert (read_ahead.count("load_ahead"), read_ahead.count("load_checkpoints")) == (0, 1)
    db.execute("update pgqueue.jobs_live set run_at = now()")
    db.execute("select pgqueue.edit(j.id, '{\"delay\": 0}') from pgqueue.jobs_live j")
    sent = sent_by_drain(executor, readers=[task])
    assert sent.count("load_ahead") < 19
    assert sent.count("load_checkpoints") == 0
    assert [look(db, job_id, "state, attempt") for job_id in jobs] == [("completed", 2)] * 20
    assert notes(path).count(["fetch", 1]) == 20


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("own", [True, False])
def test_a_place_that_an_attempt_saves_before_it_reads_is_read_although_an_older_one_was_read_ahead(
    path: Path, db: Connection[Any], executor: str, own: bool
) -> None:
    enqueue("saving_first", own=own)
    assert "load_ahead" in sent_by_drain(executor, readers=["saving_first"])
    assert notes(path) == [["read own", True]] * 2


def test_steps_of_jobs_that_run_at_the_same_time_share_statements(path: Path, db: Connection[Any]) -> None:
    sent = sent_by(enqueue, "gathered", count=20)
    assert 0 < sent.count("store_checkpoint") + sent.count("store_checkpoints") < 20


def test_a_failure_after_a_new_step_counts_as_the_first_attempt_again(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("stumbling")
    drain()
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    assert [to for _, to, _ in reasons(db, job_id)] == ["retrying"] * 5


def test_a_failure_without_a_new_step_counts(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("stuck")
    drain()
    assert look(db, job_id, "state, attempt") == ("dead", 2)
    assert reasons(db, job_id)[-1][-1] == "attempts_exhausted"


def test_none_is_stored_and_is_not_taken_for_nothing(path: Path, db: Connection[Any]) -> None:
    enqueue("nothing")
    drain()
    assert notes(path) == [["nothing"], ["got", None], ["got", None]]


@pytest.mark.parametrize("what", ["arguments", "value"])
def test_a_checkpoint_that_does_not_fit_any_longer_is_an_error_that_says_what_to_do(
    path: Path, db: Connection[Any], what: str
) -> None:
    job_id = enqueue("changing", what=what)
    drain()
    assert look(db, job_id, "state") == "dead"
    error = look(db, job_id, "last_error")
    assert "CheckpointMismatchError: PGQ-611  Step 'a' of job" in error
    assert f"pgq jobs forget-step {job_id} a; pgq jobs revive {job_id}" in error
    db.execute("select pgqueue.forget_step(%s, 'a')", [job_id])
    db.execute("select pgqueue.revive(%s)", [job_id])
    drain()
    assert look(db, job_id, "state") == "completed"


def test_a_job_has_at_most_as_many_steps_as_the_limit_says(
    path: Path, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "MOST_STEPS", 3)
    job_id = enqueue("pages", count=4)
    drain()
    assert look(db, job_id, "state") == "dead"
    assert "StepTooLargeError" in look(db, job_id, "last_error")


def test_steps_in_another_order_or_between_known_ones_get_their_own_values(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("reordered")
    drain()
    assert look(db, job_id, "state") == "completed"
    assert notes(path) == [["did", "a"], ["did", "b"], ["did", "new"], ["got", "b", "new", "a"]]


def test_a_snoozed_or_released_job_keeps_its_steps(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("snoozing")
    drain()
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    drain()
    assert look(db, job_id, "state, attempt") == ("completed", 1)
    assert notes(path) == [["did"], ["got", 1], ["got", 1]]


def test_a_step_of_a_job_that_was_asked_to_stop_stops_it(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("cancelling")
    drain(listen=False)
    assert look(db, job_id, "state") == "cancelled"
    assert notes(path) == [["did", 1]]


def test_a_step_waits_for_a_server_that_is_away_for_a_moment(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("cutting")
    drain()
    assert look(db, job_id, "state, attempt") == ("completed", 1)
    assert notes(path) == [["did", n] for n in range(3)]


def test_an_attempt_that_has_lost_its_lease_learns_it_at_its_next_step(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("robbed")
    drain()
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    assert notes(path) == [["did", 1], ["did", 2], ["lost"], ["did", 2]]


# ---------------------------------------------------------------- steps with rows of their own, and places

WITH_ROWS = [
    ("booking", "thread"),
    ("booking_async", "async"),
    ("booking", "process"),
    ("booking_async", "process"),
]


@pytest.fixture
def booked(path: Path, db: Connection[Any]) -> Callable[[], list[int]]:
    """Returns the rows that the handlers have written."""
    db.execute("create table booked (n int)")
    return lambda: [n for (n,) in db.execute("select n from booked order by 1")]


@pytest.mark.parametrize(("task", "executor"), WITH_ROWS)
def test_the_rows_of_a_step_are_committed_once_with_its_checkpoint(
    booked: Callable[[], list[int]], path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, count=3)
    drain(executor)
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    assert booked() == [1, 2, 3]
    got = [value for what, value in notes(path) if what == "got"]
    assert got == [[["Page", n, n] for n in (1, 2, 3)]] * 2
    same = db.execute(
        "select count(*) from booked b join pgqueue.checkpoints c on c.xmin = b.xmin and c.key = b.n::text and c.kind = 'effect'"
    ).fetchone()
    assert same == (3,), "each row has the transaction of its checkpoint"


def test_the_rows_of_a_step_are_rolled_back_if_the_lease_is_lost_meanwhile(
    booked: Callable[[], list[int]], db: Connection[Any]
) -> None:
    job_id = enqueue("robbed_booking")
    drain()
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    assert booked() == [2]


def test_the_rows_of_a_step_are_rolled_back_if_another_attempt_was_first(
    booked: Callable[[], list[int]], path: Path, db: Connection[Any]
) -> None:
    enqueue("overtaken_booking")
    drain()
    assert (booked(), notes(path)) == ([], [["got", 2]])


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("task", "executor"),
    [
        ("streaming", "thread"),
        ("streaming_async", "async"),
        ("streaming", "process"),
        ("streaming_async", "process"),
    ],
)
def test_a_handler_goes_on_at_the_place_that_it_has_saved_and_does_not_use_up_its_attempts(
    booked: Callable[[], list[int]], path: Path, db: Connection[Any], task: str, executor: str, own: bool
) -> None:
    job_id = enqueue(task, upto=7, own=own)
    drain(executor)
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    assert booked() == list(range(1, 8))
    assert [n for _, n in notes(path)] == [0, 2, 4, 6]


def test_a_place_that_is_not_committed_does_not_count(
    booked: Callable[[], list[int]], db: Connection[Any]
) -> None:
    job_id = enqueue("rolled_back")
    drain()
    assert look(db, job_id, "state, attempt") == ("dead", 2)


def test_a_child_that_is_killed_after_it_has_saved_its_place_does_not_use_up_the_attempts(
    path: Path, db: Connection[Any]
) -> None:
    db.execute("create table booked (n int primary key)")
    job_id = enqueue("streaming_slowly", upto=7)
    drain("process")
    assert look(db, job_id, "state") == "completed"
    assert db.execute("select count(*) from booked").fetchone() == (7,)


def test_a_place_can_be_saved_in_the_transaction_that_completes_the_job(
    booked: Callable[[], list[int]], db: Connection[Any]
) -> None:
    job_id = enqueue("saved_at_the_end")
    drain()
    assert (look(db, job_id), booked()) == ("completed", [1])


def drain_cut_at(
    word: bytes, dsn: str, monkeypatch: pytest.MonkeyPatch, executor: str, delivers: bool
) -> None:
    """Drains through a proxy that cuts a connection once, at a statement with this word, whose answer is lost."""
    with proxy_to(dsn) as proxy:
        monkeypatch.setattr(app, "_dsn", proxy.dsn)
        app.close()
        proxy.cut_at, proxy.delivers = word, delivers
        drain(executor)
        app.close()
        assert proxy.cut_at is None, "no connection was cut"


@pytest.mark.parametrize("delivers", [True, False])
@pytest.mark.parametrize(("task", "executor"), [("booking", "thread"), ("booking_async", "async")])
def test_a_commit_without_an_answer_leaves_the_rows_of_a_step_exactly_once(
    booked: Callable[[], list[int]],
    path: Path,
    db: Connection[Any],
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    delivers: bool,
    task: str,
    executor: str,
) -> None:
    """The next attempt finds the step, if the server has committed it."""
    job_id = enqueue(task, count=1)
    drain_cut_at(b"COMMIT", dsn, monkeypatch, executor, delivers)
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    assert booked() == [1]
    assert notes(path) == [["book", 1]] * (1 if delivers else 2) + [["got", [["Page", 1, 1]]]]


@pytest.mark.parametrize("delivers", [True, False])
@pytest.mark.parametrize(
    ("task", "executor"),
    [("pages", "thread"), ("pages_async", "async"), ("gathered", "async"), ("pages", "process")],
)
def test_each_step_is_done_once_if_a_batch_of_checkpoints_gets_no_answer(
    path: Path,
    db: Connection[Any],
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    delivers: bool,
    task: str,
    executor: str,
) -> None:
    """The batch is sent again, and the attempt does not notice anything."""
    job_id = enqueue(task, count=3)
    drain_cut_at(b"jsonb_to_recordset", dsn, monkeypatch, executor, delivers)
    assert look(db, job_id, "state, attempt") == ("completed", 2)
    fetched = [n for what, n in notes(path) if what == "fetch"]
    assert sorted(fetched) == sorted([1, 2, 3] * (2 if task == "gathered" else 1))
