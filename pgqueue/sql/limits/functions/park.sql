-- Parks a backlog of tasks that are full or paused, so that it is out of the way of other tasks. Its jobs without a concurrency_key get
-- `parked`, which moves them from jobs_live_claim_idx to jobs_live_key_idx. There each task is a key, and one look passes over it.
-- Only for claim_limited.sql: without parking, every claim from such a lane would walk through the backlog.
-- Looks at the first due jobs of the lane. If at least half of them belong to the backlog, parks those and goes on, for a tenth of a
-- second at most.
-- Returns whether there may be more to park. Then it also wakes the workers of the queue, so that they come again.
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
