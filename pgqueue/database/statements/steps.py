"""The statements of steps: they store checkpoints, read them, and delete the checkpoints of jobs that are gone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pgqueue.database.statements.decoding import array, nothing, one, statement
from pgqueue.database.statements.noting import Who, noted
from pgqueue.model.steps import CURSOR, Checkpoint
from pgqueue.runtime.clock import moment_in
from pgqueue.sql import Row, Statement, load_chosen

Lease = tuple[int, int]  # a job's id and its lease_id
VERSIONS = frozenset({"versions"})  # the lines of store_checkpoints.sql that set the version of jobs


@dataclass(frozen=True, slots=True)
class StoredCheckpoints:
    """The result of ``store_checkpoints``.

    ``leases``: for each lease that its worker still has, whether the job was asked to stop. ``locked``: leases whose jobs another transaction has
    locked. ``stored``: lease, name and key of each new checkpoint.
    """

    leases: dict[Lease, bool] = field(default_factory=dict)
    locked: set[Lease] = field(default_factory=set)
    stored: set[tuple[Lease, str, str]] = field(default_factory=set)


def store_checkpoints(
    items: Sequence[tuple[int, int, int, Checkpoint]],
) -> Statement[StoredCheckpoints]:
    """Stores checkpoints of running attempts. ``items``: (worker id, job id, lease id, checkpoint), sorted by job id."""
    stores = statement(
        "store_checkpoints", _stored, items="[" + ",".join([_item(*item) for item in items]) + "]"
    )
    has_versions = any(made.version is not None for *_, made in items)
    return replace(stores, text=load_chosen(stores.name, VERSIONS if has_versions else frozenset[str]()))


def store_checkpoint(worker_id: int, job_id: int, lease_id: int, made: Checkpoint) -> Statement[bool]:
    """Stores one checkpoint of a running attempt. Returns False if it stored nothing; then ``store_checkpoints`` says why, or stores it."""
    return statement(
        "store_checkpoint", bool, worker_id=worker_id, job_id=job_id, lease_id=lease_id, kind=made.kind, name=made.name, key=made.key,
        fingerprint=made.fingerprint, version=made.version, value=made.value,
    )  # fmt: skip


def _item(worker_id: int, job_id: int, lease_id: int, made: Checkpoint) -> str:
    head = json.dumps({
        "job_id": job_id, "lease_id": lease_id, "worker_id": worker_id, "kind": made.kind, "name": made.name, "key": made.key,
        "fingerprint": made.fingerprint, "version": made.version,
    })  # fmt: skip
    return f'{head[:-1]}, "value": {made.value}}}'


def _stored(rows: Sequence[Row]) -> StoredCheckpoints:
    found = StoredCheckpoints()
    for what, job_id, lease_id, name, key, asked in rows:
        match what:
            case "leased":
                found.leases[job_id, lease_id] = asked
            case "locked":
                found.locked.add((job_id, lease_id))
            case _:
                found.stored.add(((job_id, lease_id), name, key))
    return found


def load_checkpoints(job_ids: Sequence[int]) -> Statement[dict[int, list[Checkpoint]]]:
    """Returns the checkpoints of each of these jobs. A job without checkpoints has an empty list."""

    def decode(rows: Sequence[Row]) -> dict[int, list[Checkpoint]]:
        found: defaultdict[int, list[Checkpoint]] = defaultdict(list)
        for row in rows:
            found[row[0]].append(_loaded(row))
        return {job_id: found[job_id] for job_id in job_ids}

    return statement("load_checkpoints", decode, ids=array(job_ids))


def _loaded(row: Row) -> Checkpoint:
    _, kind, name, key, fingerprint, lease_id, at, value, version, left = row
    return Checkpoint(kind, name, key, fingerprint, value, version, lease_id, at, moment_in(left))


MOST_AHEAD = 16  # on the average, at most this many checkpoints of a job are read ahead
LARGEST_AHEAD = 2048  # a checkpoint whose value is larger than this many bytes is not read ahead


def load_ahead(job_ids: Sequence[int]) -> Statement[dict[int, list[Checkpoint]]]:
    """Returns the checkpoints of these jobs. Leaves out jobs with large checkpoints, and some jobs if there are many checkpoints."""
    most = MOST_AHEAD * len(job_ids)

    def decode(rows: Sequence[Row]) -> dict[int, list[Checkpoint]]:
        # If there are more checkpoints, those of the last job are perhaps not complete, and those of jobs behind it are missing.
        last = rows[-1][0] if len(rows) == most else float("inf")
        found: dict[int, list[Checkpoint]] = {job_id: [] for job_id in job_ids if job_id < last}
        for row in rows:
            job_id, *_, value, _version, _left = row
            if value is None:
                found.pop(job_id, None)
            elif job_id in found:
                found[job_id].append(_loaded(row))
        return found

    return statement("load_ahead", decode, ids=array(sorted(job_ids)), largest=LARGEST_AHEAD, most=most)


def store_effect(worker_id: int, job_id: int, lease_id: int, made: Checkpoint) -> Statement[None]:
    """Stores the checkpoint of a step in the transaction that writes the step's rows. Fails with a unique violation if it was stored before."""
    return statement(
        "store_effect", nothing, worker_id=worker_id, job_id=job_id, lease_id=lease_id, name=made.name, key=made.key,
        fingerprint=made.fingerprint, version=made.version, value=made.value,
    )  # fmt: skip


def save_cursor(
    worker_id: int, job_id: int, lease_id: int, value: str, version: int | None = None
) -> Statement[None]:
    """Stores the place that a job has come to, as JSON text, in the caller's transaction. ``version``: of the job's task."""
    return statement(
        "save_cursor",
        nothing,
        worker_id=worker_id,
        job_id=job_id,
        lease_id=lease_id,
        name=CURSOR,
        version=version,
        value=value,
    )


def check_fence() -> Statement[None]:
    """Checks the lease in the caller's transaction, before the transaction completes the job whose checkpoints it has written."""
    return statement("check_fence", nothing)


def forget_step(job_id: int, name: str, key: str, *, who: Who | None = None) -> Statement[bool]:
    """Returns whether there was such a step. ``key`` is empty for a step without a key."""
    return noted("forget_step", who, one, job_id=job_id, name=name, key=key)


def purge_checkpoints(after: int, count: int) -> Statement[int | None]:
    """Deletes checkpoints of jobs that are gone, among the next ``count`` jobs that have checkpoints and whose ids are above ``after``.

    Returns the id after which the next call goes on; None: there are no more such jobs.
    """
    return statement("purge_checkpoints", one, after=after, count=count)
