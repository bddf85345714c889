"""The program of ``docs/rules/grading.md`` runs as it stands there. Its workers are killed and its model fails, but no answer is paid for twice."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.runtime import origin
from tests import checker
from tests.command_line import Done
from tests.factories import look
from tests.noted_runs import drain
from tests.process.killed_workers import expire
from tests.process.worker_processes import QUICK
from tests.receivers import serving
from tests.waiting import STARTS, wait_until

PAGE = (Path(__file__).parents[2] / "docs/rules/grading.md").read_text(encoding="utf-8")
FILES = {name: text for text, name in re.findall(r"```\w+\n((?:#|--) (\w+\.\w+)\n.*?)```", PAGE, re.DOTALL)}
COST, WAITING, APPROVAL, VERSIONS = re.findall(r"```sql\n(?!-- )(.*?)```", PAGE, re.DOTALL)
[PROMPTS] = re.findall(r"^PROMPTS = .*$", FILES["grading.py"], re.MULTILINE)
[NEW_PROMPTS] = re.findall(r"```python\n(PROMPTS = .*)\n```", PAGE)
RETRY = "retry=[1, 5, 30, 300]"
CRITERIA = ("argument", "evidence", "style")

Call = tuple[int, str]  # an essay and a criterion


def call_of(question: dict[str, str]) -> Call:
    return int(question["text"].removeprefix("The sea, part ")), question["criterion"]


def faulty(model: type) -> Any:
    """Returns a stand-in for the model that fails only where a test asks for it."""

    class Faulty(model):
        def __init__(self) -> None:
            super().__init__()
            self.calls = itertools.repeat(1)  # no call fails by itself
            self.before: Callable[[Call], int | None] = lambda call: (
                None
            )  # can return a status instead of 200
            self.after: Callable[[Call], object] = lambda call: None
            self.without_keys: set[int] = set()  # essays for which the provider knows no keys

        def answer(self, key: str, question: dict[str, str]) -> tuple[int, dict[str, int]]:
            call = call_of(question)
            if (status := self.before(call)) is not None:
                return status, {}
            if call[0] in self.without_keys:
                self.given.pop(key, None)
            answer = super().answer(key, question)
            self.after(call)
            return answer

        def handle_error(self, *_: object) -> None: ...  # the worker of a request was killed

        @property
        def paid(self) -> Counter[Call]:
            return Counter(map(call_of, self.bill))

    return Faulty()


@pytest.fixture
def model(dsn: str, db: Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yields the running stand-in for the model. The files of the page are in ``tmp_path``, its tables in the database.

    At the end of the test, the checker checks all invariants.
    """
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    db.execute(FILES["grading.sql"].encode())
    checker.install(dsn)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a test changes a file within the same second
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delitem(sys.modules, "model", raising=False)
    with serving(faulty(import_module("model").Model)) as served:
        monkeypatch.setenv("PGQUEUE_DSN", dsn)
        monkeypatch.setenv("MODEL", f"127.0.0.1:{served.server_address[1]}")
        monkeypatch.setattr(origin.handed, "dsn", dsn)
        yield served
    checker.check(dsn)


Load = Callable[..., Any]


@pytest.fixture
def load(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Returns a function that imports ``grading.py``, with these parts of its text replaced by others."""
    apps = []

    def load(edits: dict[str, str] = {}) -> Any:  # noqa: B006
        text = FILES["grading.py"]
        for old, new in edits.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / "grading.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, "grading", raising=False)
        grading = import_module("grading")
        apps.append(grading.app)
        return grading

    yield load
    for app in apps:
        app.close()


@contextmanager
def worker(folder: Path, executor: str) -> Iterator[None]:
    """Runs a worker process during the block. Then kills it by SIGKILL, whatever it does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "work", "-A", "grading", *QUICK, "--executor", executor],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(grading: Any, executor: str = "async") -> None:
    """Runs all jobs that are due, in a worker of this process."""
    drain(grading.app, "grading:app", executor)


