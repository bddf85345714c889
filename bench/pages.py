"""How fast is the web page on a large queue, and what do open tabs cost the database?

Targets: each page is made in less than 100 ms, with at most 6 statements, with 1 M finished jobs, 100,000 live jobs and 200 queues whose
tasks ran in each minute of the last day. 50 open tabs share one connection that listens, and cost at most 2 statements a second. The server
of the page does not grow.

A page is measured by HTTP, on a server in a process of its own, and is never taken from the server's memory: between two requests, more
time passes than a page is kept. ``p50`` and ``max`` are of the slowest page, which the table names.
"""

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from bench.durable.trips import Trips, counted
from bench.load import migrate, number
from bench.report import Measurement, Report, Target
from bench.server import fresh_database, settle

TITLE = "the web page with a million finished jobs, 100,000 live ones and 200 queues"
FINISHED, LIVE, QUEUES = 1_000_000, 100_000, 200
TABS = 50
SECONDS = 60.0  # for which the tabs are open
SAMPLES = 7
SHOWN = ["slowest_ms", "median_ms", "statements", "tabs_statements_per_s", "listening", "growth_mb"]
TARGETS = [
    Target("slowest page, ms", lambda results: results.median("pages", "slowest_ms"), 100, at_least=False),
    Target("statements of a page", lambda results: results.median("pages", "statements"), 6, at_least=False),
    Target(
        "statements a second for 50 tabs",
        lambda results: results.median("pages", "tabs_statements_per_s"),
        2,
        at_least=False,
    ),
    Target(
        "listening connections of 50 tabs",
        lambda results: results.median("pages", "listening"),
        1,
        at_least=False,
    ),
]
TASKS = ["shop.mail", "shop.charge", "shop.resize"]

