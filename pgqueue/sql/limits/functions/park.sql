-- Parks the backlog of tasks that are paused or whose limit is used up (`full_up`), so that it does not delay jobs of other tasks. Jobs of
-- the backlog without a concurrency_key get `parked`, which moves them from jobs_live_claim_idx to jobs_live_key_idx. There all jobs of one
-- task have one key, so one probe passes over all of them.
-- Only claim_limited.sql calls this function. Without parking, every claim from such a lane would walk through the backlog.
-- Looks at the first 1000 due jobs of the lane. If at least half of this number belong to the backlog, parks these jobs and looks again,
-- for at most a tenth of a second.
-- Returns whether there can be more jobs to park. If so, also wakes the workers of the queue, so that they claim and park again.
-- Locks the jobs that it looks at, skipping locked ones.
create or replace function pgqueue.park(queue text, priority smallint, tasks text[], full_up text[])
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
#variable_conflict use_column
declare
    head   constant integer := 1000;
    moment constant timestamptz := clock_timestamp();
    moved  integer;
begin
    loop
        with first as materialized (
            select j.ctid as spot, j.task = any(full_up) and j.ordering is null as is_full
            from pgqueue.jobs_live j
            where j.queue = park.queue and j.priority = park.priority
              and --+ claim_idx j
              and j.run_at <= moment and j.task = any(tasks)
            order by j.run_at, j.id
            limit head
            for update skip locked
        )
        update pgqueue.jobs_live j set parked = true
        where j.ctid = any(array(select f.spot from first f where f.is_full))
          and (select count(*) from first f where f.is_full) >= head / 2;
        get diagnostics moved = row_count;
        exit when moved = 0;
        if clock_timestamp() > moment + interval '100 ms' then
            perform pgqueue.wake(park.queue);
            return true;
        end if;
    end loop;
    return false;
end
$function$;