def graded(db: Connection[Any]) -> list[tuple[int, int]]:
    """Returns the essays that wait for the approval of a person, with their cost in cents."""
    return [(essay, cents) for essay, _, cents, *_ in db.execute(WAITING.encode())]


def jobs(db: Connection[Any], task: str) -> list[tuple[int, str]]:
    return db.execute("select id, state from pgqueue.jobs where task = %s order by id", [task]).fetchall()


@pytest.mark.parametrize("executor", ["thread", "async"])
def test_a_worker_that_is_killed_between_its_calls_pays_for_no_stored_answer_again(
    model: Any, load: Load, db: Connection[Any], tmp_path: Path, executor: str
) -> None:
    """The worker is killed while the model has the last question of each essay.

    The model has not charged for the question of essay 1. It has charged for those of essays 2 and 3, whose answers have not arrived; for
    essay 3 it knows no keys.
    """
    grading = load({RETRY: "retry=[0.0] * 4"})
    killed, asked = threading.Event(), set()
    model.without_keys = {3}

    def hold(here: bool, call: Call) -> None:
        if here and call[1] == "style" and not killed.is_set():
            asked.add(call)
            killed.wait(STARTS)
            raise ConnectionAbortedError

    model.before = lambda call: hold(call[0] == 1, call)
    model.after = lambda call: hold(call[0] != 1, call)
    batch = grading.grade_all([1, 2, 3])
    stored = "select count(*) from pgqueue.steps where name = 'ask'"
    with worker(tmp_path, executor):
        wait_until(lambda: len(asked) == 3 and db.execute(stored.encode()).fetchone() == (6,), STARTS)
    killed.set()
    assert batch.progress().state == "running"
    expire(db)
    with worker(tmp_path, executor):
        wait_until(lambda: len(graded(db)) == 3, STARTS)

    once = dict.fromkeys(itertools.product((1, 2, 3), CRITERIA), 1)
    assert model.paid == {**once, (3, "style"): 2}
    progress = batch.progress()
    assert (progress.state, progress.completed) == ("completed", 3)
    first_attempts = "select count(*) from pgqueue.steps where name = 'ask' and lease_id % 2 = 1"
    assert db.execute(first_attempts.encode()).fetchone() == (6,)
    assert db.execute("select essay_id, cents from grades order by 1").fetchall() == [(1, 3), (2, 3), (3, 3)]

    # No worker is alive while a person approves the grades.
    assert graded(db) == [(1, 3), (2, 3), (3, 3)]
    assert [answer for (answer,) in db.execute(APPROVAL.encode())] == ["sent"] * 3
    run(grading, executor)
    published = db.execute("select essay_id, approved_by from published order by 1").fetchall()
    assert published == [(1, "ann"), (2, "ann"), (3, "ann")]
    assert graded(db) == []


@pytest.mark.parametrize("executor", ["thread", "async"])
def test_a_call_that_fails_is_made_again_and_the_answers_beside_it_are_kept(
    model: Any, load: Load, db: Connection[Any], executor: str
) -> None:
    grading = load({RETRY: "retry=[0.0] * 2"})
    model.without_keys = {7}
    statuses = iter([503, 503, 429])
    refused = threading.Event()  # whether the model has refused a call of this essay

    def fail(call: Call) -> int | None:
        if call[1] == "argument":
            refused.set()
            return next(statuses, None)
        refused.wait(STARTS)
        time.sleep(
            0.1
        )  # if the attempt did not wait for these answers, it would have ended before they arrive
        return None

    model.before = fail
    grading.grade_all([7])
    run(grading, executor)
    wait_until(lambda: run(grading, executor) or jobs(db, "publish"))
    assert model.paid == {(7, criterion): 1 for criterion in CRITERIA}
    [(job_id, _)] = jobs(db, "grade")
    assert look(db, job_id, "state, attempt") == ("completed", 3)
    assert db.execute("select key from pgqueue.pauses").fetchall() == [("provider",)]
    assert db.execute(COST.encode()).fetchall() == [("7", "completed", 3, 3)]


