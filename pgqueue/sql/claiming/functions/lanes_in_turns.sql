-- Finds the lanes (a queue and a priority) that hold unclaimed jobs that take turns. Returns for each lane when its first job is due, and
-- the position of that job. The scans of a claim can begin at that position (due_by_key.sql).
-- Uses a loose index scan of jobs_live_due_idx: one probe for each lane, and at most 2000 lanes. Locks nothing. Zero rows: no unclaimed job
-- takes turns.
create or replace function pgqueue.lanes_in_turns()
returns table (queue text, priority integer, run_at timestamptz, since text)
language sql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $function$
    with recursive lanes as (
        (select j.queue::text, j.priority::int, j.run_at::timestamptz, j.id from pgqueue.jobs_live j
         where --+ due_idx j
         order by j.queue, j.priority, j.run_at, j.id limit 1)
        union all
        select n.queue, n.priority, n.run_at, n.id from lanes l cross join lateral (
            select j.queue::text, j.priority::int, j.run_at::timestamptz, j.id from pgqueue.jobs_live j
            where --+ due_idx j
              and (j.queue, j.priority) > (l.queue, l.priority)
            order by j.queue, j.priority, j.run_at, j.id limit 1) n
    )
    select l.queue, l.priority, l.run_at, l.run_at || '/' || l.id from lanes l limit 2000
$function$;
