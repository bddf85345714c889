"""``pgq``: what each command prints, stores and exits with."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from pgqueue.ui import cli
from tests import command_line
from tests.worker_by_hand import Hand


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def items(self) -> Any:
        return json.loads(self.out)["items"]

    @property
    def rows(self) -> list[list[str]]:
        """Of a piped table, without its head."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


@pytest.fixture
def pgq(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """``pgq …`` beside ``shop.py`` on the test's database, in this process, which is quicker than another."""
    command_line.shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in {"PGQUEUE_DSN": dsn, "PGQUEUE_APP": "shop:app"}.items():
        monkeypatch.setenv(name, value)

    def play(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["pgq", *words])
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        if "shop" in sys.modules:
            sys.modules["shop"].app.close()
        return Done(caught.value.code or 0, *capfd.readouterr())

    return play


def insert(db: Connection[Any], count: int = 1, **columns: Any) -> list[int]:
    columns = {"task": "greet", **columns}
    statement = f"insert into pgqueue.jobs ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))}) returning id"
    return [db.execute(statement.encode(), list(columns.values())).fetchone()[0] for _ in range(count)]


def bury(db: Connection[Any], job_id: int, error: str = "boom") -> None:
    hand = Hand(db, ["greet"])
    for attempt in hand.claim(100):
        outcome = (
            Outcome.dead("permanent_error", ValueError(error)) if attempt.id == job_id else Outcome.released()
        )
        hand.settle(attempt, outcome)


def state(db: Connection[Any], job_id: int) -> str:
    return db.execute("select state from pgqueue.jobs where id = %s", [job_id]).fetchone()[0]


# ------------------------------------------------------------------ help, usage


COMMANDS = [
    (), ("work",), ("dev",), ("demo",), ("enqueue",), ("migrate",), ("doctor",), ("jobs",), ("jobs", "list"),
    ("jobs", "show"), ("jobs", "retry"), ("jobs", "cancel"), ("jobs", "edit"), ("jobs", "wait"), ("queues",), ("queues", "list"),
    ("queues", "pause"), ("queues", "resume"), ("queues", "remove"), ("jobs", "count"), ("workers",), ("workers", "list"), ("alerts",),
    ("alerts", "list"), ("alerts", "resolve"), ("alerts", "mute"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_and_refuses_an_unknown_flag(pgq, words, flag):
    shown = pgq(*words, flag)
    assert (shown.code, "Usage: pgq " + " ".join(words) in shown.out) == (0, True)
    if words != ("enqueue",):  # which takes the flags of its task
        assert pgq(*words, "--no-such-flag").code == 2


GROUPS = {(), ("jobs",), ("queues",), ("workers",)}
RUN_ON = {("work",), ("dev",)}  # their output is a log


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in GROUPS | RUN_ON], ids=" ".join)
def test_every_command_that_answers_can_answer_in_json(pgq, words):
    assert "--json" in pgq(*words, "--help").out


def test_help_costs_less_than_a_second(tmp_path):
    def spent() -> float:
        """Of a processor, so that a loaded machine changes nothing."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    assert command_line.pgq("--help", cwd=tmp_path).returncode == 0
    assert spent() - before < 1.0


def test_help_imports_nothing_that_only_some_commands_need():
    loaded = "import sys, pgqueue.ui.cli.commands; print([m for m in ('sqlalchemy', 'alembic', 'pydantic', 'opentelemetry', 'pgqueue.worker', 'pgqueue.dev.demo', 'rich.console') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_library_is_imported_name_by_name():
    loaded = "import sys, pgqueue; print([m for m in ('psycopg', 'pydantic', 'tenacity', 'opentelemetry') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("typo", "meant"), [(("jbos",), "jobs"), (("jobs", "lst"), "list"), (("migrat",), "migrate")]
)
def test_a_misspelt_command_is_answered_with_the_near_one(pgq, typo, meant):
    done = pgq(*typo)
    assert (done.code, f"'{meant}'" in done.err) == (2, True)


def test_the_version_is_told(pgq):
    assert pgq("--version").out.startswith("pgqueue-jobs 0.1.0")


# ------------------------------------------------------------------ enqueue


def args(db: Connection[Any]) -> Any:
    return db.execute("select args from pgqueue.jobs order by id desc limit 1").fetchone()[0]


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (("greet", "--name", "Ada"), {"name": "Ada"}),
        (("greet", "--name=7", "--times", "3"), {"name": "7", "times": 3}),
        (("greet", "--args", '{"name": "Ada"}', "--times", "2"), {"name": "Ada", "times": 2}),
        (
            ("plan", "--at", "2031-01-01T00:00Z", "--args", '{"at": "2030-01-01T00:00:00Z"}', "--tags", '["a"]', "--loud", "true"),
            {"at": "2030-01-01T00:00:00Z", "tags": ["a"], "loud": True},
        ),
        (("echo", "--value", "12"), {"value": "12"}),
        (("echo", "--value", '{"a": 1}'), {"value": {"a": 1}}),
        (("echo", "--value", "{broken"), {"value": "{broken"}),
    ],
)  # fmt: skip
def test_arguments_are_typed_by_the_signature(pgq, db, words, stored):
    done = pgq("enqueue", *words)
    assert done.code == 0, done.err
    assert args(db) == stored


def test_enqueue_prints_the_id_and_tells_its_story_on_stderr(pgq, db):
    done = pgq("enqueue", "greet", "--name", "Ada", "--unique-key", "k", "--queue", "mail", "--priority", "-3", "--tag", "a",
               "--tag", "b", "--max-attempts", "2", "--in", "1h")  # fmt: skip
    assert done.out.strip().isdigit()
    assert "enqueued" in done.err
    row = db.execute(
        "select id, queue, priority, tags, max_attempts, run_at > now() + interval '59 minutes' from pgqueue.jobs"
    ).fetchone()
    assert row == (int(done.out), "mail", -3, ["a", "b"], 2, True)
    again = pgq("enqueue", "greet", "--name", "Bob", "--unique-key", "k", "--json")
    assert json.loads(again.out) == {
        "id": row[0],
        "created": False,
        "state": "pending",
        "conflict": "unique_key",
        "stored_result": None,
        "stored_error": None,
    }
    assert again.err == ""
    refused = pgq("enqueue", "greet", "--name", "Bob", "--unique-key", "k", "--on-conflict", "raise")
    assert (refused.code, "PGQ-406" in refused.err) == (6, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("greet",), 2, "name is missing"),
        (("greet", "--name"), 2, "--name has no value"),
        (("greet", "Ada"), 2, "'Ada' stands alone"),
        (("greet", "--args", "{"), 2, "--args is not JSON"),
        (("greet", "--args", "[]"), 2, "not a JSON object"),
        (("greet", "--name", "Ada", "--times", "many"), 2, "times: "),
        (("greet", "--name", "Ada", "--at", "tomorrow"), 2, "PGQ-404"),
        (("greet", "--name", "Ada", "--at", "2031-01-01T09:00"), 2, "needs a time zone"),
        (("greet", "--name", "Ada", "--in", "-5"), 2, "PGQ-404"),
        (("greet", "--name", "Ada", "--in", "1h", "--at", "2031-01-01T09:00Z"), 2, "both given"),
        (("greet", "--name", "Ada", "--wait", "--timeout", "soon"), 2, "--timeout is 'soon'"),
        (("greet", "--name", "Ada", "--priority", "40000"), 2, "-32768 to 32767"),
        (("greet", "--name", "Ada", "--max-attempts", "0"), 2, "1 to 10000"),
        (("gret", "--name", "Ada"), 5, "did you mean greet?"),
        (("greet", "-A", "shopp", "--name", "Ada"), 8, "did you mean shop?"),
    ],
)
def test_a_mistake_at_enqueue_stores_nothing(pgq, db, words, code, said):
    done = pgq("enqueue", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


# ------------------------------------------------------------------ jobs


def test_jobs_are_listed_newest_first_by_filter_and_page(pgq, db):
    plain = insert(db, 3)
    [tagged] = insert(db, tags=["red"], queue="mail")
    [other] = insert(db, task="echo")
    bury(db, plain[0], "disk full")

    def ids(*words: str) -> list[int]:
        return [item["id"] for item in pgq("jobs", "list", "--json", *words).items]

    assert ids() == [other, tagged, *reversed(plain)]
    assert ids("--queue", "mail") == ids("--tag", "red") == [tagged]
    assert ids("--task", "echo") == [other]
    assert ids("--state", "dead") == ids("--state", "failed") == ids("--error", "DISK") == [plain[0]]
    assert ids("--state", "pending,dead", "--queue", "default", "--task", "greet") == list(reversed(plain))
    page = pgq("jobs", "list", "--json", "--limit", "2")
    assert [item["id"] for item in page.items] == [other, tagged]
    assert json.loads(page.out)["next"] == tagged
    assert ids("--limit", str(2**40), "--before", str(2**70)) == ids()
    assert ids("--before", str(tagged)) == list(reversed(plain))
    assert json.loads(pgq("jobs", "list", "--json", "--before", str(tagged)).out)["next"] is None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list", "--state", "ded"), 2), (("list", "--limit", "0"), 2), (("list", "--before", "0"), 2), (("list", "--queue", "a b"), 2), (("list", "--before", "x"), 2),
        (("show", "0"), 5), (("show", "-1"), 2), (("show", str(2**63)), 5), (("show", "1e3"), 2), (("show", "' or 1=1"), 2),
        (("wait", "0"), 5), (("wait", "99"), 5), (("retry", "0"), 2), (("retry", "99"), 5), (("cancel", str(2**63)), 2), (("cancel", "99"), 5),
        (("retry",), 2), (("cancel",), 2), (("retry", "--state", "pending"), 2),
    ],
)  # fmt: skip
def test_nonsense_for_jobs_ends_in_one_sentence(pgq, words, code):
    done = pgq("jobs", *words)
    assert (done.code, done.out) == (code, "")
    assert done.err


def test_a_piped_table_is_tab_separated_with_a_head(pgq, db):
    [job] = insert(db)
    done = pgq("jobs", "list")
    assert done.out.splitlines()[0] == "id\tstate\tqueue\ttask\tattempt\twhen\tworker\tprogress\tlast_error"
    assert done.rows[0][:5] == [str(job), "pending", "default", "greet", "0/6"]
    assert "No job matches" in pgq("jobs", "list", "--queue", "none").err


def test_show_tells_a_job_and_its_history(pgq, db):
    [job] = insert(db, args='{"name": "Ada"}')
    bury(db, job)
    shown = pgq("jobs", "show", str(job))
    assert all(word in shown.out for word in ("Ada", "dead", "ValueError: boom", "permanent_error"))
    told = json.loads(pgq("jobs", "show", str(job), "--json").out)
    assert (told["id"], told["state"], told["args"]) == (job, "dead", {"name": "Ada"})
    assert [t["reason"] for t in told["transitions"]] == ["permanent_error"]
    assert told["finished_at"].endswith(("Z", "+00:00"))


def test_retry_revives_the_one_the_many_or_all_that_match(pgq, db):
    jobs = insert(db, 4)
    for job in jobs[:3]:
        bury(db, job)
    dry = pgq("jobs", "retry", "--state", "dead", "--dry-run", "--json")
    assert [item["result"] for item in dry.items] == ["would revive"] * 3
    assert dry.code == 0
    assert [state(db, job) for job in jobs] == ["dead"] * 3 + ["pending"]

    one = pgq("jobs", "retry", str(jobs[0]), str(jobs[3]), "--json")
    assert [item["result"] for item in one.items] == ["revived", "pending"]
    rest = pgq("jobs", "retry", "--task", "greet", "--json")
    assert {item["id"] for item in rest.items} == set(jobs[1:3])
    assert [state(db, job) for job in jobs] == ["pending"] * 4
    assert "No job matches" in pgq("jobs", "retry", "--state", "dead").err


def test_cancel_takes_what_waits_and_asks_what_runs(pgq, db):
    [running] = insert(db)
    Hand(db, ["greet"]).claim()
    waiting = insert(db, 2, queue="mail")
    assert [
        item["result"] for item in pgq("jobs", "cancel", "--queue", "mail", "--dry-run", "--json").items
    ] == ["would cancel"] * 2
    done = pgq("jobs", "cancel", str(running), *map(str, waiting))
    assert done.rows[0] == [str(running), "greet", "running", "requested"]
    assert [state(db, job) for job in (running, *waiting)] == ["running", "cancelled", "cancelled"]
    assert "2 cancelled, 1 requested" in done.err
    for dry_run in ([], ["--dry-run"]):
        again = pgq("jobs", "cancel", str(waiting[0]), *dry_run)
        assert (again.code, again.rows) == (6, [[str(waiting[0]), "greet", "cancelled", "cancelled"]])
        assert "PGQ-409" in again.err


def test_edit_changes_what_waits_and_refuses_what_runs(pgq, db, tmp_path):
    [job] = insert(db, args='{"name": "Ada"}', run_at="2030-01-01Z")
    done = pgq(
        "jobs", "edit", str(job), "--priority", "-5", "--run-at", "2031-01-01T09:00+00:00", "--args", '{"name": "Bo"}',
        "--queue", "mail", "--max-attempts", "2", "--timeout", "5m", "--deadline", "2032-01-01T00:00Z", "--expires", "1h",
        "--tag", "a", "--tag", "b", "--meta", '{"by": "me"}',
    )  # fmt: skip
    assert (done.code, done.rows, "1 edited" in done.err) == (
        0,
        [[str(job), "greet", "pending", "edited"]],
        True,
    )
    told = json.loads(pgq("jobs", "show", str(job), "--json").out)
    assert [told[name] for name in ("priority", "run_at", "args", "queue", "max_attempts", "timeout", "tags", "meta")] == [
        -5, "2031-01-01T09:00:00Z", {"name": "Bo"}, "mail", 2, 300.0, ["a", "b"], {"by": "me"},
    ]  # fmt: skip
    assert told["deadline_at"] == "2032-01-01T00:00:00Z"
    assert told["expires_at"]
    assert [t["reason"] for t in told["transitions"]] == ["edited"]
    done = pgq("jobs", "edit", str(job), "--in", "0", "--deadline", "none", "--expires", "none", "--json")
    assert done.items == [{"id": job, "task": "greet", "state": "pending", "result": "edited"}]
    told = json.loads(pgq("jobs", "show", str(job), "--json").out)
    assert (told["deadline_at"], told["expires_at"], told["args"]) == (None, None, {"name": "Bo"})
    assert [attempt.id for attempt in Hand(db, ["greet"], "mail").claim()] == [job]
    done = pgq("jobs", "edit", str(job), "--priority", "1")
    assert (done.code, "PGQ-409" in done.err, "it is running" in done.err) == (6, True, True)


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ((), 2, "changes nothing"),
        (("--args", '{"nobody": 1}'), 2, "nobody is unknown"),
        (("--args", "[]"), 2, "--args is not a JSON object"),
        (("--meta", "{"), 2, "--meta is not JSON"),
        (("--run-at", "soon"), 2, "--run-at is 'soon'"),
        (("--run-at", "2030-01-01"), 2, "needs a time zone"),
        (("--run-at", "2030-01-01T00:00Z", "--in", "5m"), 2, "both given"),
        (("--expires", "soon"), 2, "expires is 'soon'"),
        (("--deadline", "2030-01-01T25:00Z"), 2, "--deadline is"),
        (("--queue", "a b"), 2, "PGQ-405"),
        (("--timeout", "0"), 2, "timeout is"),
    ],
)
def test_an_edit_that_makes_no_sense_ends_in_one_sentence(pgq, db, flags, code, said):
    [job] = insert(db)
    done = pgq("jobs", "edit", str(job), *flags)
    assert (done.code, said in done.err) == (code, True), done.err
    assert pgq("jobs", "edit", "999999", "--priority", "1").code == 5


def test_enqueue_takes_an_expiry_and_a_deadline(pgq):
    done = pgq("enqueue", "greet", "--name", "Ada", "--expires", "1h", "--deadline", "2030-01-01T00:00Z")
    told = json.loads(pgq("jobs", "show", done.out.strip(), "--json").out)
    assert (told["deadline_at"], told["expires_at"] is not None) == ("2030-01-01T00:00:00Z", True)


def test_show_tells_how_far_a_job_has_come(pgq, db):
    [job] = insert(db)
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    for report, text in (
        (Progress(120, 1400, "on the way"), "120 of 1,400, 9 %: on the way"),
        (Progress(1200), "1,200"),
        (Progress(0, 0), "0 of 0"),
    ):
        run(db, statements.report_progress(hand.id, [(job, attempt.lease_id, report)]))
        [line] = [line for line in pgq("jobs", "show", str(job)).out.splitlines() if "progress" in line]
        assert line.split(maxsplit=1)[1] == text


@pytest.mark.parametrize(
    ("outcome", "code", "out"),
    [
        (Outcome.completed('{"a": 1}'), 0, '{"a": 1}\n'),
        (COMPLETED, 0, "null\n"),
        (Outcome.dead("permanent_error", ValueError("boom")), 10, ""),
        (Outcome.cancelled("enough"), 10, ""),
        (None, 9, ""),
    ],
)
def test_wait_prints_the_result_or_exits_with_what_became_of_it(pgq, db, outcome, code, out):
    [job] = insert(db)
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    if outcome:
        hand.settle(attempt, outcome)
    done = pgq("jobs", "wait", str(job), "--timeout", "50ms")
    assert (done.code, done.out) == (code, out)


# ------------------------------------------------------------------ which jobs


def test_jobs_are_chosen_by_key_and_arguments_by_every_command(pgq, db):
    app = App(db.info.dsn)
    options = {"unique_key": "u", "concurrency_key": "c", "idempotency_key": "i", "tags": ["red"]}
    mine = app.task(name="greet")(lambda tenant, n: None).using(**options).enqueue(tenant="t1", n=5).id
    app.close()
    insert(db, args='{"tenant": "t2", "n": 5}', tags=["red"])
    for words in (
        ("--unique-key", "u"), ("--concurrency-key", "c"), ("--key", "c"), ("--idempotency-key", "i"), ("--arg", "tenant=t1"),
        ("--args", '{"tenant": "t1"}'), ("--arg", "n=5", "--arg", "tenant=t1"), ("--tag", "red", "--arg", "tenant=t1"),
    ):  # fmt: skip
        assert [item["id"] for item in pgq("jobs", "list", "--json", *words).items] == [mine], words
        assert [item["count"] for item in pgq("jobs", "count", "--json", *words).items] == [1]
        where = [word.replace("--", "--where-") for word in words]
        assert [item["id"] for item in pgq("jobs", "edit", "--priority", "1", "--json", *where).items] == [
            mine
        ]
        assert [item["id"] for item in pgq("jobs", "cancel", "--json", *words).items] == [mine]
        assert [
            item["id"] for item in pgq("jobs", "retry", "--state", "cancelled", "--json", *words).items
        ] == [mine]
    assert pgq("jobs", "list", "--arg", "n=7").rows == []
    for words in (("--arg", "n"), ("--args", "[1]"), ("--args", "{")):
        assert pgq("jobs", "list", *words).code == 2


def test_a_percent_sign_in_an_error_is_itself(pgq, db):
    insert(db, last_error="disk 90% full")
    assert len(pgq("jobs", "list", "--error", "90% F").rows) == 1
    assert pgq("jobs", "list", "--error", "9%full").rows == []


def test_jobs_are_counted_by_what_is_asked_for(pgq, db):
    insert(db, 2, tags=["a", "b"])
    insert(db, tags=["a"], queue="mail")
    insert(db, task="echo", state="dead", finished_at="2026-01-01Z")

    def counted(*words: str) -> list[list[str]]:
        return pgq("jobs", "count", *words).rows

    assert counted("--by", "task,state") == counted() == [["greet", "pending", "3"], ["echo", "dead", "1"]]
    assert counted("--by", "tag") == [["a", "3"], ["b", "2"], ["", "1"]]
    assert counted("--by", "queue", "--tag", "a") == [["default", "2"], ["mail", "1"]]
    assert pgq("jobs", "count", "--by", "tag,state", "--json", "--state", "dead").items == [
        {"tag": None, "state": "dead", "count": 1}
    ]
    assert pgq("jobs", "count", "--by", "age").code == 2


# ------------------------------------------------------------------ what a dry run promises


@pytest.mark.parametrize("verb", ["cancel", "retry", "edit"])
def test_a_dry_run_promises_what_the_command_does_for_jobs_of_every_state(pgq, db, verb):
    hand = Hand(db, ["greet"])
    jobs = insert(db)
    hand.claim()
    for state in ("pending", "retrying", "waiting"):
        jobs += insert(db, state=state)
    for state in ("completed", "cancelled", "dead"):
        jobs += insert(db, state=state, finished_at="2026-11-01Z")
    jobs += insert(
        db, 2, state="dead", finished_at="2026-11-01Z", unique_key="k"
    )  # of which one can be revived
    words = ("jobs", verb, *map(str, jobs), *(["--priority", "3"] if verb == "edit" else []))
    everything = "select xmin::text, j.* from pgqueue.jobs j order by id"
    before = db.execute(everything).fetchall()
    dry = pgq(*words, "--dry-run", "--json")
    assert db.execute(everything).fetchall() == before
    real = pgq(*words, "--json")
    promised = {
        "would cancel": "cancelled",
        "would ask it to stop": "requested",
        "would revive": "revived",
        "would edit": "edited",
    }
    assert [promised.get(item["result"], item["result"]) for item in dry.items] == [
        item["result"] for item in real.items
    ]
    assert dry.code == real.code == 6
    assert any(item["result"].startswith("would") for item in dry.items)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["real", "dry"])
@pytest.mark.parametrize(
    ("words", "said"),
    [(("cancel", "--state", "dead"), "No dead job can be cancelled"), (("retry", "--state", "running"), "No running job can be revived"),
     (("cancel", "1", "--queue", "mail"), "Ids and a filter are both given"), (("edit", "--priority", "1"), "No job is named"),
     (("edit", "--priority", "1", "--where-state", "running"), "No running job can be edited")],
)  # fmt: skip
def test_what_can_never_be_done_is_refused_by_a_dry_run_too(pgq, db, words, said, dry):
    insert(db, state="dead", finished_at="2026-11-01Z")
    done = pgq("jobs", *words, *dry)
    assert (done.code, said in done.err, done.out) == (2, True, "")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("jobs", "list", "--state", "ded"), "dead"), (("jobs", "list", "--state", "dead,FAILD"), "failed"),
        (("jobs", "count", "--state", "done"), "completed"), (("jobs", "count", "--by", "task,stat"), "state"),
        (("db", "grants", "--role", "reeder"), "reader"), (("work", "-A", "shop:app", "--executor", "procces"), "process"),
        (("enqueue", "greet", "name=x", "-A", "shop:app", "--on-conflict", "rase"), "raise"),
        (("cron", "add", "n", "greet", "--every", "5m", "--overlap", "cancel"), "cancel-old"),
        (("cron", "add", "n", "greet", "--every", "5m", "--missed", "onc"), "once"),
    ],
)  # fmt: skip
def test_a_word_that_is_none_of_a_few_is_answered_by_the_nearest_and_all_of_them(pgq, words, meant):
    done = pgq(*words)
    assert (done.code, done.out) == (2, "")
    assert f"did you mean {meant}? use " in done.err


def test_retry_says_what_it_did(pgq, db):
    [job] = insert(db, state="dead", finished_at="2026-11-01Z")
    done = pgq("jobs", "retry", str(job))
    assert done.rows == [[str(job), "greet", "dead", "revived"]]
    assert "1 job pending again, due now, with all attempts" in done.err


# ------------------------------------------------------------------ queues, workers


def test_a_paused_queue_is_not_claimed_until_it_is_resumed(pgq, db):
    insert(db)
    hand = Hand(db, ["greet"])
    assert json.loads(pgq("queues", "pause", "default", "--json").out) == {"queue": "default", "paused": True}
    assert hand.claim() == []
    assert pgq("queues", "list").rows[0][:3] == ["default", "paused", "1"]
    resumed = pgq("queues", "resume", "default")
    assert (resumed.out, "resumed" in resumed.err) == ("", True)
    assert len(hand.claim()) == 1
    assert pgq("queues", "list", "--json").items[0]["running"] == 1


@pytest.mark.parametrize("verb", ["resume", "remove"])
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("defalt", 5, "did you mean default?"), ("zzz", 5, "known: default"), ("a b", 2, "PGQ-405")],
)
def test_what_is_no_queue_is_answered_with_the_near_one(pgq, verb, name, code, said):
    done = pgq("queues", verb, name)
    assert (done.code, said in done.err) == (code, True)


def test_a_queue_that_no_worker_has_served_yet_is_seen_and_can_be_paused(pgq, db):
    insert(db, 3, queue="mail")
    insert(db, queue="mail", run_at="2030-01-01Z")
    insert(db, queue="later", run_at="2030-01-01Z")
    depth = "select queue, due, scheduled, running, oldest_due is not null from pgqueue.queue_depth order by queue"
    assert db.execute(depth).fetchall() == [
        ("default", 0, 0, 0, False),
        ("later", 0, 1, 0, False),
        ("mail", 3, 1, 0, True),
    ]
    assert [row[:4] for row in pgq("queues", "list").rows] == [["default", "", "0", "0"], ["later", "", "0", "1"], ["mail", "", "3", "1"]]  # fmt: skip
    assert pgq("queues", "resume", "mail").code == 0, "it is not paused, which is what was asked for"
    paused = pgq("queues", "pause", "mail")
    assert (paused.code, "note" in paused.err) == (0, False)
    assert Hand(db, ["greet"], "mail").claim() == []
    assert pgq("queues", "list").rows[2][:3] == ["mail", "paused", "3"]


def test_pausing_a_queue_that_nothing_has_named_makes_it_and_says_so(pgq, db):
    insert(db, queue="mail")
    paused = pgq("queues", "pause", "mial")
    assert paused.code == 0
    assert (
        "no job and no worker has named this queue yet; did you mean mail? If so: pgq queues remove mial"
        in paused.err
    )
    insert(db, queue="mial")
    assert Hand(db, ["greet"], "mial").claim() == []


def test_a_queue_is_removed_only_when_nothing_needs_it(pgq, db):
    hand = Hand(db, ["greet"], "mail")
    assert (
        pgq("queues", "remove", "mail").code,
        "1 living worker" in pgq("queues", "remove", "mail").err,
    ) == (6, True)
    [job] = insert(db, queue="mail")
    hand.settle(hand.claim()[0], Outcome.dead("permanent_error", ValueError("no")))
    run(db, statements.stop_worker(hand.id))
    refused = pgq("queues", "remove", "mail")
    assert (refused.code, "PGQ-510" in refused.err, "1 unfinished or dead job" in refused.err) == (
        6,
        True,
        True,
    )
    db.execute("delete from pgqueue.jobs_dead where id = %s", [job])
    assert json.loads(pgq("queues", "remove", "mail", "--json").out) == {"queue": "mail", "removed": True}
    assert [item["queue"] for item in pgq("queues", "list", "--json").items] == ["default"]


def test_workers_are_listed_with_their_health(pgq, db):
    assert "No worker runs" in pgq("workers", "list").err
    alive, expired, stopped = (Hand(db, ["greet"]) for _ in range(3))
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [expired.id])
    run(db, statements.stop_worker(stopped.id))
    assert {(w["id"], w["state"]) for w in pgq("workers", "list", "--json").items} == {
        (alive.id, "running"),
        (expired.id, "expired"),
    }
    assert [row[1] for row in pgq("workers", "list", "--all").rows].count("stopped") == 1


# ------------------------------------------------------------------ doctor, migrate


def findings(done: Done) -> str:
    report = json.loads(done.out)
    assert done.code == (0 if report["ok"] else 7)
    return "\n".join(
        f"{finding['level']} {finding['what']} {finding['do']}" for finding in report["findings"]
    )


def test_doctor_is_content_with_a_served_database(pgq, db):
    Hand(db, ["greet"])
    done = pgq("doctor", "--json")
    assert (done.code, "1 worker alive" in findings(done)) == (0, True)
    assert "ok    " in pgq("doctor").out


@pytest.mark.parametrize(
    ("mistake", "expected", "code"),
    [
        ("select 1", "warn 0 workers alive pgq work", 0),
        ("insert into pgqueue.jobs (task) values ('ghost')", "no living worker serves this queue. start a worker that has this task: pgq work -A module:app -Q default", 7),
        ("insert into pgqueue.jobs (task, run_at) values ('ghost', now() - interval '2 h')", "error 1 due job of task ghost", 7),
        ("insert into pgqueue.jobs (task) values ('t'); update pgqueue.queues set paused = true", "Queue default is paused with 1 due job. pgq queues resume default", 0),
        ("insert into pgqueue.jobs (task, state, finished_at) values ('t', 'dead', now())", "Queue default has 1 dead letter.", 0),
        ("insert into pgqueue.workers (expires_at, pid, slots, host, version, executor, queues, tasks) values (now(), 7, 1, 'far', '0', 'async', '{}', '{}')", "(far, pid 7) lost its lease", 0),
        ("insert into pgqueue.jobs (task, queue) values ('t', 'mail'); insert into pgqueue.queues (name, paused) values ('mail', true)", "Queue mail is paused", 0),
        ("drop function pgqueue.revive", "error function pgqueue.revive is missing pgq migrate", 7),
        ("create or replace function pgqueue.revive(job bigint) returns text language sql as 'select null'", "error function pgqueue.revive is not this version's", 7),
        ("update pgqueue.schema_version set version_num = '0000'", "error PGQ-205", 7),
        ("drop schema pgqueue cascade", "error PGQ-204", 7),
    ],
)  # fmt: skip
def test_doctor_finds(pgq, dsn, mistake, expected, code):
    with psycopg.connect(dsn) as connection:
        connection.execute(mistake.encode())
    done = pgq("doctor", "--json")
    assert done.code == code
    assert expected in findings(done)


def test_strict_makes_a_warning_fail_and_a_served_database_passes(pgq, db):
    Hand(db, ["greet"])
    run(db, statements.add_partitions(3))
    assert pgq("doctor", "--strict").code == 0
    insert(db, state="dead", finished_at="2026-11-01Z")
    assert (pgq("doctor").code, pgq("doctor", "--strict").code) == (0, 7)
    report = json.loads(pgq("doctor", "--strict", "--json").out)
    assert (report["ok"], {finding["level"] for finding in report["findings"]}) == (False, {"ok", "warn"})


def test_doctor_tells_a_task_that_no_worker_of_its_queue_knows(pgq, db):
    Hand(db, ["greet"])
    insert(db, task="ghost")
    assert (
        "no living worker knows this task. start a worker that has this task: pgq work -A module:app"
        in findings(pgq("doctor", "--json"))
    )


def test_doctor_names_the_app_that_has_declared_the_task(pgq, db):
    db.execute(
        'select pgqueue.sync_tasks(\'shop\', \'[{"name": "greet", "options": {}, "keep": "all"}]\', 60)'
    )
    insert(db, queue="mail")
    assert "queue. start a worker of the app shop: pgq work -A module:app -Q mail" in findings(
        pgq("doctor", "--json")
    )


def test_migrate_makes_the_schema_and_may_run_again(pgq, empty_dsn):
    assert pgq("migrate", "--check", "--dsn", empty_dsn).code == 4
    assert json.loads(pgq("migrate", "--json", "--dsn", empty_dsn).out)["result"] == "migrated"
    again = pgq("migrate", "--dsn", empty_dsn)
    assert (again.code, "there was nothing to do" in again.err) == (0, True)
    assert json.loads(pgq("migrate", "--check", "--json", "--dsn", empty_dsn).out)["result"] == "current"


def test_migrate_check_sees_a_changed_function(pgq, db):
    db.execute("drop function pgqueue.cancel")
    done = pgq("migrate", "--check")
    assert (done.code, "PGQ-205" in done.err, "pgqueue.cancel is missing" in done.err) == (4, True, True)
    assert pgq("migrate").code == 0
    assert pgq("migrate", "--check").code == 0


def test_the_printed_sql_makes_the_same_schema_without_a_connection(pgq, empty_dsn, monkeypatch):
    monkeypatch.delenv("PGQUEUE_DSN")
    printed = pgq("migrate", "--sql")
    assert (printed.code, printed.err) == (0, "")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(printed.out.encode())
    assert pgq("migrate", "--check", "--dsn", empty_dsn).code == 0


# ------------------------------------------------------------------ work


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--concurrency", "0"), "--concurrency"), (("--concurrency", "-1"), "--concurrency"), (("--concurrency", "1000000"), "--concurrency"),
        (("--heartbeat", "20"), "heartbeat"), (("--executor", "fork"), "--executor"), (("--processes", "0"), "--processes"),
        (("-Q", "a b"), "PGQ-405"), (("-Q", "a:0"), "slots"), (("-Q", "a,a"), "twice"), (("--poll", "nan"), "poll"),
        (("--max-jobs", "0"), "--max-jobs"), (("--max-rss", "lots"), "--max-rss"), (("--max-rss", "1M"), "16M"),
    ],
)  # fmt: skip
def test_a_worker_that_cannot_work_does_not_start(pgq, flags, said):
    done = pgq("work", *flags)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_drained_worker_has_done_all_that_is_due(dsn, db, tmp_path):
    insert(db, 3, args='{"name": "Ada"}')
    done = command_line.pgq("work", "-A", "shop", "--drain", cwd=command_line.shop(tmp_path), dsn=dsn)
    assert done.returncode == 0, done.stderr
    assert db.execute("select distinct state, result from pgqueue.jobs").fetchall() == [
        ("completed", "Hello, Ada")
    ]


# ------------------------------------------------------------------ on a terminal


def on_terminal(words: list[str], folder: Path, dsn: str, **environment: str) -> str:
    """What a person sees."""
    leader, follower = pty.openpty()
    env = {
        **os.environ,
        "PGQUEUE_DSN": dsn,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", *words],
        cwd=folder,
        env=env,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65_536):
            shown += chunk
    except OSError:  # the way Linux ends a terminal that nobody holds any more
        pass
    process.wait()
    os.close(leader)
    return shown.decode()


def test_a_terminal_gets_a_coloured_table_and_no_color_a_plain_one(db, dsn, tmp_path):
    [job] = insert(db)
    bury(db, job)
    coloured = on_terminal(["jobs", "list"], tmp_path, dsn)
    assert "\x1b[31mdead" in coloured
    assert "\t" not in coloured
    plain = on_terminal(["jobs", "list"], tmp_path, dsn, NO_COLOR="1")
    assert "\x1b[31m" not in plain
    assert "dead" in plain


def test_a_terminal_shows_a_bar_while_it_waits(db, dsn, tmp_path):
    [job] = insert(db)
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    run(db, statements.report_progress(hand.id, [(job, attempt.lease_id, Progress(3, 10, "on [the] way"))]))
    shown = on_terminal(["jobs", "wait", str(job), "--timeout", "1.5"], tmp_path, dsn)
    assert f"job {job} running on [the] way" in shown
    assert "3/10" in shown
    assert "PGQ-507" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "a\udcff"), "is no text"),
        (("--tag", "\udce9"), "is no text"),
        (("--args", '{"a": "\\ud800"}'), "--args"),
        (("--args", '{"a": "\\u0000"}'), "U+0000"),
        (("--args", '{"a": ' + "[" * 100_000), "--args is not JSON"),
        (("--arg", 'a="\\ud800"'), "--args"),
    ],
)
def test_a_filter_that_no_database_takes_is_refused_with_a_sentence(pgq, words, said):
    done = pgq("jobs", "list", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "PGQ-001" not in done.err


@pytest.mark.parametrize("column", ["started_at", "finished_at"])
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "4713-01-01 BC", "200000-01-01"])
def test_a_job_with_a_time_that_no_program_can_read_is_shown(pgq, db, column, moment):
    columns = {"task": "ok", "state": "dead", "finished_at": "2026-01-01", column: moment}
    [(job,)] = db.execute(
        f"insert into pgqueue.jobs ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))}) returning id",
        list(columns.values()),
    ).fetchall()
    assert pgq("jobs", "show", str(job)).code == 0
    assert pgq("jobs", "show", str(job), "--json").code == 0
