-- Finds the queues that hold unclaimed jobs, by loose index scans of jobs_live_claim_idx and jobs_live_key_idx: one probe of each index for
-- each queue.
-- Locks nothing. Zero rows: all jobs are claimed.
create or replace function pgqueue.unclaimed_queues()
returns setof text
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    with recursive seen (queue) as (
        select '' collate "C"
        union all
        select least(
            (select j.queue::text from pgqueue.jobs_live j
             where --+ claim_idx j
               and j.queue > s.queue
             order by j.queue limit 1),
            (select j.queue::text from pgqueue.jobs_live j
             where --+ key_idx j
               and j.queue > s.queue
             order by j.queue limit 1))
        from seen s where s.queue is not null
    )
    select s.queue from seen s where s.queue <> ''
$function$;
