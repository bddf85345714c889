-- Cancels a job: at once if it is not running, else its worker is asked. A notification names that worker, which then reads
-- its rows; the next heartbeat reads them in any case.
-- Returns 'cancelled', 'requested', or the final state in which it already is; null if there is no such job.
create or replace function pgqueue.cancel(job bigint)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    held   text;
    holder bigint;
begin
    select j.state, j.worker_id into held, holder from pgqueue.jobs_live j where j.id = job for update;
    if not found then
        select j.state into held from pgqueue.jobs j where j.id = job;
        return held;
    end if;
    if held = 'running' then
        update pgqueue.jobs_live j set cancel_requested = true where j.id = job;
        perform pgqueue.notify('cancel ' || holder);
        return 'requested';
    end if;
    with gone as (
        delete from pgqueue.jobs_live j where j.id = job returning j.*
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason)
        select g.id, g.lease_id, g.attempt, g.state, 'cancelled', 'cancelled' from gone g
    )
    insert into pgqueue.jobs_done
        (id, lease_id, run_at, created_at, started_at, finished_at, priority, attempt, max_attempts, crash_count,
         cancel_requested, state, queue, task, unique_key, concurrency_key, weight, ordering, expires_at, deadline_at,
         timeout, tags, args, meta, trace_context,
         progress, last_error, ours)
    select g.id, g.lease_id, g.run_at, g.created_at, g.started_at, clock_timestamp(), g.priority, g.attempt, g.max_attempts,
           g.crash_count, true, 'cancelled', g.queue, g.task, g.unique_key, g.concurrency_key, g.weight, g.ordering, g.expires_at, g.deadline_at,
           g.timeout, g.tags,
           g.args, g.meta, g.trace_context, g.progress, g.last_error, g.ours
    from gone g;
    return 'cancelled';
end
$function$;
