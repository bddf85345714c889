"""The campaign: 4,000 jobs on six workers that are killed, stopped and cut off, on a server that crashes in the middle.

Nothing may be lost and no transactional effect may happen twice, and every fault must really have happened: a worker was
running jobs when it died, a zombie's jobs were rescued, a backend was really terminated. The faults come from one seed,
which is printed; PGQUEUE_CAMPAIGN_SEED repeats it.

Three jobs of four are under a rule: of keys whose jobs have limits, rates and weights, of rows whose jobs keep their order, or unique. No
limit may be exceeded at any instant, no order broken, and no seat lost.

Short campaigns do the same with supervisors (``--processes 2``), which are killed too, and with every handler on a thread
or in a child process. PGQUEUE_CAMPAIGN_LONG=1 makes all of them long: ``PGQUEUE_CAMPAIGN_LONG=1 pytest -n 0 -s
tests/process/test_campaign.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import scalar_row

from pgqueue import embedded, migrate
from tests import checker
from tests.checker import Intents
from tests.process import workload
from tests.process.processes import WorkerProcess, WorkerProcesses, unfinished
from tests.process.running import assert_order_was_kept, most_at_once
from tests.servers import create_database, directory_for_servers
from tests.waiting import STARTS, wait_until

SEED = int(os.environ.get("PGQUEUE_CAMPAIGN_SEED", secrets.randbelow(1_000_000)))
ROLLED_BACK = 0.05
LEASE = 2.0
OPTIONS = (
    "--lease", str(LEASE), "--heartbeat", "0.5", "--poll", "0.2", "--crash-limit", "100", "--wait-for-db", "30",
)  # fmt: skip
DOWN = 1.0  # seconds that the server is away
TASKS = {
    "move_async": 1400, "move_thread": 1300, "move_process": 300, "mail_async": 500, "mail_thread": 500,
}  # fmt: skip
LIMITS = """
insert into pgqueue.limits (queue, task, per_key, key, concurrency, rate, period, burst) values
    ('default', null, false, null, 24, null, null, null), (null, %s, false, null, 12, null, null, null),
    (null, null, true, null, 3, null, null, null), (null, null, true, 'tenant 1', 2, 100, '1 s', 20)
"""
ROWS, TENANTS = 25, 9
SERVER = {"max_connections": "300", "shared_buffers": "64MB"}  # with fsync, as for users

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stops and kills processes")


@dataclass(frozen=True)
class Plan:
    """How many of what; the faults are so many at least."""

    options: tuple[str, ...] = ()
    supervisors: int = 6  # with one process each: plain workers
    processes: int = 1
    slots: int = 8
    part: float = 1.0  # of the jobs
    kills: int = 30
    zombies: int = 10
    terminations: int = 20
    orphanings: int = 0  # kills of a supervisor

    @property
    def workers(self) -> int:
        return self.supervisors * self.processes

    @property
    def tasks(self) -> dict[str, int]:
        return {task: int(count * self.part) for task, count in TASKS.items()}

    def count(self, kind: str) -> int:
        """Jobs whose task's name begins so."""
        return sum(count for task, count in self.tasks.items() if task.startswith(kind))

    def long(self) -> Plan:
        return replace(self, part=1.0, kills=30, zombies=10, terminations=20, orphanings=5 * self.orphanings)


SHORT = Plan(part=0.2, kills=4, zombies=1, terminations=4)
PLANS = {
    "workers": Plan(),
    "supervisors": replace(SHORT, options=("--processes", "2"), supervisors=3, processes=2, orphanings=2),
    "threads": replace(SHORT, options=("--executor", "thread")),
    "children": replace(SHORT, options=("--executor", "process"), supervisors=3, slots=2),
}
if os.environ.get("PGQUEUE_CAMPAIGN_LONG"):
    PLANS = {name: plan.long() for name, plan in PLANS.items()}


