"""A shop with a busy afternoon, for the pictures of the documentation. All that it stores is made up."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from tests import workflows
from tests.worker_by_hand import Hand

TASKS = (
    "shop.send_invoice",
    "shop.charge_card",
    "shop.resize_image",
    "crm.sync_customer",
    "search.index_product",
)
TRACEBACK = """Traceback (most recent call last):
  File "/app/shop/billing.py", line 42, in charge_card
    gateway.charge(order.card, order.total)
  File "/app/shop/gateway.py", line 17, in charge
    raise CardRefused(answer.reason)
shop.gateway.CardRefused: the card was refused: expired"""


def fill_shop(db: Connection[Any]) -> dict[str, int]:
    """Fills the database, and returns the ids of a dead job and of a workflow."""
    for statement in STATEMENTS:
        db.execute(statement.encode(), {"tasks": list(TASKS), "traceback": TRACEBACK})
    flow = workflows.store(
        db,
        workflows.node("fetch"),
        workflows.node("validate", "fetch"),
        *(workflows.node(f"resize {size}", "validate") for size in ("small", "medium", "large", "poster")),
        workflows.node("publish", *(f"resize {size}" for size in ("small", "medium", "large", "poster"))),
        workflows.node("announce", "publish"),
        name="photo-album",
    )
    hand = Hand(db, ["t"])
    for count in (1, 1, 2):
        for attempt in hand.claim(count):
            hand.complete_nodes(attempt)
    [running, failing] = hand.claim(2)
    assert hand.settle(
        failing, Outcome.retried(40.0, TimeoutError("the image server did not answer in 10 s"))
    )
    assert running.id
    who = statements.Who("ada", "web")
    run(db, statements.pause_queue("reports", who=who))
    [(dead,)] = db.execute("select max(id) from pgqueue.jobs_dead")
    return {"dead": dead, "workflow": flow}


STATEMENTS = (
    "insert into pgqueue.queues (name) values ('billing'), ('mail'), ('images'), ('search'), ('reports')",
    """
    insert into pgqueue.workers (host, pid, version, executor, slots, queues, tasks, expires_at, started_at, app_version)
    select 'worker-' || i, 40 + i, '0.2.0', 'async', 20, '{billing,mail,images,search,default}', %(tasks)s,
           now() + interval '25 s', now() - interval '3 hours' - i * interval '7 min', '2026.11.3'
    from generate_series(1, 3) i
    """,
    """
    insert into pgqueue.jobs_done (id, queue, task, args, state, run_at, attempt, lease_id, worker_id, created_at, started_at, finished_at, result)
    select nextval('pgqueue.jobs_id_seq'), (array['billing', 'mail', 'images', 'search'])[1 + i %% 4], (%(tasks)s::text[])[1 + i %% 5],
           jsonb_build_object('order_id', 48000 + i), 'completed', at, 1, (extract(epoch from at) * 1e6)::bigint, 1 + i %% 3, at,
           at + interval '11 ms', at + interval '11 ms' + i %% 37 * interval '13 ms', jsonb_build_object('ok', true)
    from (select i, now() - i * interval '1.7 s' as at from generate_series(1, 4200) i) x
    """,
    """
    insert into pgqueue.jobs_live (id, queue, task, args, state, run_at, created_at, priority)
    select nextval('pgqueue.jobs_id_seq'), (array['billing', 'mail', 'images', 'search', 'mail', 'reports'])[1 + i %% 6], (%(tasks)s::text[])[1 + i %% 5],
           jsonb_build_object('order_id', 52200 + i), 'pending', now() - interval '2 s' + (i - 60) * interval '0.3 s', now() - interval '40 s', i %% 2
    from generate_series(1, 140) i
    """,
    """
    update pgqueue.jobs_live set state = 'running', worker_id = 1 + id %% 3, attempt = 1, started_at = now() - id %% 7 * interval '0.4 s',
        lease_id = (extract(epoch from now()) * 1e6)::bigint, progress = jsonb_build_object('done', id %% 80 + 10, 'total', 100, 'message', 'sending')
    where id in (select id from pgqueue.jobs_live where queue <> 'reports' order by id limit 27)
    """,
    """
    update pgqueue.jobs_live set state = 'retrying', attempt = 2, last_error = 'ConnectionResetError: the mail server closed the connection',
        run_at = now() + interval '50 s'
    where id in (select id from pgqueue.jobs_live where state = 'pending' and queue = 'mail' order by id desc limit 6)
    """,
    """
    insert into pgqueue.jobs_dead (id, queue, task, args, state, run_at, attempt, lease_id, worker_id, created_at, started_at, finished_at,
                                   last_error, last_traceback)
    select nextval('pgqueue.jobs_id_seq'), 'billing', 'shop.charge_card', jsonb_build_object('order_id', 52013 + i, 'amount', '49.90'), 'dead',
           at, 6, (extract(epoch from at) * 1e6)::bigint, 2, at - interval '4 min', at, at + interval '320 ms',
           'CardRefused: the card was refused: expired', %(traceback)s
    from (select i, now() - i * interval '9 min' as at from generate_series(1, 4) i) x
    """,
    """
    insert into pgqueue.transitions (at, job_id, lease_id, worker_id, attempt, from_state, to_state, reason, error, traceback, run_at)
    select d.created_at + n * interval '40 s', d.id, (extract(epoch from d.created_at + n * interval '40 s' - interval '300 ms') * 1e6)::bigint, 1 + n %% 3, n, 'running',
           'retrying', 'failed', d.last_error, d.last_traceback, d.created_at + (n + 1) * interval '40 s'
    from pgqueue.jobs_dead d cross join generate_series(1, 5) n
    """,
    """
    insert into pgqueue.transitions (at, job_id, lease_id, worker_id, attempt, from_state, to_state, reason, error, traceback)
    select d.finished_at, d.id, d.lease_id, d.worker_id, 6, 'running', 'dead', 'attempts used up', d.last_error, d.last_traceback from pgqueue.jobs_dead d
    """,
    """
    select pgqueue.add_stats(jsonb_agg(to_jsonb(y)))
    from (select (extract(epoch from date_trunc('minute', now())) - m * 60)::bigint as at, q as queue, t as task, n as started, n - r as completed,
                 r as retried, (m %% 19 = 4 and t = 'shop.charge_card')::int as dead, 0 as cancelled, 0 as put_back, 0 as crashed,
                 n * 0.02 as wait_seconds, n * 0.2 as run_seconds, array[0, 0, 0, 0, 0, 0, 0, 0, 0, n / 4, n / 2, n / 4, n / 8] as waits,
                 array[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n / 8, n / 4, n / 2 + m %% 5, n / 8] as runs
          from (select m, q, t, (9 + 5 * sin(m / 9.0) + 3 * sin(m / 2.3))::int as n, (m * 7 %% 13 = 0)::int * 2 as r
                from generate_series(0, 80) m, unnest(array['billing', 'mail', 'images']) q, unnest(%(tasks)s::text[]) t) x) y
    """,
    """
    insert into pgqueue.alerts (kind, subject, queue, text, job_id)
    select 'dead', 'shop.charge_card', 'billing', '4 jobs of shop.charge_card are dead, the last of CardRefused: the card was refused: expired',
           max(id) from pgqueue.jobs_dead
    """,
    "insert into pgqueue.limits (queue, concurrency) values ('mail', 10)",
    "insert into pgqueue.schedules (name, task, cron, tz) values ('nightly-report', 'shop.report', '30 2 * * *', 'Europe/Warsaw')",
)


def example_job(db: Connection[Any]) -> int:
    """Returns the id of a job that waits behind others."""
    [(found,)] = db.execute(
        "select max(id) from pgqueue.jobs_live where queue = 'reports' and state = 'pending'"
    )
    return int(found)
