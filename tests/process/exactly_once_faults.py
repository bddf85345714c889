"""The jobs and the faults of the exactly-once campaign (test_exactly_once.py)."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.dev import embedded
from tests.apps import exact_tasks
from tests.pids import descendants, is_gone, send
from tests.process.worker_processes import WorkerProcess, WorkerProcesses, unfinished
from tests.waiting import STARTS, wait_until

# A worker of each kind serves the queue with its name, with this option --executor. Sync handlers on the loop's worker run on threads.
EXECUTORS = {"loop": "async", "thread": "thread", "process": "process"}
# (executor, kind of connection) of the jobs. A sync handler cannot run on a loop.
COMBINATIONS = [
    (executor, way)
    for executor in EXECUTORS
    for way in [*exact_tasks.SYNC, *exact_tasks.ASYNC]
    if executor != "loop" or way in exact_tasks.ASYNC
]
OPTIONS = (
    "--lease", "4", "--heartbeat", "0.5", "--poll", "0.2", "--crash-limit", "1000", "--wait-for-db", "60", "--blocked", "0",
)  # fmt: skip
SERVER = {"max_connections": "800", "shared_buffers": "128MB"}  # fsync stays on, as on the servers of users
BATCH = 500  # jobs in one enqueue
REPEATED = {"fenced": "zombies"}  # the fault that is repeated until a lost lease has stopped enough handlers
HAS_WRITTEN = (
    "select pid from pg_stat_activity where backend_xid is not null and application_name in ('exact', 'pgqueue app')"
    " and datname = current_database() order by backend_start, pid"
)
OF_WORKERS = (
    "select pid from pg_stat_activity where application_name ~ '^pgqueue (steps|settle|claim|heartbeat|listen|leader)$'"
    " and datname = current_database() order by backend_start, pid"
)


@dataclass(frozen=True)
class Plan:
    """How many jobs each combination of executor and kind of connection gets. How often, at least, each fault must have an effect."""

    jobs: int
    workers: int  # of each executor
    slots: int
    answers: int  # COMMITs of completions that were made, but whose answers were lost
    kills: int
    child_kills: int
    zombies: int  # of each executor
    terminations: int
    restarts: int
    fenced: int  # handlers that were told that their lease is lost, before it was too late
    odds: float  # the share of the COMMITs that are lost


@dataclass
class Campaign:
    """Enqueues the jobs, causes one fault after the other until all jobs are finished, and counts the faults that had an effect."""

    home: Path
    server: embedded.Postgres
    dsn: str
    workers: WorkerProcesses
    dice: random.Random
    plan: Plan
    db: Connection[Any]
    notes: Path  # what the handlers have noted, one line of JSON for each note
    alive: list[tuple[str, WorkerProcess]] = field(default_factory=list)
    ops: int = 0
    harmed: dict[str, set[int]] = field(default_factory=lambda: {"kill": set(), "zombie": set()})
    counts: Counter[str] = field(default_factory=Counter)
    crashed_at: float = 0.0  # by the monotonic clock: when the server ran again after its last crash

    # ------------------------------------------------------------ the jobs

    def enqueue(self, count: int) -> None:
        """Enqueues so many jobs for each combination. Some have a concurrency_key, and some are nodes of workflows."""
        ops = list(range(self.ops + 1, self.ops + count * len(COMBINATIONS) + 1))
        self.ops += len(ops)
        self.dice.shuffle(ops)
        for at in range(0, len(ops), BATCH):
            part = ops[at : at + BATCH]
            with psycopg.connect(self.dsn) as connection:
                connection.execute("insert into chk.business (op) select unnest(%s::bigint[])", [part])
                plain = [op for op in part if op % 8]
                exact_tasks.app.enqueue_many([self._job(op) for op in plain], connection)
                for op in set(part).difference(plain):
                    connection.execute("select pgqueue.enqueue_workflow(%s)", [Jsonb(self._workflow(op))])

    def _job(self, op: int) -> Any:
        executor, way = COMBINATIONS[op % len(COMBINATIONS)]
        key = {"concurrency_key": f"tenant {op % 5}"} if op % 8 == 1 else {}
        options = {"queue": executor, "tags": ["effect"], "max_attempts": exact_tasks.ATTEMPTS, **key}
        return exact_tasks.app.tasks[_task(way)].using(**options).job(op=op, way=way)

    def _workflow(self, op: int) -> dict[str, Any]:
        executor, way = COMBINATIONS[op % len(COMBINATIONS)]
        common = {"queue": executor, "max_attempts": exact_tasks.ATTEMPTS}
        first = {"name": "first", "task": _task(way), "args": {"op": op, "way": way}, "tags": ["effect"]}
        then = {"name": "then", "task": "told", "args": {"by": -op}, "after": ["first"]}
        return {"name": "exact", "key": str(op), "nodes": [first | common, then | common]}

    # ------------------------------------------------------------ the faults

    def run(self, is_enough: Callable[[], bool]) -> None:
        """Causes the faults of the plan, and waits until all jobs are finished. If a fault had too little effect then, goes on with it.

        ``is_enough`` says whether the proxy has lost enough answers, and in every way.
        """
        plan = self.plan
        wanted = {
            "kill": plan.kills, "kill_child": plan.child_kills, "zombies": plan.zombies, "terminate": plan.terminations,
            "restart": plan.restarts,
        }  # fmt: skip
        order = [name for name, count in wanted.items() for _ in range(count)]
        self.dice.shuffle(order)
        portion = (
            self.ops * 2 // 3 // len(order)
        )  # a third of the jobs is left for faults that must be repeated
        for fault in order:
            self.feed()
            getattr(self, fault)()
            self.rest(portion)
        wanted["fenced"] = plan.fenced
        while missing := [name for name, count in wanted.items() if self.counted(name) < count]:
            self.feed()
            getattr(self, REPEATED.get(missing[0], missing[0]))()
        while unfinished(self.db) or not is_enough():
            if not unfinished(self.db):
                self.enqueue(1)
            self.rest(1)

    def feed(self) -> None:
        """Enqueues more jobs if only few are left, so that the faults hit workers that are busy."""
        if unfinished(self.db) < 2 * self.plan.slots * len(self.alive):
            self.enqueue(2)

    def rest(self, count: int) -> None:
        """Waits until so many more jobs are finished, or all. A slow machine must finish at least one job in each STARTS seconds."""
        done = self.finished()
        target = done + count
        while done < target and unfinished(self.db):
            wait_until(slowly(lambda done=done: self.replace_ended() or self.finished() > done), STARTS)  # type: ignore[misc]
            done = self.finished()

    def finished(self) -> int:
        return int(self.one("select count(*) from pgqueue.jobs_done"))

    def start(self, executor: str) -> None:
        options = (
            *OPTIONS,
            "-c",
            str(self.plan.slots),
            "--queues",
            executor,
            "--executor",
            EXECUTORS[executor],
        )
        self.alive.append((executor, self.workers.start(*options)))

    def replace_ended(self) -> None:
        for executor, worker in self.alive[:]:
            if worker.process.poll() is not None:
                self.alive.remove((executor, worker))
                self.start(executor)

    def kill(self) -> None:
        """Kills a worker that runs jobs. It counts if a rescue takes back some of these jobs."""
        worker, worker_id = self.caught()
        worker.end()
        self.harmed["kill"].add(worker_id)
        self.replace_ended()

    def kill_child(self) -> None:
        """Kills a child process of a worker. It counts if an attempt failed because of that."""
        children = [
            pid for name, worker in self.alive if name == "process" for pid in descendants(worker.pid)
        ]
        if children:
            send(self.dice.choice(children), signal.SIGKILL)
            self.rest(1)

    def zombies(self) -> None:
        """Stops one worker of each executor until some of its jobs are taken back, and other workers run them. Then continues all three.

        Of the children of a worker, a random half is stopped, too.
        """
        for executor in EXECUTORS:
            if [name for name, _ in self.alive].count(executor) == 1:
                self.start(executor)
        stopped = [self.caught(executor) for executor in EXECUTORS]
        pids = []
        for worker, worker_id in stopped:
            self.harmed["zombie"].add(worker_id)
            pids += [pid for pid in descendants(worker.pid) if self.dice.random() < 0.5]
        for pid in pids:
            send(pid, signal.SIGSTOP)
        ids = {worker_id for _, worker_id in stopped}
        wait_until(slowly(lambda: ids <= self.effective("zombie") or self.are_expired(ids)), STARTS)
        threading.Event().wait(self.dice.uniform(0, 1))
        for pid in [*pids, *(worker.pid for worker, _ in stopped)]:
            send(pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ends a server process inside a transaction that has written rows. Also ends one of a worker's own connections."""
        for query, name in ((HAS_WRITTEN, "terminate"), (OF_WORKERS, "terminate of a worker")):
            found = wait_until(
                lambda query=query: self.replace_ended() or self.db.execute(query.encode()).fetchall()
            )
            pid = self.dice.choice(found)[0]
            self.counts[name] += bool(self.one("select pg_terminate_backend(%s)", pid))

    def restart(self) -> None:
        """Crashes the server while transactions are open that have written rows, and starts it again."""
        wait_until(lambda: self.replace_ended() or self.db.execute(HAS_WRITTEN).fetchone(), STARTS)
        self.db.close()
        self.server.stop("immediate")
        threading.Event().wait(self.dice.uniform(0.1, 1.5))
        self.server = embedded.start(self.home, settings=SERVER)
        self.crashed_at = time.monotonic()
        self.db = observer(self.dsn)
        self.counts["restart"] += 1

    # ------------------------------------------------------------ queries

    def counted(self, fault: str) -> int:
        """Returns how often this fault had an effect."""
        match fault:
            case "fenced":
                said = (
                    json.loads(line) for line in self.notes.read_text().splitlines() if '"refused"' in line
                )
                self.counts[fault] = sum(lost for *_, lost in said)
            case "kill":
                self.counts[fault] = len(self.effective("kill"))
            case "zombies":
                self.counts[fault] = len(self.effective("zombie")) // len(EXECUTORS)
            case "kill_child":
                self.counts[fault] = self.one(
                    "select count(*) from pgqueue.transitions where error ~ 'The process that ran it died'"
                )
        return self.counts[fault]

    def one(self, query: str, *parameters: Any) -> Any:
        row = self.db.execute(query.encode(), parameters).fetchone()
        return row[0] if row else None

    def caught(self, executor: str | None = None) -> tuple[WorkerProcess, int]:
        """Waits until a worker of this executor runs jobs, sends it SIGSTOP, and returns it with its id."""

        def busy() -> tuple[WorkerProcess, int] | None:
            self.replace_ended()
            if executor is not None and not self.one(
                "select count(*) from pgqueue.jobs_live where queue = %s", executor
            ):
                self.enqueue(2)
            for name, worker in self.dice.sample(self.alive, len(self.alive)):
                worker_id = worker.id(self.db)
                if executor in (None, name) and worker_id is not None and self.runs(worker_id):
                    send(worker.pid, signal.SIGSTOP)
                    if self.runs(worker_id) and not is_gone(worker.pid):
                        return worker, worker_id
                    send(worker.pid, signal.SIGCONT)
            return None

        return wait_until(busy, STARTS)  # type: ignore[return-value]

    def runs(self, worker_id: int) -> bool:
        return bool(
            self.one(
                "select count(*) from pgqueue.jobs_live where state = 'running' and worker_id = %s", worker_id
            )
        )

    def are_expired(self, ids: set[int]) -> bool:
        """Returns whether the leases of these workers ran out, and none of their jobs runs any longer."""
        return bool(
            self.one(
                "select not exists (select from pgqueue.workers where id = any(%(ids)s) and expires_at > clock_timestamp())"
                " and not exists (select from pgqueue.jobs_live where worker_id = any(%(ids)s))".replace(
                    "%(ids)s", "%s"
                ),
                list(ids),
                list(ids),
            )
        )

    def effective(self, which: str) -> set[int]:
        """Returns the ids of those harmed workers from which a rescue has taken back jobs."""
        rows = self.db.execute(
            "select distinct worker_id from pgqueue.transitions where reason = 'rescued' and worker_id = any(%s)",
            [list(self.harmed[which])],
        )
        return {worker_id for (worker_id,) in rows}


def slowly(predicate: Callable[[], Any]) -> Callable[[], Any]:
    """Returns the predicate with a pause after each false value, because the queries of this module read many rows."""
    return lambda: predicate() or threading.Event().wait(0.2)


def _task(way: str) -> str:
    return "exact" if way in exact_tasks.SYNC else "aexact"


def observer(dsn: str) -> Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, application_name="campaign")
