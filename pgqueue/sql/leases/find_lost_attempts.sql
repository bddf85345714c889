-- Finds which of these attempts this worker still runs although they are no longer its own. The cause is a crash of the server, or a
-- failover, that undid the claim. After that, the job is pending again, or another attempt of the job has begun or ended.
-- An attempt that ended under this lease is not returned. Uses the unique index on id of each partition. Locks nothing. Zero rows: all
-- attempts are still this worker's.
select j.id from unnest(%(ids)s::bigint[], %(lease_ids)s::bigint[]) held (id, lease_id)
cross join lateral (
    select l.id from pgqueue.jobs l
    where l.id = held.id
      and (l.lease_id <> held.lease_id or l.state in ('pending', 'retrying', 'waiting') or l.worker_id <> %(worker_id)s::bigint)
    limit 1
) j
