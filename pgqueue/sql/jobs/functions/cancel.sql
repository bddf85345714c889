-- Cancels a job. If the job does not run, ends it immediately; otherwise asks its worker to stop it. In the second case a notification
-- contains the worker's id, and the worker then reads which of its jobs must stop. If the notification gets lost, the worker reads this
-- after its next heartbeat.
-- Returns 'cancelled', 'requested', or the final state in which the job already is; null if there is no such job.
create or replace function pgqueue.cancel(job bigint)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    now_is text;
    holder bigint;
    flow   bigint;
begin
    for rounds in 1 .. 100 loop
        select j.state, j.worker_id, j.workflow_id into now_is, holder, flow from pgqueue.jobs_live j where j.id = job for update;
        exit when found;
        select j.state into now_is from pgqueue.jobs j where j.id = job;
        if now_is is null or now_is not in ('pending', 'running', 'retrying', 'waiting') then  -- otherwise a revive has just committed
            return now_is;
        end if;
        if rounds = 100 then
            raise insufficient_privilege using message = 'pgqueue: row level security does not let this role change job ' || job;
        end if;
    end loop;
    if now_is = 'running' then
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
    insert into pgqueue.jobs_done (
        --+ ended,
        finished_at, state, crash_count, cancel_requested, progress, last_error)
    select
        --+ ended g,
        clock_timestamp(), 'cancelled', g.crash_count, true, g.progress, g.last_error
    from gone g;
    if flow is not null then
        perform pgqueue.resolve(array[job], array['cancelled'], array[null]::jsonb[], array['It was cancelled.']);
    end if;
    return 'cancelled';
end
$function$;
