"""What statements return of the server and of our tables on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """A database as pgqueue finds it: ``version`` as 180006, ``installed`` if our tables exist."""

    version: int
    in_recovery: bool
    installed: bool
    database: str
    user: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Locker:
    """A transaction that has locked ``table``; ``pid`` None: a prepared one."""

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
class Snapshot:
    """Who holds back vacuum: ``kind`` is session, standby, slot, catalog slot or prepared transaction.

    ``age`` in seconds, None if it is not known; ``transactions`` is the same in transactions.
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


@dataclass(frozen=True, slots=True)
class Storage:
    """jobs_live and its claim index: rows by the server's estimate, sizes in bytes."""

    live: int
    dead: int
    table: int
    claim_index: int
    vacuumed: bool


@dataclass(frozen=True, slots=True)
class DayChange:
    """What became of a day's table; ``what`` is made, attached, dropped, locked, crowded or refused."""

    name: str
    what: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a table: missing, detached, detaching, or default (it holds rows)."""

    name: str
    fault: str
    size: int


@dataclass(frozen=True, slots=True)
class IndexFault:
    """An index of jobs_live that is outgrown or invalid; ``ours`` if this role may mend it."""

    name: str
    fault: str
    size: int
    live: int
    ours: bool
