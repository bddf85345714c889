-- Finds which of these attempts ended well, though the worker got no answer: completed under their lease, or gone because their rows are
-- not kept. Expects the unique index on id of each partition. Locks nothing.
-- Zero rows: none did; each lease was lost, or its job goes on.
select h.id from unnest(%(ids)s::bigint[], %(lease_ids)s::bigint[]) h (id, lease_id)
where not exists (select from pgqueue.jobs j where j.id = h.id and (j.lease_id <> h.lease_id or j.state <> 'completed'))
