-- Enqueues the job of a run that has its row in schedule_runs already, and writes the job's id into that row. fire_schedule and
-- run_schedule both call it.
-- The job's meta contains the schedule's name and the fire time. If `due` is still to come, it becomes the job's run_at. If the schedule
-- has a debounce, the debounce sets run_at instead.
create or replace function pgqueue.enqueue_run(schedule bigint, fire_at timestamptz, due timestamptz)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $function$
declare
    stored record;
begin
    select e.id, e.conflict into stored
    from pgqueue.schedules s
    cross join lateral pgqueue.enqueue(s.task, s.args,
        s.options
        || case when s.source = 'code' then jsonb_build_object('declared', true) else '{}' end
        || jsonb_build_object('meta', coalesce(s.options -> 'meta', '{}')
                                      || jsonb_build_object('schedule', s.name, 'fire_at', enqueue_run.fire_at))
        || case when due > clock_timestamp() and not s.options ? 'debounce' then jsonb_build_object('run_at', due) else '{}' end) e
    where s.id = schedule;
    update pgqueue.schedule_runs r
    set job_id = stored.id, enqueued_at = clock_timestamp(),
        state = case when stored.conflict is null then 'enqueued' else 'duplicate' end
    where r.schedule_id = schedule and r.fire_at = enqueue_run.fire_at;
    return stored.id;
end
$function$;