def test_the_limit_of_the_provider_counts_the_cents_of_an_essay(
    model: Any, load: Load, db: Connection[Any]
) -> None:
    """The provider allows 60 cents together, and 300 in a minute. So after a large essay, the next one starts 0.6 s later at the earliest."""
    grading = load()
    grading.grade_all([1], "large")
    run(grading)
    grading.grade_all(range(2, 4))
    wait_until(lambda: run(grading) or len(graded(db)) == 3)
    assert sum(cents for _, cents in graded(db)) == 66
    starts = [
        at for (at,) in db.execute("select started_at from pgqueue.jobs where task = 'grade' order by id")
    ]
    later = [(at - starts[0]).total_seconds() for at in starts]
    assert (later[1] >= 0.6, later[2] >= 1.2) == (True, True), later


def test_an_essay_that_has_begun_keeps_its_prompt_after_a_deploy(
    model: Any, load: Load, db: Connection[Any]
) -> None:
    old, new = eval(PROMPTS.partition("=")[2]), eval(NEW_PROMPTS.partition("=")[2])
    assert new[1] == old[1]
    model.before = lambda call: 503 if call[1] == "style" else None
    grading = load({RETRY: "retry=[3600]"})
    grading.grade_all([1, 2])
    run(grading)
    assert db.execute(VERSIONS.encode()).fetchall() == [(1, 2)]
    model.before = lambda call: None

    grading = load({PROMPTS: 'PROMPTS = {1: "Another text."}'})
    [begun, other] = [grading.app.handle(job_id) for job_id, _ in jobs(db, "grade")]
    other.edit(delay=0)
    run(grading)
    failed = other.job()
    assert failed.state == "dead"
    assert "Step ('ask', 'argument')" in failed.last_error
    assert "was done with other arguments" in failed.last_error

    grading = load({PROMPTS: NEW_PROMPTS})
    begun.edit(delay=0)
    grading.grade_all([3])
    run(grading)
    asked = {(call_of(question)[0], question["prompt"]) for question in model.bill}
    assert {pair for pair in asked if pair[0] != 2} == {(1, old[1]), (3, new[2])}
    assert graded(db) == [(1, 3), (3, 3)]


def test_the_program_grades_all_essays_although_each_fourth_call_fails_and_shows_what_it_did(
    model: Any, load: Load, db: Connection[Any], pgq: Callable[..., Done]
) -> None:
    model.calls = itertools.count(1)
    grading = load({RETRY: "retry=[0.0] * 20"})
    batch = grading.grade_all(range(1, 11))
    wait_until(lambda: run(grading) or batch.progress().unfinished == 0)
    assert batch.progress().completed == len(graded(db)) == 10
    assert model.paid == dict.fromkeys(itertools.product(range(1, 11), CRITERIA), 1)
    assert next(model.calls) > 30, "some calls failed"

    [(job_id, _), *_] = jobs(db, "grade")
    steps = {(step["name"], step["key"]) for step in pgq("jobs", "steps", str(job_id), "--json").items}
    assert steps == {("read", ""), *(("ask", criterion) for criterion in CRITERIA)}
    [points] = db.execute("select points from grades where essay_id = 1").fetchone()
    replayed = pgq("jobs", "replay", str(job_id), "--dry-run", "--yes", "-A", "grading")
    assert (replayed.code, f"cents=3, points={points}, essay_id=1" in replayed.out) == (0, True), replayed.out
    assert len(model.bill) == 30, "the replay calls no model"
    [(job_id, _), *_] = jobs(db, "publish")
    assert pgq("jobs", "signal", str(job_id), "approved", '{"by": "ann"}').code == 0
    run(grading)
    assert db.execute("select approved_by from published").fetchall() == [("ann",)]
    replayed = pgq("jobs", "replay", str(job_id), "--dry-run", "--yes", "-A", "grading")
    assert ("'wait:approved'" in replayed.out, 'approved_by="ann"' in replayed.out) == (True, True), (
        replayed.out
    )
