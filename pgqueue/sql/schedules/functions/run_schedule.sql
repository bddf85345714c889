-- Runs a schedule now, once, even if it is paused or its last run has not ended: `select pgqueue.run_schedule('nightly')`.
-- Returns the job's id; null if there is no schedule of that name. The schedule's fire times stay as they are. Locks the schedule's row.
create or replace function pgqueue.run_schedule(schedule text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    found_id bigint;
    moment   timestamptz;
begin
    select s.id into found_id from pgqueue.schedules s where s.name = schedule for update;
    if not found then
        return null;
    end if;
    insert into pgqueue.schedule_runs (schedule_id, fire_at, manual)
    values (found_id, clock_timestamp(), true)
    returning fire_at into moment;
    return pgqueue.enqueue_run(found_id, moment, null);
end
$function$;
