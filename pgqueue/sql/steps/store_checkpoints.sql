-- Stores the checkpoints of many attempts of this worker, given as a JSON array. The first commit wins: a checkpoint that is there already
-- stays as it is.
-- The fence is that of complete.sql, with the worker of each attempt. The row of each job is locked with FOR KEY SHARE until the commit.
-- This makes a rescue or a cancel of the job wait, but not a write of its progress. A row that another transaction has locked is skipped,
-- so it does not delay the checkpoints of other jobs. The caller tries the skipped checkpoints again.
-- If a job has no version yet and its checkpoint has one, the job gets that version. Only if some checkpoint has a version, the lines
-- marked `versions` are sent.
-- Locks the rows of the jobs in the order of the array, which the caller sorts by job. Then inserts in the order of the primary key.
-- Uses the index jobs_live_id_key and the primary key of checkpoints. The worker is compared in words for which no index can be used.
-- Otherwise the planner reads all jobs of the worker for each checkpoint, by jobs_live_worker_idx. `limit` keeps the last look a look by
-- id. jsonb_to_recordset() returns SQL's null for a null of JSON, so coalesce() turns it into a null of JSON again.
-- Returns rows of three kinds:
--   (leased, job, lease, null, null, asked): the attempt still has the lease; `asked` is whether the job was asked to stop;
--   (locked, job, lease, null, null, null): the attempt had the lease when the statement began, but another transaction has locked the row;
--   (stored, job, lease, name, key, null): this checkpoint was stored.
-- If a job is in no row, its lease is lost. If a job has a `leased` row, but its checkpoint was not stored, the step had a checkpoint
-- already.
-- This statement cannot read that checkpoint, because it can be newer than the statement's snapshot. load_checkpoints.sql reads it.
-- Zero rows: all leases were lost.
with asked as materialized (
    select a.job_id, a.lease_id, a.worker_id, a.kind, a.name, a.key, a.fingerprint, a.version, coalesce(a.value, 'null') as value
    from jsonb_to_recordset(%(items)s::jsonb) as a (
        job_id bigint, lease_id bigint, worker_id bigint, kind text, name text, key text, fingerprint bigint, version smallint, value jsonb)
), leases as materialized (
    select a.job_id, a.lease_id, a.worker_id from asked a group by a.job_id, a.lease_id, a.worker_id order by a.job_id, a.lease_id
), leased as materialized (
    select j.id, j.lease_id, j.cancel_requested, j.version
    from leases a
    cross join lateral (
        select l.id, a.lease_id, l.cancel_requested, l.version from pgqueue.jobs_live l
        where l.id = a.job_id and (l.lease_id = a.lease_id) is true and (l.worker_id = a.worker_id) is true and l.state = 'running'
        for key share skip locked
    ) j
), stored as (
    insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, key, fingerprint, version, value)
    select a.job_id, a.lease_id, a.worker_id, a.kind, a.name, a.key, a.fingerprint, a.version, a.value
    from asked a
    where ((a.job_id, a.lease_id) in (select h.id, h.lease_id from leased h)) is true  -- so it is looked up in a hash table, and is no join
    order by a.job_id, a.name, a.key
    on conflict (job_id, name, key) do nothing
    returning job_id, lease_id, name, key
), pinned as (  --? versions
    update pgqueue.jobs_live j set version = (select min(a.version) from asked a where a.job_id = j.id)  --? versions
    where j.id = any(array(  --? versions
        select h.id from leased h  --? versions
        where h.version is null and h.id in (select a.job_id from asked a where a.version is not null) order by h.id))  --? versions
      and j.version is null  --? versions
)
select 'leased' as what, h.id, h.lease_id, null as name, null as key, h.cancel_requested from leased h
union all
select 'locked', o.job_id, o.lease_id, null, null, null
from (select a.* from leases a where (a.job_id, a.lease_id) not in (select h.id, h.lease_id from leased h)) o
cross join lateral (
    select from pgqueue.jobs_live l
    where l.id = o.job_id and (l.lease_id = o.lease_id) is true and (l.worker_id = o.worker_id) is true and l.state = 'running'
    limit 1
) l
union all
select 'stored', s.job_id, s.lease_id, s.name, s.key, null from stored s
