"""The statements of sleeps and signals: they suspend jobs, send and take signals, and wake jobs whose time-out has passed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pgqueue.database.statements.decoding import array, column, each, one, statement
from pgqueue.database.statements.noting import Who, noted
from pgqueue.model.outcome import Outcome
from pgqueue.model.steps import Checkpoint, TakeSignal
from pgqueue.runtime.clock import moment_in
from pgqueue.sql import Row, Statement


class Taken(NamedTuple):
    """The answer about one wait. ``what``: over, open, locked or lost, as functions/take_signals.sql says.

    ``found``: the checkpoint that says how the wait has ended, if it is over, and all other checkpoints of the job, if the wait asked for
    them. ``asked``: whether the job was asked to stop.
    """

    what: str
    found: list[Checkpoint]
    asked: bool


def suspend(worker_id: int, suspended: Sequence[tuple[int, int, Outcome]]) -> Statement[list[int]]:
    """Suspends jobs: (job id, lease id, outcome). Returns the ids of the jobs whose lease this worker still had."""
    items = [
        {"id": job_id, "lease_id": lease_id, "progress": outcome.progress,
         "requests": [request._asdict() for request in outcome.requests]}
        for job_id, lease_id, outcome in suspended
    ]  # fmt: skip
    return statement("suspend", column, worker_id=worker_id, items=json.dumps(items))


def take_signals(items: Sequence[tuple[int, int, int, TakeSignal]]) -> Statement[list[Taken]]:
    """Ends waits that are over. ``items``: (worker id, job id, lease id, wait). Returns one answer for each item, in the same order."""
    asked = [
        {"worker_id": worker_id, "job_id": job_id, "lease_id": lease_id, **take._asdict()}
        for worker_id, job_id, lease_id, take in items
    ]

    def decode(rows: Sequence[Row]) -> list[Taken]:
        known: defaultdict[int, list[Checkpoint]] = defaultdict(list)
        answers: list[Taken | None] = [None] * len(items)
        for (
            rank,
            what,
            kind,
            lease_id,
            value,
            stop,
            job_id,
            name,
            key,
            fingerprint,
            at,
            version,
            left,
        ) in reversed(rows):
            if rank is None:
                known[job_id].append(
                    Checkpoint(kind, name, key, fingerprint, value, version, lease_id, at, moment_in(left))
                )
                continue
            _, job, _, take = items[rank - 1]
            me = (take.name, take.key)
            found = [one for one in known[job] if one.step_id != me] if take.loads else []
            if value is not None:
                found.append(Checkpoint(kind, *me, None, value, lease_id=lease_id))
            answers[rank - 1] = Taken(what, found, bool(stop))
        return [answer for answer in answers if answer is not None]

    loads = array({job_id for _, job_id, _, take in items if take.loads})
    return statement("take_signals", decode, items=json.dumps(asked), loads=loads)


def signal(
    job_id: int,
    name: str,
    payload: str | None = None,
    key: str | None = None,
    sender: str | None = None,
    *,
    who: Who | None = None,
) -> Statement[str | None]:
    """Sends a signal. ``payload`` is JSON text. Returns ``sent``, the final state of the job, or None if there is no such job."""
    return noted("signal", who, one, job_id=job_id, name=name, payload=payload, key=key, sender=sender)


class AwaitedSignals(NamedTuple):
    """What an unfinished job waits for. ``names``: of the signals; empty if it waits for none. ``has_signal``: whether this one was sent before."""

    state: str
    names: list[str]
    has_signal: bool


def find_wait(job_id: int, name: str, key: str | None) -> Statement[AwaitedSignals | None]:
    """Finds out what a job waits for, before a signal with this name and key is sent to it. None: no unfinished job has this id."""

    def decode(rows: Sequence[Row]) -> AwaitedSignals | None:
        for state, names, has_signal in rows:
            return AwaitedSignals(state, names or [], has_signal)
        return None

    return statement("find_wait", decode, job_id=job_id, name=name, key=key)


def time_out_waits(count: int, only: Sequence[int] | None = None) -> Statement[list[int]]:
    """Makes up to ``count`` jobs pending whose time-out has passed. Returns their ids. ``only``: only jobs with these ids."""
    return statement("time_out_waits", column, count=count, only=None if only is None else array(only))


def choose_timed_out(count: int) -> Statement[list[int]]:
    """Returns the ids of the jobs that the next ``time_out_waits`` makes pending, at most ``count``."""
    return statement("choose_timed_out", column, count=count)


class LateWaits(NamedTuple):
    """``kind``: late, if the time-outs of these jobs passed a minute ago; endless, if they have waited for 30 days without a time-out."""

    kind: str
    jobs: int
    job_id: int


def find_late_waits() -> Statement[list[LateWaits]]:
    """Finds jobs that wait for a signal for too long, for ``pgq doctor``."""
    return statement("find_late_waits", each(LateWaits))


def purge_signals(after: int, count: int) -> Statement[int | None]:
    """Deletes signals of jobs that are gone, among the next ``count`` jobs that have signals and whose ids are above ``after``.

    Returns the id after which the next call goes on; None: there are no more such jobs.
    """
    return statement("purge_signals", one, after=after, count=count)