def rules(op: int) -> dict[str, Any]:
    match op % 4:
        case 0:
            return {"concurrency_key": f"tenant {op // 4 % TENANTS}", "weight": op // 4 % 2 + 1}
        case 1:
            return {
                "concurrency_key": f"row {op // 4 % ROWS}",
                "ordering": "skip" if op // 4 % 2 else "block",
            }
        case 2:
            return {"unique_key": str(op)}
    return {}


@dataclass
class Clients:
    """Enqueues all jobs, a few at a time as the faults go on, and notes what it was told about each."""

    dsn: str
    plan: Plan
    intents: Intents
    dice: random.Random
    ops: list[tuple[int, str]] = field(default_factory=list)
    quota: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    given: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        kinds = [task for task, count in self.plan.tasks.items() for _ in range(count)]
        self.dice.shuffle(kinds)
        self.ops = list(enumerate(kinds, start=1))
        self._next_rolled_back = 1_000_000
        self._pause = threading.Event()
        self._released_at = time.monotonic()
        self.thread = threading.Thread(target=self._run, name="clients")

    def release(self, count: int) -> None:
        """Allows so many more jobs."""
        self._released_at = time.monotonic()
        count = min(count, len(self.ops) - self.given)
        self.given += count
        for _ in range(count):
            self.quota.release()

    def release_more(self) -> None:
        """A few more, if the last ones did not suffice for a while."""
        if time.monotonic() - self._released_at > 0.5:
            self.release(15)

    def _run(self) -> None:
        try:
            connection: Connection[Any] | None = None
            at = 0
            while at < len(self.ops):
                batch = self.ops[at : at + self.dice.randint(1, 15)]
                for _ in batch:
                    self.quota.acquire()
                connection = self._enqueue(connection, batch)
                at += len(batch)
                self._pause.wait(self.dice.uniform(0.0, 0.08))
            if connection is not None:
                connection.close()
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.error = error

    def _enqueue(self, connection: Connection[Any] | None, batch: list[tuple[int, str]]) -> Connection[Any]:
        """Until it is acknowledged, with the same keys again when the connection broke."""
        if self.dice.random() < ROLLED_BACK:
            self._next_rolled_back += len(batch)
            first = self._next_rolled_back
            unwanted = [(first + n, kind) for n, (_, kind) in enumerate(batch)]
            connection = self._try(connection, unwanted, roll_back=True) or connection
        while True:
            done = self._try(connection, batch, roll_back=False)
            if done is not None:
                return done
            connection = None
            self._pause.wait(0.05)

    def _try(
        self, connection: Connection[Any] | None, batch: list[tuple[int, str]], *, roll_back: bool
    ) -> Connection[Any] | None:
        ops = [op for op, _ in batch]
        try:
            if connection is None or connection.closed:
                connection = psycopg.connect(self.dsn, application_name="clients")
            jobs = [
                getattr(workload, kind)
                .using(
                    idempotency_key=str(op),
                    tags=["effect"] if kind.startswith("move") else ["external"],
                    **rules(op),
                )
                .job(op=op, ms=self.dice.randint(1, 200))
                for op, kind in batch
            ]
            for (op, _), handle in zip(batch, workload.app.enqueue_many(jobs, connection), strict=True):
                if handle.created:
                    connection.execute("insert into chk.business (op) values (%s)", [op])
            if roll_back:
                connection.rollback()
                self.intents.note(ops, "rollback")
                self.tally["rolled back"] += len(ops)
            else:
                connection.commit()
                self.intents.note(ops, "ack")
                self.tally["acknowledged"] += len(ops)
        except psycopg.OperationalError:
            self.intents.note(ops, "rollback" if roll_back else "unknown")
            self.tally["unknown"] += 0 if roll_back else len(ops)
            if connection is not None:
                connection.close()
            return None
        return connection


@dataclass
class Faults:
    """Does harm, one fault after the other, and remembers to whom."""

    home: Path
    server: embedded.Postgres
    workers: WorkerProcesses
    clients: Clients
    dice: random.Random
    db: Connection[Any]
    plan: Plan
    alive: list[WorkerProcess] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)  # worker ids
    zombies: dict[int, int] = field(default_factory=dict)  # worker id and pid
    woken: dict[int, int] = field(default_factory=dict)
    orphans: dict[int, int] = field(default_factory=dict)
    orphaned: int = 0
    terminated: int = 0
    gone_lines: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> None:
        plan = self.plan
        order = ["kill"] * (plan.kills + 1) + ["zombie"] * plan.zombies + ["terminate"] * plan.terminations
        order += ["orphan"] * plan.orphanings
        self.dice.shuffle(order)
        order.insert(len(order) // 2, "restart")
        portion = len(self.clients.ops) * 2 // 3 // len(order)  # the rest for faults that find nobody at work
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
        """SIGKILL to a worker that runs jobs, and another one in its place at once, or by its supervisor."""
        pid, worker_id = self.caught()
        self.killed.add(worker_id)
        os.kill(pid, signal.SIGKILL)
        for worker in self.alive[:]:
            if worker.pid == pid:
                worker.end()
                self.alive.remove(worker)
                self.start()

    def orphan(self) -> None:
        """SIGKILL to a supervisor: its workers end by themselves, which is seen at the end."""

        def families() -> list[tuple[WorkerProcess, dict[int, int]]]:
            """Supervisors with workers that were done no harm: all of one may just have been killed."""
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
        """SIGSTOP to a worker that runs jobs, until others have taken them; two at a time at most."""
        self.wake(rest=1)
        pid, worker_id = self.caught()
        self.zombies[worker_id] = pid

    def wake(self, rest: int) -> None:
        """SIGCONT to zombies of whose jobs some were rescued, until only ``rest`` are left.

        Or all are gone: its children, which go on, may have completed them in transactions of their own. (That all are gone
        is not to be waited for: one may be locked by the transaction in which the zombie was stopped.)
        """

        def ready() -> list[int]:
            rescued = self.effective("zombies")
            return [worker for worker in self.zombies if worker in rescued or not self.runs(worker)]

        while len(self.zombies) > rest:
            for worker_id in wait_until(ready, STARTS):
                self.woken[worker_id] = pid = self.zombies.pop(worker_id)
                os.kill(pid, signal.SIGCONT)

    def terminate(self) -> None:
        """pg_terminate_backend on a connection of a worker."""

        def terminated() -> bool:
            pids = self.db.execute(
                "select pid from pg_stat_activity where application_name ~ '^pgqueue (claim|settle|listen|leader|heartbeat|app)$'"
                " order by backend_start, pid"
            ).fetchall()
            return bool(pids) and bool(self.one("select pg_terminate_backend(%s)", self.dice.choice(pids)[0]))

        wait_until(terminated)
        self.terminated += 1

    def restart(self) -> None:
        """The server crashes and comes back; every worker says one line about each."""
        self.wake(rest=0)
        wait_until(self.is_settled, STARTS)
        sizes = {worker.pid: worker.log.stat().st_size for worker in self.alive}
        self.db.close()
        self.server.stop("immediate")
        threading.Event().wait(DOWN)
        self.server = embedded.start(self.home, settings=SERVER)
        self.db = observer(self.clients.dsn)
        self.clients.release(60)
        wait_until(self.have_worked_since, STARTS)
        self.gone_lines = [
            (
                len(worker.lines("the database went away", sizes[worker.pid])),
                len(worker.lines("the database is back", sizes[worker.pid])),
            )
            for worker in self.alive
        ]

    # ------------------------------------------------------------ what SQL tells

    def one(self, query: str, *parameters: Any) -> Any:
        with self.db.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(query.encode(), parameters).fetchone()

    def at_work(self) -> list[tuple[int, int]]:
        """Workers (id, pid) that are registered and were done no harm."""
        hurt = {*self.killed, *self.zombies, *self.woken, *self.orphans}
        return [
            (worker_id, pid)
            for worker_id, pid in self.db.execute(
                "select id, pid from pgqueue.workers where state = 'running' and expires_at > clock_timestamp() order by id"
            )
            if worker_id not in hurt
        ]

    def caught(self) -> tuple[int, int]:
        """A worker (pid, id), stopped while it ran jobs."""

        def busy() -> tuple[int, int] | None:
            self.clients.release_more()
            candidates = self.at_work()
            self.dice.shuffle(candidates)
            for worker_id, pid in candidates:
                if pid not in self.zombies.values() and self.runs(worker_id):
                    with contextlib.suppress(ProcessLookupError):  # it was an orphan that has just ended
                        os.kill(pid, signal.SIGSTOP)
                        if self.runs(worker_id):
                            return pid, worker_id
                        os.kill(pid, signal.SIGCONT)
            return None

        return wait_until(busy, STARTS)  # type: ignore[return-value]

    def runs(self, worker_id: int) -> bool:
        return bool(
            self.one(
                "select count(*) from pgqueue.jobs_live where state = 'running' and worker_id = %s", worker_id
            )
        )

    def effective(self, which: str) -> set[int]:
        """Those workers whose fault had its effect: jobs that they were running were rescued from them."""
        ids = list(getattr(self, which))
        return {
            row[0]
            for row in self.db.execute(
                "select distinct worker_id from pgqueue.transitions where reason = 'rescued' and worker_id = any(%s)",
                [ids],
            )
        }

    def is_settled(self) -> bool:
        """All are registered, and none is in the middle of an older outage."""
        return len(self.at_work()) == self.plan.workers and all(
            len(worker.lines("the database went away")) == len(worker.lines("the database is back"))
            for worker in self.alive
        )

    def have_worked_since(self) -> bool:
        """Whether all heartbeats go again and everybody has completed something since the server came back."""
        self.clients.release_more()
        at_work = self.one(
            "select count(*) from pgqueue.workers w where w.state = 'running'"
            " and w.heartbeat_at > pg_postmaster_start_time() + interval '1.5 s'"
            " and exists (select from chk.events e where e.worker_id = w.id and e.new_state = 'completed'"
            " and e.at > pg_postmaster_start_time())"
        )
        return bool(at_work == self.plan.workers)


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def observer(dsn: str) -> Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, application_name="campaign")


