-- Handles, for one schedule, the fire times that have come, in the caller's transaction. Writes each of them into schedule_runs, and
-- enqueues its job. The primary key of schedule_runs makes sure that this happens only once for each fire time. Then sets the schedule's
-- next fire time.
-- `version` is the xmin of the row from which the times were computed. If another scheduler came first, or the row was edited, the row has
-- another xmin, and nothing is done.
-- `due` has the run_at of each job, which jitter makes later than the fire time. If `missed_since` is set, the first run stands for all
-- fire times since then.
-- `passed_over` is the last past fire time, if no past fire time gets a job. This fire time gets a row with the state missed.
-- If a run waits for the run before it (overlap = 'queue'), and no run is unfinished, the waiting run is enqueued first.
-- Returns how many jobs were enqueued; null if nothing was done.
-- Locks the schedule's row. If another transaction has locked that row, does nothing. If overlap = 'cancel-old', then locks the rows of the
-- schedule's unfinished jobs.
create or replace function pgqueue.fire_schedule(schedule bigint, version text, fires timestamptz[], due timestamptz[],
    missed_since timestamptz, passed_over timestamptz, following timestamptz)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $function$
declare
    plan       record;
    unfinished bigint[];
    waiting    timestamptz[];
    todo       text;
    job        bigint;
    jobs       integer := 0;
begin
    select s.overlap into plan from pgqueue.schedules s
    where s.id = schedule and s.xmin::text = version and not s.paused
    for update skip locked;
    if not found then
        return null;
    end if;
    unfinished := pgqueue.unfinished_runs(schedule);
    waiting := array(select r.fire_at from pgqueue.schedule_runs r
                     where r.schedule_id = schedule and r.state = 'waiting' order by r.fire_at limit 2);
    if waiting <> '{}' and unfinished = '{}' then
        unfinished := array[pgqueue.enqueue_run(schedule, waiting[1], null)];
        waiting := waiting[2:];
        jobs := 1;
    end if;
    if passed_over is not null then
        insert into pgqueue.schedule_runs (schedule_id, fire_at, state, missed_since)
        values (schedule, passed_over, 'missed', fire_schedule.missed_since)
        on conflict do nothing;
    end if;
    for turn in 1 .. cardinality(fires) loop
        todo := case when plan.overlap = 'skip' and unfinished <> '{}' then 'skipped'
                     when plan.overlap = 'queue' and (unfinished <> '{}' or waiting <> '{}') then 'waiting'
                     else 'enqueued' end;
        insert into pgqueue.schedule_runs (schedule_id, fire_at, state, missed_since)
        values (schedule, fires[turn], todo,
                case when turn = 1 and passed_over is null then fire_schedule.missed_since end)
        on conflict do nothing;
        continue when not found;
        if todo = 'waiting' then
            waiting := waiting || fires[turn];
        elsif todo = 'enqueued' then
            if plan.overlap = 'cancel-old' then
                perform pgqueue.cancel(u.job_id) from unnest(unfinished) as u (job_id);
                unfinished := '{}';
            end if;
            job := pgqueue.enqueue_run(schedule, fires[turn], due[turn]);
            unfinished := unfinished || job;
            jobs := jobs + 1;
        end if;
    end loop;
    update pgqueue.schedules s set next_at = following, planned = true, problem = null where s.id = schedule;
    return jobs;
end
$function$;
