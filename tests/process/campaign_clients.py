"""Plans of campaigns, and the clients that enqueue the jobs of a plan. A campaign runs jobs while faults happen (test_campaign.py).

A plan says how many jobs each task has, and how often each fault happens.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import Connection

from tests.apps import workload
from tests.checker import Intents

ROLLED_BACK = 0.05  # for this share of the batches, other jobs are enqueued before the batch and rolled back
# How many jobs of each task a whole plan has.
TASKS = {
    "move_async": 1400, "move_thread": 1300, "move_process": 300, "mail_async": 500, "mail_thread": 500,
}  # fmt: skip
ROWS, TENANTS = 25, 9


@dataclass(frozen=True)
class Plan:
    """The numbers of jobs, workers and faults. For kills and zombies (stopped workers), the number is a minimum."""

    options: tuple[str, ...] = ()
    supervisors: int = 6  # if `processes` is 1, these processes are workers without a supervisor
    processes: int = 1
    slots: int = 8
    part: float = 1.0  # the plan has this share of the jobs of TASKS
    kills: int = 30
    zombies: int = 10
    terminations: int = 20
    orphanings: int = 0  # how often a supervisor is killed
    crashes: int = 1  # crashes of the server, right after a claim
    silences: int = 1  # server processes that are stopped with SIGSTOP
    stops: int = 1  # how often SIGTERM is sent to a supervisor and all its processes together
    bombs: int = 1  # jobs that kill their process
    flows: int = 30  # workflows

    @property
    def workers(self) -> int:
        return self.supervisors * self.processes

    @property
    def lines(self) -> int:
        """Returns how many lines about one outage the log of a supervisor contains: one from each worker, and one from the supervisor."""
        return self.processes + (self.processes > 1)

    @property
    def tasks(self) -> dict[str, int]:
        return {task: int(count * self.part) for task, count in TASKS.items()}

    def long(self) -> Plan:
        return replace(
            self, part=1.0, kills=30, zombies=10, terminations=20, orphanings=5 * self.orphanings,
            crashes=8, silences=6, stops=6, bombs=4, flows=100,
        )  # fmt: skip


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
    """Enqueues the jobs of the plan, a few of them before each fault, and records whether each enqueue was committed.

    If the campaign still waits for a fault when all jobs of the plan are enqueued, more jobs of the same tasks are added to the plan.
    """

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
        self._kinds = [task for task, count in self.plan.tasks.items() for _ in range(count)]
        self.dice.shuffle(self._kinds)
        self._plan(len(self._kinds))
        self._at = 0
        self._next_rolled_back = 1_000_000
        self._pause = threading.Event()
        self._released_at = time.monotonic()
        self.thread = threading.Thread(target=self._run, name="clients")

    def release(self, count: int) -> None:
        """Allows the clients to enqueue ``count`` more jobs."""
        self._released_at = time.monotonic()
        self.given += count
        self._plan(self.given)
        for _ in range(count):
            self.quota.release()

    def finish(self) -> None:
        """Allows the clients to enqueue the rest of the plan, and waits until they have done so."""
        self.release(len(self.ops) - self.given)
        # The semaphore is released twice more, without jobs. The first time ends a batch that is not full yet, the second time the thread.
        self.quota.release(2)
        self.thread.join(timeout=60)

    def count(self, kind: str) -> int:
        """Returns the number of jobs whose task's name begins with ``kind``."""
        return sum(task.startswith(kind) for _, task in self.ops)

    def _plan(self, count: int) -> None:
        self.ops += [(op, self._kinds[op % len(self._kinds)]) for op in range(len(self.ops) + 1, count + 1)]

    def release_more(self) -> None:
        """Allows the clients to enqueue 15 more jobs, unless they were allowed more jobs during the last half second."""
        if time.monotonic() - self._released_at > 0.5:
            self.release(15)

    def _run(self) -> None:
        try:
            connection: Connection[Any] | None = None
            while batch := self._next(self.dice.randint(1, 15)):
                connection = self._enqueue(connection, batch)
                self._pause.wait(self.dice.uniform(0.0, 0.08))
            if connection is not None:
                connection.close()
        except BaseException as error:  # noqa: BLE001 - the main thread of the test raises it again
            self.error = error

    def _next(self, count: int) -> list[tuple[int, str]]:
        """Waits until the clients are allowed to enqueue ``count`` more jobs, and returns these jobs. At the end, returns the rest."""
        batch: list[tuple[int, str]] = []
        while len(batch) < count:
            self.quota.acquire()
            if self._at == len(self.ops):
                break
            batch.append(self.ops[self._at])
            self._at += 1
        return batch

    def _enqueue(self, connection: Connection[Any] | None, batch: list[tuple[int, str]]) -> Connection[Any]:
        """Tries to enqueue the batch until the commit is acknowledged, and returns the connection.

        If the connection breaks, it tries again with the same keys. Sometimes it first enqueues other jobs, and rolls these back.
        """
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
