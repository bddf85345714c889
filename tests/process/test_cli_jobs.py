"""``pgq jobs``: the output of each command, its rows and its exit code."""

from __future__ import annotations

import json

import pytest

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from pgqueue.ui.cli import wait
from tests.factories import add_jobs, look
from tests.worker_by_hand import Hand, make_one_dead

# ------------------------------------------------------------------ jobs


@pytest.mark.parametrize("words", [("greet", "--name", "Ada", "--wait"), ("jobs",)], ids=["enqueue", "wait"])
def test_a_wait_for_a_job_that_does_not_begin_says_once_how_to_find_out_why(pgq, db, monkeypatch, words):
    monkeypatch.setattr(wait, "HINT_AFTER", 0.3)
    if words[0] == "greet":
        done = pgq("enqueue", *words, "--timeout", "2.5")
        [job] = db.execute("select id from pgqueue.jobs").fetchone()
    else:
        [job] = add_jobs(db, task="greet")
        done = pgq("jobs", "wait", str(job), "--timeout", "2.5")
    assert done.code == 9
    assert done.err.count(f"job {job} does not run yet; to see why: pgq why {job}") == 1
    assert done.err.endswith(f"do        pgq why {job}\n")


def test_a_wait_for_a_job_that_runs_says_nothing(pgq, db, monkeypatch):
    monkeypatch.setattr(wait, "HINT_AFTER", 0.0)
    [job] = add_jobs(db, task="greet")
    Hand(db, ["greet"]).claim()
    done = pgq("jobs", "wait", str(job), "--timeout", "1.5")
    assert "does not run yet" not in done.err


def test_jobs_are_listed_newest_first_and_can_be_filtered_and_paged(pgq, db):
    plain = add_jobs(db, task="greet", count=3)
    [tagged] = add_jobs(db, task="greet", tags=["red"], queue="mail")
    [other] = add_jobs(db, task="echo")
    make_one_dead(db, plain[0], "disk full")

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
        (("wait", "0"), 5), (("wait", "99"), 5), (("revive", "0"), 2), (("revive", "99"), 5), (("cancel", str(2**63)), 2), (("cancel", "99"), 5),
        (("revive",), 2), (("cancel",), 2), (("revive", "--state", "pending"), 2),
    ],
)  # fmt: skip
def test_jobs_commands_refuse_invalid_arguments_with_an_error(pgq, words, code):
    done = pgq("jobs", *words)
    assert (done.code, done.out) == (code, "")
    assert done.err


def test_a_table_in_a_pipe_is_tab_separated_and_has_a_row_of_headings(pgq, db):
    [job] = add_jobs(db, task="greet")
    done = pgq("jobs", "list")
    assert done.out.splitlines()[0] == "id\tstate\tqueue\ttask\tattempt\twhen\tworker\tprogress\tlast_error"
    assert done.rows[0][:5] == [str(job), "pending", "default", "greet", "0/6"]
    assert "No job matches" in pgq("jobs", "list", "--queue", "none").err


def test_jobs_show_prints_a_job_and_its_history(pgq, db):
    [job] = add_jobs(db, task="greet", args='{"name": "Ada"}')
    make_one_dead(db, job)
    shown = pgq("jobs", "show", str(job))
    assert all(word in shown.out for word in ("Ada", "dead", "ValueError: boom", "permanent_error"))
    details = json.loads(pgq("jobs", "show", str(job), "--json").out)
    assert (details["id"], details["state"], details["args"]) == (job, "dead", {"name": "Ada"})
    assert [t["reason"] for t in details["transitions"]] == ["permanent_error"]
    assert details["finished_at"].endswith(("Z", "+00:00"))


def test_jobs_revive_revives_the_given_jobs_or_all_jobs_that_match_a_filter(pgq, db):
    jobs = add_jobs(db, task="greet", count=4)
    for job in jobs[:3]:
        make_one_dead(db, job)
    dry = pgq("jobs", "revive", "--state", "dead", "--dry-run", "--json")
    assert [item["result"] for item in dry.items] == ["would revive"] * 3
    assert dry.code == 0
    assert [look(db, job) for job in jobs] == ["dead"] * 3 + ["pending"]

    one = pgq("jobs", "revive", str(jobs[0]), str(jobs[3]), "--json")
    assert [item["result"] for item in one.items] == ["revived", "pending"]
    rest = pgq("jobs", "revive", "--task", "greet", "--json")
    assert {item["id"] for item in rest.items} == set(jobs[1:3])
    assert [look(db, job) for job in jobs] == ["pending"] * 4
    assert "No job matches" in pgq("jobs", "revive", "--state", "dead").err