FILL = (
    "insert into pgqueue.queues (name) select 'queue-' || lpad(n::text, 3, '0') from generate_series(1, %(queues)s) n",
    """
    insert into pgqueue.workers (host, pid, version, executor, slots, queues, tasks, expires_at)
    select 'host-' || n, n, '0.1.0', 'async', 50, '{*}', %(tasks)s, now() + interval '1 day' from generate_series(1, 20) n
    """,
    """
    insert into pgqueue.jobs_done (id, queue, task, args, state, run_at, attempt, lease_id, worker_id, created_at, started_at, finished_at)
    select nextval('pgqueue.jobs_id_seq'), 'queue-' || lpad((1 + n %% %(queues)s)::text, 3, '0'), (%(tasks)s::text[])[1 + n %% 3],
           jsonb_build_object('order_id', n, 'tenant', 't' || n %% 50), case when n %% 50 = 0 then 'cancelled' else 'completed' end, at, 1,
           (extract(epoch from at) * 1e6)::bigint, 1 + n %% 20, at, at, at + interval '1 s'
    from (select n, now() - interval '6 days' + n * interval '6 days' / %(finished)s as at from generate_series(1, %(finished)s) n) x
    """,
    """
    insert into pgqueue.jobs_live (id, queue, task, args, state, priority, run_at, created_at)
    select nextval('pgqueue.jobs_id_seq'), 'queue-' || lpad((1 + n %% %(queues)s)::text, 3, '0'), (%(tasks)s::text[])[1 + n %% 3],
           jsonb_build_object('order_id', n), 'pending', n %% 3, now() + (n %% 4000 - 3500) * interval '1 s', now() - interval '1 hour'
    from generate_series(1, %(live)s) n
    """,
    """
    update pgqueue.jobs_live set state = 'running', worker_id = 1 + id %% 20, attempt = 1, started_at = now(), lease_id = id
    where id in (select id from pgqueue.jobs_live order by id limit %(live)s / 200)
    """,
    """
    insert into pgqueue.jobs_dead (id, queue, task, args, state, run_at, attempt, lease_id, created_at, started_at, finished_at, last_error,
                                   last_traceback)
    select nextval('pgqueue.jobs_id_seq'), 'queue-' || lpad((1 + n %% %(queues)s)::text, 3, '0'), (%(tasks)s::text[])[1 + n %% 3], '{}', 'dead',
           at, 6, n, at, at, at, 'ValueError: card ' || n,
           E'Traceback (most recent call last):\\n  File "/app/shop.py", line 42, in charge\\n    pay()\\nValueError: card'
    from (select n, now() - n * interval '1 min' as at from generate_series(1, 2000) n) x
    """,
    """
    insert into pgqueue.transitions (at, job_id, lease_id, attempt, from_state, to_state, reason, error, traceback)
    select d.finished_at, d.id, d.lease_id, 6, 'running', 'dead', 'attempts used up', d.last_error, d.last_traceback from pgqueue.jobs_dead d
    """,
    """
    insert into pgqueue.stats (at, queue, task, started, completed, wait_seconds, run_seconds, waits, runs)
    select date_trunc('minute', now()) - m * interval '1 minute', 'queue-' || lpad(q::text, 3, '0'), t, 40, 40, 2, 9,
           array[0, 0, 0, 0, 0, 0, 0, 0, 10, 20, 10], array[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 20, 10]
    from generate_series(0, 1439) m, generate_series(1, %(queues)s) q, unnest(%(tasks)s::text[]) t
    """,
    """
    insert into pgqueue.stats_totals (at, seconds, queue, task, started, completed, wait_seconds, run_seconds, waits, runs)
    select case when s.at < now() - interval '2 hours' then date_bin('15 min', s.at, '2000-01-01') else s.at end as span,
           case when s.at < now() - interval '2 hours' then 900 else 60 end, coalesce(s.queue, ''), coalesce(s.task, ''), sum(s.started), sum(s.completed), sum(s.wait_seconds), sum(s.run_seconds),
           array[0, 0, 0, 0, 0, 0, 0, 0, sum(s.waits[9]), sum(s.waits[10]), sum(s.waits[11])],
           array[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(s.runs[11]), sum(s.runs[12]), sum(s.runs[13])]
    from pgqueue.stats s group by grouping sets ((1, 2), (1, 2, s.queue), (1, 2, s.task))
    """,
    "insert into pgqueue.limits (queue, concurrency) values ('queue-001', 10)",
    "insert into pgqueue.schedules (name, task, cron) select 'nightly-' || n, 'shop.mail', n %% 60 || ' 2 * * *' from generate_series(1, 50) n",
)


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    for round_ in range(rounds):
        report.add(Measurement("pages", "pgqueue", round_, measure(server, scale)))
    report.table("pages", TITLE, SHOWN)


@contextmanager
def large_queue(server: str, scale: float) -> Iterator[str]:
    """Yields the DSN of a database with a million finished jobs, 100,000 live ones and 200 queues, times ``scale``."""
    with fresh_database(server) as dsn:
        migrate(dsn)
        sizes = {
            "finished": max(1000, int(FINISHED * scale)), "live": max(400, int(LIVE * scale)), "queues": max(5, int(QUEUES * scale)),
            "tasks": TASKS,
        }  # fmt: skip
        with psycopg.connect(dsn, autocommit=True) as conn:
            for statement in FILL:
                conn.execute(statement.encode(), sizes)
        settle(dsn)
        yield dsn


def measure(server: str, scale: float) -> dict[str, float]:
    with large_queue(server, scale) as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        with site(dsn) as (url, _):
            took, statements = pages(url, dsn)
        slowest = max(took, key=lambda path: took[path])
        print(
            f"  slowest page: {slowest}; all, ms: "
            + ", ".join(f"{path} {ms:.0f}" for path, ms in sorted(took.items(), key=lambda one: -one[1]))
        )
        with counted(dsn) as trips, site(trips.dsn) as (url, pid):
            of_tabs = tabs(url, conn, trips, pid, max(20.0, SECONDS * scale))
        return {
            "slowest_ms": took[slowest], "median_ms": statistics.median(took.values()), "statements": statements, **of_tabs,
        }  # fmt: skip


