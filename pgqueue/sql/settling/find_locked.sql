-- Finds which of these jobs' rows another transaction holds locked just now. A row that is gone is not locked.
-- Expects jobs_live_id_key. Locks the other rows until its transaction ends, skipping locked ones, in no order: it never waits.
-- Zero rows: none is locked.
select j.id from pgqueue.jobs_live j
where j.id = any(%(ids)s::bigint[])
  and j.id <> all(array(select l.id from pgqueue.jobs_live l where l.id = any(%(ids)s::bigint[]) for update skip locked))
