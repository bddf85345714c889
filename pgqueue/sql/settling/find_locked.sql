-- Finds the jobs whose rows another transaction has locked at this moment. A row that is gone does not count as locked.
-- Uses the index jobs_live_id_key. To find the locked rows, it locks all rows that are free, in any order, until its own transaction ends.
-- It skips locked rows, so it never waits.
-- Zero rows: no row is locked.
select j.id from pgqueue.jobs_live j
where j.id = any(%(ids)s::bigint[])
  and j.id <> all(array(select l.id from pgqueue.jobs_live l where l.id = any(%(ids)s::bigint[]) for update skip locked))
