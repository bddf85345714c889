-- Which of these jobs' rows another transaction holds locked just now. Found by jobs_live_id_key; the others are locked for this moment.
-- Zero rows: none. A row that is gone is not locked.
select j.id from pgqueue.jobs_live j
where j.id = any(%(ids)s::bigint[])
  and j.id <> all(array(select l.id from pgqueue.jobs_live l where l.id = any(%(ids)s::bigint[]) for update skip locked))