def test_jobs_retry_is_jobs_revive_and_its_help_names_the_main_word(pgq, db):
    [job] = add_jobs(db, task="greet")
    make_one_dead(db, job)
    assert [item["result"] for item in pgq("jobs", "retry", str(job), "--json").items] == ["revived"]
    assert look(db, job) == "pending"
    assert "The same as pgq jobs revive." in pgq("jobs", "retry", "--help").out


def test_jobs_cancel_cancels_pending_jobs_and_asks_running_jobs_to_stop(pgq, db):
    [running] = add_jobs(db, task="greet")
    Hand(db, ["greet"]).claim()
    waiting = add_jobs(db, task="greet", count=2, queue="mail")
    assert [
        item["result"] for item in pgq("jobs", "cancel", "--queue", "mail", "--dry-run", "--json").items
    ] == ["would cancel"] * 2
    done = pgq("jobs", "cancel", str(running), *map(str, waiting))
    assert done.rows[0] == [str(running), "greet", "running", "requested"]
    assert [look(db, job) for job in (running, *waiting)] == ["running", "cancelled", "cancelled"]
    assert "2 cancelled, 1 requested" in done.err
    for dry_run in ([], ["--dry-run"]):
        again = pgq("jobs", "cancel", str(waiting[0]), *dry_run)
        assert (again.code, again.rows) == (6, [[str(waiting[0]), "greet", "cancelled", "cancelled"]])
        assert "PGQ-409" in again.err


def test_jobs_edit_changes_pending_jobs_and_refuses_running_jobs(pgq, db, tmp_path):
    [job] = add_jobs(db, task="greet", args='{"name": "Ada"}', run_at="2030-01-01Z")
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
    details = json.loads(pgq("jobs", "show", str(job), "--json").out)
    assert [details[name] for name in ("priority", "run_at", "args", "queue", "max_attempts", "timeout", "tags", "meta")] == [
        -5, "2031-01-01T09:00:00Z", {"name": "Bo"}, "mail", 2, 300.0, ["a", "b"], {"by": "me"},
    ]  # fmt: skip
    assert details["deadline_at"] == "2032-01-01T00:00:00Z"
    assert details["expires_at"]
    assert [t["reason"] for t in details["transitions"]] == ["edited"]
    done = pgq("jobs", "edit", str(job), "--in", "0", "--deadline", "none", "--expires", "none", "--json")
    assert done.items == [{"id": job, "task": "greet", "state": "pending", "result": "edited"}]
    details = json.loads(pgq("jobs", "show", str(job), "--json").out)
    assert (details["deadline_at"], details["expires_at"], details["args"]) == (None, None, {"name": "Bo"})
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
def test_jobs_edit_refuses_invalid_options_with_an_error(pgq, db, flags, code, said):
    [job] = add_jobs(db, task="greet")
    done = pgq("jobs", "edit", str(job), *flags)
    assert (done.code, said in done.err) == (code, True), done.err
    assert pgq("jobs", "edit", "999999", "--priority", "1").code == 5


def test_enqueue_has_options_for_an_expiry_and_a_deadline(pgq):
    done = pgq("enqueue", "greet", "--name", "Ada", "--expires", "1h", "--deadline", "2030-01-01T00:00Z")
    details = json.loads(pgq("jobs", "show", done.out.strip(), "--json").out)
    assert (details["deadline_at"], details["expires_at"] is not None) == ("2030-01-01T00:00:00Z", True)


def test_jobs_show_prints_the_progress_of_a_job(pgq, db):
    [job] = add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    for report, text in (
        (Progress(120, 1400, "on the way"), "120 of 1,400, 9 %: on the way"),
        (Progress(1200), "1,200"),
        (Progress(0, 0), "0 of 0"),
    ):
        run(db, statements.write_progress(hand.id, [(job, attempt.lease_id, report)]))
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
def test_jobs_wait_prints_the_result_of_a_completed_job_and_otherwise_exits_with_an_error_code(
    pgq, db, outcome, code, out
):
    [job] = add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    if outcome:
        hand.settle(attempt, outcome)
    done = pgq("jobs", "wait", str(job), "--timeout", "50ms")
    assert (done.code, done.out) == (code, out)


# ------------------------------------------------------------------ filters


def test_every_jobs_command_can_filter_by_keys_and_arguments(pgq, db):
    app = App(db.info.dsn)
    options = {"unique_key": "u", "concurrency_key": "c", "idempotency_key": "i", "tags": ["red"]}
    mine = app.task(name="greet")(lambda tenant, n: None).using(**options).enqueue(tenant="t1", n=5).id
    app.close()
    add_jobs(db, task="greet", args='{"tenant": "t2", "n": 5}', tags=["red"])
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
            item["id"] for item in pgq("jobs", "revive", "--state", "cancelled", "--json", *words).items
        ] == [mine]
    assert pgq("jobs", "list", "--arg", "n=7").rows == []
    for words in (("--arg", "n"), ("--args", "[1]"), ("--args", "{")):
        assert pgq("jobs", "list", *words).code == 2


