-- Lists the jobs that one transaction enqueued, by all of its calls: those with the transaction_id of a job. At most 200 jobs. Looks at ids
-- that differ by at most 2,000 from the id of the job, so it can miss jobs of a large transaction. Locks nothing.
-- Zero rows: the job is gone, or it was stored before version 0029 of the schema.
-- `committed_at` is null if the server does not note when transactions commit (track_commit_timestamp), or has forgotten this one.
-- In a database that was restored on another server, the number means another transaction, which committed at any time. So a time that is
-- not between the enqueue and the last claim is left out. It is also null on a standby, whose setting need not be that of the primary.
with one as materialized (
    select j.transaction_id,
           case when current_setting('track_commit_timestamp') = 'on' and not pg_is_in_recovery()
                     and j.transaction_id < pg_snapshot_xmax(pg_current_snapshot())
                then case when pg_xact_status(j.transaction_id) = 'committed' then pg_xact_commit_timestamp(j.transaction_id::xid) end
                end as committed_at
    from pgqueue.jobs j
    where j.id = %(job_id)s::bigint and j.transaction_id is not null
    limit 1
)
select j.id, j.queue, j.task, j.state, j.created_at, pgqueue.time_of(j.started_at) as started_at,
       case when one.committed_at between j.created_at and coalesce(j.started_at, 'infinity') then one.committed_at end as committed_at
from one join pgqueue.jobs j on j.transaction_id = one.transaction_id
where j.id between %(job_id)s::bigint - 2000 and least(%(job_id)s::bigint, 9223372036854773807) + 2000
order by j.id
limit 200
