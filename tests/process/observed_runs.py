"""Finds out which jobs ran at the same time, and in which order. It reads the changes that the checker's trigger has recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from psycopg import Connection

# This query returns every beginning and every end of an attempt, in the order of time. Each row also has the columns of the job on which
# limits depend.
STEPS = """
select e.seq, date_part('epoch', e.at), e.job_id, e.new_state is not distinct from 'running' as begun, j.concurrency_key, j.task,
       coalesce(j.weight, 1), j.ordering is not null
from chk.events e join pgqueue.jobs j on j.id = e.job_id
where (e.new_state is not distinct from 'running') <> (e.old_state is not distinct from 'running')
order by e.seq
"""


def most_at_once(db: Connection[Any], group: Callable[[str | None, str], str | None]) -> dict[str, int]:
    """Returns, by group of jobs, the largest total weight of the jobs that ran at the same time.

    ``group`` is called with a job's concurrency_key and task. It returns the name of the job's group, or None if the job does not count.
    """
    now: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    for _, _, _, begun, key, task, weight, _ in db.execute(STEPS):
        name = group(key, task)
        if name is not None:
            now[name] += weight if begun else -weight
            most[name] = max(most[name], now[name])
    assert all(left == 0 for left in now.values())
    return dict(most)


def assert_order_was_kept(db: Connection[Any]) -> int:
    """Asserts that each job with an ordering began after the previous job of its key had ended. Returns the number of such jobs."""
    last: dict[str, int] = {}
    finished_at: dict[int, int] = {}
    begun_at: dict[int, int] = {}
    keys: dict[int, str] = {}
    for seq, _, job, begun, key, _, _, ordered in db.execute(STEPS):
        if ordered:
            keys[job] = key
            if begun:
                begun_at.setdefault(job, seq)
            else:
                finished_at[job] = seq
    for job in sorted(keys):
        before = last.get(keys[job])
        assert before is None or finished_at[before] < begun_at[job], (
            f"job {job} of key {keys[job]} ran before {before} had ended"
        )
        last[keys[job]] = job
    return len(keys)
