-- Finds which of these attempts completed, although the worker got no answer to the commit: their jobs are completed under the same lease,
-- or are gone because completed jobs of their task are not kept. Uses the unique index on id of each partition. Locks nothing.
-- Zero rows: no attempt completed; each lease was lost, or its job goes on.
select h.id from unnest(%(ids)s::bigint[], %(lease_ids)s::bigint[]) h (id, lease_id)
where not exists (select from pgqueue.jobs j where j.id = h.id and (j.lease_id <> h.lease_id or j.state <> 'completed'))
