"""The statements that read facts about the server: its version, its locks, its snapshots, and the schema of pgqueue in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pgqueue.database.statements.decoding import each, nothing, one, statement
from pgqueue.sql import Row, Statement


@dataclass(frozen=True, slots=True)
class Server:
    """A database and its server. ``version``: a number such as 180006. ``installed``: whether the tables of pgqueue exist."""

    version: int
    in_recovery: bool
    installed: bool
    database: str
    user: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Locker:
    """A transaction that has locked ``table``. ``pid`` is None if it is a prepared transaction. ``age`` is in seconds."""

    pid: int | None
    user: str
    application: str
    state: str
    age: float | None
    table: str

    def __str__(self) -> str:
        who = f"session {self.pid}" if self.pid else "a prepared transaction"
        about = ", ".join(part for part in (self.user, self.application, self.state) if part)
        since = "" if self.age is None else f", for {self.age:.0f} s"
        return f"{who} ({about}){since}, on {self.table}"


@dataclass(frozen=True, slots=True)
class LivingWorker:
    """A worker that lives. ``expires_at``: when its lease ends, if the worker does not renew the lease."""

    id: int
    host: str
    pid: int
    expires_at: datetime

    def __str__(self) -> str:
        return f"worker {self.id} (process {self.pid} on {self.host}), leased until {self.expires_at:%Y-%m-%d %H:%M:%S%z}"


@dataclass(frozen=True, slots=True)
class SystemNumbers:
    """The numbers of the living workers. ``slots_taken``: by jobs that run. ``cron_lag``: how late the latest schedule is, in seconds."""

    workers: int
    slots: int
    slots_taken: int
    cron_lag: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An old snapshot, which keeps vacuum from removing dead rows.

    ``kind`` is the kind of its holder: session, standby, slot, catalog slot or prepared transaction.
    ``age`` is in seconds, or None if it is not known. ``transactions`` is the age counted in transactions.
    """

    kind: str
    name: str
    pid: int | None
    user: str | None
    application: str | None
    state: str | None
    age: float | None
    transactions: int
    query: str | None


def find_old_snapshots() -> Statement[list[Snapshot]]:
    return statement("find_old_snapshots", each(Snapshot))


def describe_server() -> Statement[Server]:
    return statement("describe_server", lambda rows: Server(*rows[0]))


def read_schema_version() -> Statement[str | None]:
    return statement("read_schema_version", one)


def list_function_bodies() -> Statement[dict[str, list[str]]]:
    """Returns the bodies of the functions by name. A function can have several, because a former one with other parameters can stay."""

    def decode(rows: Sequence[Row]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, body in rows:
            found.setdefault(name, []).append(body)
        return found

    return statement("list_function_bodies", decode)


def find_blockers(seconds: float) -> Statement[list[Locker]]:
    return statement("find_blockers", each(Locker), seconds=seconds)


def list_lockers() -> Statement[list[Locker]]:
    return statement("list_lockers", each(Locker))


def list_living_workers() -> Statement[list[LivingWorker]]:
    return statement("list_living_workers", each(LivingWorker))


def write_little() -> Statement[None]:
    return statement("write_little", nothing)


def measure_system() -> Statement[SystemNumbers]:
    return statement("measure_system", lambda rows: SystemNumbers(*rows[0]))


def read_settings() -> Statement[tuple[str, str]]:
    """Returns the settings that the completion of a job changes in its transaction."""
    return statement("read_settings", lambda rows: (rows[0][0], rows[0][1]))


def restore_settings(values: tuple[str, str]) -> Statement[None]:
    """Sets them again to what ``read_settings`` has returned, until the end of the transaction."""
    return statement("restore_settings", nothing, search_path=values[0], idle=values[1])