def test_a_percent_sign_in_the_filter_by_error_is_no_wildcard(pgq, db):
    add_jobs(db, task="greet", last_error="disk 90% full")
    assert len(pgq("jobs", "list", "--error", "90% F").rows) == 1
    assert pgq("jobs", "list", "--error", "9%full").rows == []


def test_jobs_count_groups_by_the_columns_that_the_option_by_names(pgq, db):
    add_jobs(db, task="greet", count=2, tags=["a", "b"])
    add_jobs(db, task="greet", tags=["a"], queue="mail")
    add_jobs(db, task="echo", state="dead", finished_at="2026-01-01Z")

    def counted(*words: str) -> list[list[str]]:
        return pgq("jobs", "count", *words).rows

    assert counted("--by", "task,state") == counted() == [["greet", "pending", "3"], ["echo", "dead", "1"]]
    assert counted("--by", "tag") == [["a", "3"], ["b", "2"], ["", "1"]]
    assert counted("--by", "queue", "--tag", "a") == [["default", "2"], ["mail", "1"]]
    assert pgq("jobs", "count", "--by", "tag,state", "--json", "--state", "dead").items == [
        {"tag": None, "state": "dead", "count": 1}
    ]
    assert pgq("jobs", "count", "--by", "age").code == 2


# ------------------------------------------------------------------ dry runs


@pytest.mark.parametrize("verb", ["cancel", "revive", "edit"])
def test_a_dry_run_predicts_the_result_of_the_command_for_jobs_of_every_state(pgq, db, verb):
    hand = Hand(db, ["greet"])
    jobs = add_jobs(db, task="greet")
    hand.claim()
    for state in ("pending", "retrying", "waiting"):
        jobs += add_jobs(db, task="greet", state=state)
    for state in ("completed", "cancelled", "dead"):
        jobs += add_jobs(db, task="greet", state=state, finished_at="2026-11-01Z")
    # These two jobs have the same key, so only one of them can be revived.
    jobs += add_jobs(db, task="greet", count=2, state="dead", finished_at="2026-11-01Z", unique_key="k")
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
    [(("cancel", "--state", "dead"), "No dead job can be cancelled"), (("revive", "--state", "running"), "No running job can be revived"),
     (("cancel", "1", "--queue", "mail"), "Ids and a filter are both given"), (("edit", "--priority", "1"), "No job is named"),
     (("edit", "--priority", "1", "--where-state", "running"), "No running job can be edited")],
)  # fmt: skip
def test_a_dry_run_refuses_impossible_requests_as_the_command_does(pgq, db, words, said, dry):
    add_jobs(db, task="greet", state="dead", finished_at="2026-11-01Z")
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
def test_the_error_for_an_unknown_value_suggests_the_nearest_value_and_lists_all_values(pgq, words, meant):
    done = pgq(*words)
    assert (done.code, done.out) == (2, "")
    assert f"did you mean {meant}? use " in done.err


def test_jobs_revive_prints_the_revived_job_and_a_summary(pgq, db):
    [job] = add_jobs(db, task="greet", state="dead", finished_at="2026-11-01Z")
    done = pgq("jobs", "revive", str(job))
    assert done.rows == [[str(job), "greet", "dead", "revived"]]
    assert "1 job pending again, due now, with all attempts" in done.err


@pytest.mark.parametrize(
    ("verb", "result"), [("cancel", "cancelled"), ("revive", "revived"), ("edit", "edited")]
)
def test_an_id_without_a_job_stops_no_other_id_and_is_in_the_answer(pgq, db, verb, result):
    [job] = add_jobs(
        db, task="greet", **({"state": "dead", "finished_at": "2026-11-01Z"} if verb == "revive" else {})
    )
    change = ["--priority", "3"] if verb == "edit" else []
    done = pgq("jobs", verb, "99999", str(job), *change)
    assert done.rows == [["99999", "", "", "not found"], [str(job), "greet", "dead" if verb == "revive" else "pending", result]]  # fmt: skip
    assert (done.code, "There is no job 99999" in done.err) == (5, True)
    again = pgq("jobs", verb, "99998", "99999", *change, "--json")
    assert [item["result"] for item in again.items] == ["not found"] * 2
    assert (again.code, "There is no job 99998" in again.err) == (5, True)
    [finished] = add_jobs(db, task="greet", state="completed", finished_at="2026-11-01Z")
    both = pgq("jobs", verb, "99999", str(finished), *change)
    assert (both.code, f"2 of 2 jobs could not be changed: job {finished}" in both.err) == (6, True)
