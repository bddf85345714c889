"""The faults of a campaign. The campaign harms its workers and its server in several ways, one after the other."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import scalar_row

from pgqueue.dev import embedded
from tests.apps import workload
from tests.pids import descendants, is_gone, parent, send
from tests.process.campaign_clients import Clients, Plan
from tests.process.worker_processes import WorkerProcess, WorkerProcesses, state_of, unfinished
from tests.waiting import STARTS, wait_until

LEASE = 2.0
# A job that kills its process in each attempt reaches this limit. The other jobs do not, although workers are killed while they run them:
# even on a slow machine, this happens to one job at most four times.
CRASH_LIMIT = 12
OPTIONS = (
    "--lease", str(LEASE), "--heartbeat", "0.5", "--poll", "0.2", "--crash-limit", str(CRASH_LIMIT), "--wait-for-db", "30",
)  # fmt: skip
SILENT = ("heartbeat", "claim", "settle")  # a fault can make one of these connections of a worker silent
DOWN = 1.0  # the server is started again this many seconds after a crash
SERVER = {"max_connections": "300", "shared_buffers": "64MB"}  # fsync stays on, as on the servers of users


@dataclass
class Faults:
    """Causes one fault after the other, and remembers the workers that each kind of fault has harmed."""

    home: Path
    server: embedded.Postgres
    workers: WorkerProcesses
    clients: Clients
    dice: random.Random
    db: Connection[Any]
    plan: Plan
    alive: list[WorkerProcess] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)  # worker ids
    zombies: dict[int, int] = field(default_factory=dict)  # pids by worker id, as in `woken` and `orphans`
    woken: dict[int, int] = field(default_factory=dict)
    orphans: dict[int, int] = field(default_factory=dict)
    orphaned: int = 0
    terminated: int = 0
    crashed: int = 0
    silenced: Counter[str] = field(default_factory=Counter)
    # Exit codes of the supervisors that `stop` has stopped.
    exit_codes: list[int] = field(default_factory=list)
    drained: set[int] = field(default_factory=set)  # ids of these supervisors' workers
    bombs: list[int] = field(default_factory=list)  # ids of the jobs that kill their process
    # For each supervisor, how many lines about the beginning and about the end of the last outage were logged.
    gone_lines: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> None:
        plan = self.plan
        order = ["kill"] * (plan.kills + 1) + ["zombie"] * plan.zombies + ["terminate"] * plan.terminations
        order += ["orphan"] * plan.orphanings + ["crash"] * plan.crashes + ["silence"] * plan.silences
        order += ["stop"] * plan.stops + ["bomb"] * plan.bombs
        self.dice.shuffle(order)
        order.insert(len(order) // 2, "restart")
        # One third of the jobs is kept for the faults that must wait until a worker runs jobs.
        portion = len(self.clients.ops) * 2 // 3 // len(order)
        for fault in order:
            self.clients.release(portion)
            getattr(self, fault)()
        while len(self.effective("killed")) < plan.kills or len(self.effective("woken")) < plan.zombies:
            self.clients.release(20)
            self.kill() if len(self.effective("killed")) < plan.kills else self.zombie()
            self.wake(rest=0)
        self.wake(rest=0)

    def start(self) -> None:
        self.alive.append(self.workers.start(*OPTIONS, "-c", str(self.plan.slots), *self.plan.options))

    # ------------------------------------------------------------ the faults

    def kill(self) -> None:
        """Kills a worker that runs jobs. The worker's supervisor starts a new worker. If there is no supervisor, this method does."""
        pid, worker_id = self.caught()
        self.killed.add(worker_id)
        send(pid, signal.SIGKILL)
        for worker in self.alive[:]:
            if worker.pid == pid:
                worker.end()
                self.alive.remove(worker)
                self.start()

    def orphan(self) -> None:
        """Kills a supervisor. Its workers must then end by themselves, which the test checks at the end of the campaign."""

        def families() -> list[tuple[WorkerProcess, dict[int, int]]]:
            """Returns each supervisor that has unharmed workers, with these workers as a dict (pids by worker ids).

            If all workers of a supervisor have just been killed, the supervisor has no unharmed worker.
            """
            found = []
            for worker in self.alive:
                children = {worker_id: pid for worker_id, pid in self.at_work() if parent(pid) == worker.pid}
                found += [(worker, children)] if children else []
            return found

        worker, children = self.dice.choice(wait_until(families, STARTS))
        self.orphans |= children
        self.orphaned += 1
        worker.end()
        self.alive.remove(worker)
        self.start()

    def zombie(self) -> None:
        """Sends SIGSTOP to a worker that runs jobs. ``wake`` continues it later. At most two workers are stopped at the same time."""
        self.wake(rest=1)
        pid, worker_id = self.caught()
        self.zombies[worker_id] = pid

    def wake(self, rest: int) -> None:
        """Sends SIGCONT to zombies (stopped workers) until only ``rest`` of them are left.

        A zombie is continued when a rescue has taken back at least one of its jobs. This method does not wait until all jobs of the zombie
        are rescued: if the zombie was stopped inside a transaction, this transaction can keep the row of a job locked. A zombie is also
        continued when it has no jobs and its lease has run out: the zombie's child processes were not stopped, and can have completed its
        jobs in their own transactions.
        """

        def ready() -> list[int]:
            rescued = self.effective("zombies")
            return [
                worker
                for worker in self.zombies
                if worker in rescued or (not self.runs(worker) and self.has_expired(worker))
            ]

        while len(self.zombies) > rest:
            for worker_id in wait_until(ready, STARTS):
                self.woken[worker_id] = pid = self.zombies.pop(worker_id)
                send(pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Calls pg_terminate_backend for a connection of a worker."""

        def terminated() -> bool:
            pids = self.db.execute(
                "select pid from pg_stat_activity where application_name ~ '^pgqueue (claim|settle|listen|leader|heartbeat|app)$'"
                " order by backend_start, pid"
            ).fetchall()
            return bool(pids) and bool(self.one("select pg_terminate_backend(%s)", self.dice.choice(pids)[0]))

        wait_until(terminated)
        self.terminated += 1

    def crash(self) -> None:
        """Crashes the server immediately after a claim, so that the claim is perhaps not on the disk yet."""
        self.wake(rest=0)
        wait_until(self.has_just_claimed, STARTS)
        self.lose_server()
        self.crashed += 1
        wait_until(self.are_at_work, STARTS)

    def silence(self) -> None:
        """Sends SIGSTOP to the server process of a worker's connection, and SIGCONT when the worker has opened another connection."""
        name = self.dice.choice(SILENT)

        def backends() -> list[int]:
            return [
                pid
                for (pid,) in self.db.execute(
                    "select pid from pg_stat_activity where application_name = %s and state = 'idle' order by pid",
                    [f"pgqueue {name}"],
                )
            ]

        def frozen() -> int | None:
            """Stops a server process and returns its pid. If the process is no longer idle then, continues it and returns None.

            A process that is stopped inside a transaction would keep locks for which other connections wait.
            """
            pid: int = self.dice.choice(wait_until(backends))
            send(pid, signal.SIGSTOP)
            if pid in backends():
                return pid
            send(pid, signal.SIGCONT)
            return None

        def count() -> int:
            return int(
                self.one(
                    "select count(*) from pg_stat_activity where application_name = %s", f"pgqueue {name}"
                )
            )

        self.wake(rest=0)
        wait_until(self.are_at_work, STARTS)
        connections = count()
        pid = wait_until(frozen)
        assert pid is not None
        try:
            wait_until(lambda: self.feed() or count() > connections, timeout=90)
        finally:
            send(pid, signal.SIGCONT)
        self.silenced[name] += 1

    def stop(self) -> None:
        """Sends SIGTERM to a supervisor and to all its processes together, at a time when they run jobs."""

        def busy() -> tuple[WorkerProcess, list[int], list[int]] | None:
            self.feed()
            for worker in self.dice.sample(self.alive, len(self.alive)):
                family = [worker.pid, *descendants(worker.pid)]
                ids = [worker_id for worker_id, pid in self.at_work() if pid in family]
                if not {*family} & {*self.zombies.values()} and any(self.runs(one) for one in ids):
                    return worker, family, ids
            return None

        worker, family, ids = wait_until(busy, STARTS)  # type: ignore[misc]
        for pid in family:
            send(pid, signal.SIGTERM)
        self.exit_codes.append(worker.wait(timeout=60))
        self.drained |= set(ids)
        self.alive.remove(worker)
        self.start()

    def bomb(self) -> None:
        """Enqueues a job that kills its process in each attempt, and waits until this job is dead. Harmless jobs run at the same time."""
        with self.db.transaction():
            job_id = workload.bomb.using(self.db).enqueue(how=self.dice.choice(workload.BOMBS)).id
        self.bombs.append(job_id)
        wait_until(lambda: self.replace_ended() or state_of(self.db, job_id) == "dead", timeout=120)

    def feed(self) -> None:
        """Allows more jobs if few jobs are unfinished, so that the workers stay busy.

        The backlog stays short, because a long backlog would hide a worker that claims nothing.
        """
        if unfinished(self.db) < 2 * self.plan.workers * self.plan.slots:
            self.clients.release_more()

    def replace_ended(self) -> None:
        """Starts a new worker in the place of each worker that has ended, as systemd does for a worker without a supervisor."""
        self.feed()
        for worker in self.alive[:]:
            if worker.process.poll() is not None:
                self.alive.remove(worker)
                self.start()

    def lose_server(self, noticed: Callable[[], bool] | None = None) -> None:
        """Crashes the server, and starts it again: when ``noticed()`` is true, or after DOWN seconds if ``noticed`` is not given."""
        self.db.close()
        self.server.stop("immediate")
        if noticed is None:
            threading.Event().wait(DOWN)
        else:
            wait_until(noticed, STARTS)
        self.server = embedded.start(self.home, settings=SERVER)
        self.db = observer(self.clients.dsn)

    def restart(self) -> None:
        """Crashes the server and starts it again. Every process must log one line about the outage, and one line about the outage's end."""
        self.wake(rest=0)
        wait_until(self.is_settled, STARTS)
        sizes = {worker.pid: worker.log.stat().st_size for worker in self.alive}

        def lines(containing: str) -> list[int]:
            return [len(worker.lines(containing, sizes[worker.pid])) for worker in self.alive]

        self.lose_server(lambda: min(lines("the database went away")) >= self.plan.lines)
        self.clients.release(60)
        wait_until(self.have_worked_since, STARTS)
        self.gone_lines = list(
            zip(lines("the database went away"), lines("the database is back"), strict=True)
        )

    # ------------------------------------------------------------ queries

    def one(self, query: str, *parameters: Any) -> Any:
        with self.db.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(query.encode(), parameters).fetchone()

    def at_work(self) -> list[tuple[int, int]]:
        """Returns (id, pid) of each unharmed worker that lives and has renewed its lease since the last start of the server."""
        hurt = {*self.killed, *self.zombies, *self.woken, *self.orphans}
        return [
            (worker_id, pid)
            for worker_id, pid in self.db.execute(
                "select id, pid from pgqueue.workers where state = 'running' and expires_at > clock_timestamp()"
                " and heartbeat_at > pg_postmaster_start_time() order by id"
            )
            if worker_id not in hurt and not is_gone(pid)
        ]

    def caught(self) -> tuple[int, int]:
        """Waits until a worker runs jobs, sends it SIGSTOP, and returns its pid and its id."""

        def busy() -> tuple[int, int] | None:
            self.feed()
            candidates = self.at_work()
            self.dice.shuffle(candidates)
            for worker_id, pid in candidates:
                if pid not in self.zombies.values() and self.runs(worker_id):
                    send(pid, signal.SIGSTOP)
                    # The worker of a killed supervisor can have ended by now.
                    if not is_gone(pid) and self.runs(worker_id):
                        return pid, worker_id
                    send(pid, signal.SIGCONT)
            return None

        return wait_until(busy, STARTS)  # type: ignore[return-value]

    def runs(self, worker_id: int) -> bool:
        return bool(
            self.one(
                "select count(*) from pgqueue.jobs_live where state = 'running' and worker_id = %s", worker_id
            )
        )

    def has_expired(self, worker_id: int) -> bool:
        return bool(
            self.one("select expires_at < clock_timestamp() from pgqueue.workers where id = %s", worker_id)
        )

    def effective(self, which: str) -> set[int]:
        """Returns the ids of those workers in the collection ``which`` from which a rescue has taken back jobs."""
        ids = list(getattr(self, which))
        return {
            row[0]
            for row in self.db.execute(
                "select distinct worker_id from pgqueue.transitions where reason = 'rescued' and worker_id = any(%s)",
                [ids],
            )
        }

    def has_just_claimed(self) -> bool:
        self.feed()
        return bool(
            self.one(
                "select exists (select from pgqueue.jobs_live where state = 'running'"
                " and started_at > clock_timestamp() - interval '10 ms')"
            )
        )

    def are_at_work(self) -> bool:
        self.replace_ended()
        return len(self.at_work()) == self.plan.workers

    def is_settled(self) -> bool:
        """Returns whether all workers are at work, no job can kill one of them, and all supervisors listen.

        If so, every process has noticed the end of each earlier outage.
        """
        return (
            self.are_at_work()
            and not self.one("select exists (select from pgqueue.jobs_live where task = 'bomb')")
            and self.one("select count(*) from pg_stat_activity where application_name = 'pgqueue listen'")
            == self.plan.supervisors
        )

    def have_worked_since(self) -> bool:
        """Returns whether every worker has sent heartbeats and completed a job since the last start of the server."""
        self.feed()
        at_work = self.one(
            "select count(*) from pgqueue.workers w where w.state = 'running'"
            " and w.heartbeat_at > pg_postmaster_start_time() + interval '1.5 s'"
            " and exists (select from chk.events e where e.worker_id = w.id and e.new_state = 'completed'"
            " and e.at > pg_postmaster_start_time())"
        )
        return bool(at_work == self.plan.workers)


def observer(dsn: str) -> Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, application_name="campaign")