def serve(dsn: str, pipe: Any) -> None:
    import uvicorn

    from pgqueue.ui.web import create

    config = uvicorn.Config(create(dsn), port=0, log_level="error")
    sock = config.bind_socket()
    sock.listen()  # so that the first tabs wait for the server to start
    pipe.send(sock.getsockname()[1])
    uvicorn.Server(config).run(sockets=[sock])


@contextmanager
def site(dsn: str) -> Iterator[tuple[str, int]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(dsn, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", process.pid or 0
    finally:
        process.terminate()
        process.join(10)


def pages(url: str, dsn: str) -> tuple[dict[str, float], float]:
    """Returns the median time of each page in ms, and the largest number of statements of a page."""
    import asyncio

    import httpx2

    from pgqueue.ui.reading.pages import PAGES

    with psycopg.connect(dsn, autocommit=True) as conn:
        parts = {
            "job": int(number(conn, "select max(id)::int from pgqueue.jobs_dead")), "queue": "queue-001", "limit": 1, "worker": 1, "schedule": "nightly-1",
            "fingerprint": conn.execute("select pgqueue.fingerprint(last_error, last_traceback) from pgqueue.jobs_dead limit 1").fetchone()[0],  # type: ignore[index]
        }  # fmt: skip
    made = [route for route in PAGES if not set(route.path.replace("}", "{").split("{")[1::2]) - set(parts)]
    paths = [route.path.format(**parts) for route in made]
    paths += [
        "/jobs?q=state:dead",
        "/jobs?q=queue:queue-007",
        "/jobs?q=args.tenant:t9",
        "/jobs?before=500000",
        "/stats?window=24h",
    ]
    took: dict[str, float] = {}
    with httpx2.Client(base_url=url, headers={"Accept": "text/html"}, timeout=60) as client:
        for path in paths:
            samples = []
            for _ in range(SAMPLES):
                begun = time.perf_counter()
                answer = client.get(path)
                samples.append((time.perf_counter() - begun) * 1000)
                assert answer.status_code == 200, (path, answer.status_code)
                time.sleep(1.05)
            took[path] = statistics.median(samples)
    return took, asyncio.run(most_statements(dsn, made, parts))


async def most_statements(dsn: str, routes: list[Any], parts: dict[str, Any]) -> float:
    from pgqueue.database.pools import Pools
    from pgqueue.ui.reading.asked import Asked
    from pgqueue.ui.reading.reader import reading

    pools = Pools(lambda: dsn, 1)
    most = 0
    for route in routes:
        async with reading(pools) as reader:
            await route.make(reader, Asked({name: str(value) for name, value in parts.items()}))
            most = max(most, reader.queries)
    await pools.aclose()
    return float(most)


def tabs(url: str, conn: psycopg.Connection[Any], trips: Trips, pid: int, seconds: float) -> dict[str, float]:
    """Opens 50 tabs of different pages while jobs come and go. Returns what they cost on average.

    ``trips``: counts what the server of the pages sends to the database. A statement is a round trip, at the most.
    """
    import socket
    from urllib.parse import quote

    host, port = url.removeprefix("http://").split(":")
    open_tabs = []
    for tab in range(TABS):
        one = socket.create_connection((host, int(port)))
        path = ("/", "/jobs", "/queues", "/workers", f"/jobs/{tab + 1}")[tab % 5]
        one.sendall(f"GET /live?at={quote(path)} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        open_tabs.append(one)
    time.sleep(15)
    before, memory, begun = trips.count, pss(pid), time.monotonic()
    while time.monotonic() - begun < seconds:
        conn.execute("select pgqueue.enqueue('shop.mail', '{}', '{\"queue\": \"queue-002\"}')")
        time.sleep(0.5)
        for one in open_tabs:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.recv(65536)
    took = time.monotonic() - begun
    listening = number(
        conn,
        "select count(*)::int from pg_stat_activity where datname = current_database() and application_name = 'pgqueue live pages'",
    )
    cost = (trips.count - before) / took
    grown = pss(pid) - memory
    for one in open_tabs:
        one.close()
    return {"tabs_statements_per_s": cost, "listening": listening, "growth_mb": grown}


def pss(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss:")[1].split("kB")[0]) / 1024