@pytest.fixture
def home() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory


@pytest.mark.parametrize("name", PLANS)
def test_the_campaign(home: Path, tmp_path: Path, name: str) -> None:
    plan = PLANS[name]
    print(f"\ncampaign of {name}: seed {SEED}")
    begun = time.monotonic()
    dice = random.Random(SEED)
    mailbox = home / "mailbox"
    server = embedded.start(home / "server", settings=SERVER)
    faults = None
    try:
        dsn = create_database(server.dsn, "campaign")
        migrate.upgrade(dsn)
        checker.install(dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute(LIMITS, [workload.move_thread.name])
        with (
            Intents(home / "intents.jsonl") as intents,
            WorkerProcesses(dsn, tmp_path, {workload.MAILBOX: str(mailbox)}, quiet=True) as workers,
        ):
            clients = Clients(dsn, plan, intents, random.Random(dice.random()))
            faults = Faults(home / "server", server, workers, clients, dice, observer(dsn), plan)
            for _ in range(plan.supervisors):
                faults.start()
            clients.thread.start()
            try:
                faults.run()
            finally:
                clients.release(len(clients.ops))
                clients.thread.join(timeout=60)
            if clients.error is not None:
                raise clients.error
            try:
                while left := unfinished(faults.db):  # a slow machine has long to go, but goes on
                    wait_until(lambda left=left: unfinished(faults.db) < left, timeout=60)  # type: ignore[misc]
            except AssertionError:
                show_unfinished(faults.db)
                raise
            wait_until(lambda: all(is_gone(pid) for pid in faults.orphans.values()))
            report(faults, time.monotonic() - begun)
            judge(faults, mailbox)
    finally:
        if faults is not None:
            faults.db.close()
        (faults.server if faults else server).stop()
    print(f"campaign: {time.monotonic() - begun:.0f} s in all")


def show_unfinished(db: Connection[Any]) -> None:
    for query in (
        "select id, task, state, attempt, lease_id, worker_id, run_at, started_at, clock_timestamp() from pgqueue.jobs_live limit 20",
        "select id, pid, state, heartbeat_at from pgqueue.workers where id in (select worker_id from pgqueue.jobs_live)",
        "select pid, application_name, state, wait_event, xact_start from pg_stat_activity where xact_start is not null",
    ):
        for row in db.execute(query.encode()):
            print(*row)


def report(faults: Faults, seconds: float) -> None:
    states = dict(faults.db.execute("select state, count(*) from pgqueue.jobs group by 1").fetchall())
    reasons = dict(
        faults.db.execute("select reason, count(*) from pgqueue.transitions group by 1").fetchall()
    )
    print(
        f"campaign: {seconds:.0f} s; jobs {states}; clients {dict(faults.clients.tally)}; transitions {reasons};"
        f" kills {len(faults.effective('killed'))} of {len(faults.killed)}, zombies {len(faults.effective('woken'))},"
        f" terminated backends {faults.terminated}, orphans {len(faults.orphans)} of {faults.orphaned} supervisors,"
        f" restarts 1 (lines gone, back: {faults.gone_lines})"
    )


def judge(faults: Faults, mailbox: Path) -> None:
    clients, db, plan = faults.clients, faults.db, faults.plan
    transactional, external = plan.count("move"), plan.count("mail")
    # Every fault has really happened.
    assert len(faults.effective("killed")) >= plan.kills
    assert len(faults.effective("woken")) >= plan.zombies
    assert faults.terminated >= plan.terminations
    assert (
        faults.one("select count(*) from pgqueue.workers where state = 'expired'")
        >= plan.kills + plan.zombies
    )
    assert faults.orphaned == plan.orphanings
    assert len(faults.orphans) >= plan.orphanings
    # Nothing is lost, nothing is there that was rolled back, nothing happened twice.
    assert clients.tally["acknowledged"] == transactional + external
    assert clients.tally["rolled back"] > 0
    assert db.execute("select state, count(*) from pgqueue.jobs group by 1").fetchall() == [
        ("completed", transactional + external)
    ]
    clients.intents.load(clients.dsn)
    checker.check(clients.dsn)
    assert faults.one("select count(*) from chk.effects") == transactional
    # Nobody has exceeded a limit or broken an order, and all seats are free again, without being mended.
    assert most_at_once(db, lambda key, task: "all")["all"] <= 24
    assert most_at_once(db, lambda key, task: task)[workload.move_thread.name] <= 12
    by_key = most_at_once(db, lambda key, task: key)
    assert len(by_key) == ROWS + TENANTS
    assert by_key.pop("tenant 1") <= 2
    assert max(by_key.values()) == 3
    assert assert_order_was_kept(db) > plan.part * 900
    assert db.execute("select * from pgqueue.seats where taken > 0").fetchall() == []
    assert db.execute("select * from pgqueue.heal_seats()").fetchall() == []
    assert "mended" not in "".join(worker.log.read_text(errors="replace") for worker in faults.workers.all)
    # Effects outside happen at least once, and again only for jobs that a fault has interrupted.
    delivered = Counter(line.split()[0] for line in mailbox.read_text().splitlines())
    assert len(delivered) == external
    duplicates = delivered.total() - external
    hurt = len(faults.killed) + len(faults.woken) + len(faults.orphans)
    most = (hurt + plan.workers) * plan.slots  # the last for the server's crash
    print(f"campaign: {duplicates} external effects happened again, {most} might have")
    assert duplicates <= most
    # An outage is one line of each process when it begins and one when it ends.
    lines = plan.processes + (plan.processes > 1)
    assert faults.gone_lines == [(lines, lines)] * plan.supervisors
    # Every zombie has noticed that it was one, unless it was killed before it could.
    logs = "".join(worker.log.read_text(errors="replace") for worker in faults.workers.all)
    noticed = sum(f"worker {worker_id} lost its lease" in logs for worker_id in faults.woken)
    assert noticed >= plan.zombies // 2
