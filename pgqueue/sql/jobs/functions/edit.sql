-- Changes a job that does not run: `select pgqueue.edit(7, '{"priority": -5, "delay": 0}')`.
-- `changes` is an object with one or more of: args (replaces all arguments), queue, priority, run_at or delay (seconds), max_attempts,
-- timeout (seconds), tags, meta, expires and deadline (seconds from now, or a time as text). A null removes a timeout, an expiry or a
-- deadline.
-- Returns 'edited'. If the job runs or has ended, nothing is changed, and its state is returned. Null: there is no such job.
-- Locks the job's row. If another transaction is claiming the job at this moment, waits for that transaction, and then finds the job
-- running.
-- Never locks a running job. Otherwise its worker could not settle it before the caller's transaction ends, and all other jobs that the
-- worker settles with it would wait, too.
-- If the job sleeps or waits for a signal, a new run_at is also the new end of the sleep, or the new time-out of the wait.
-- The idempotency key still stands for the request with which the job was enqueued. If a job has been tried before, a new expiry applies to
-- its next start.
create or replace function pgqueue.edit(job bigint, changes jsonb)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    moment constant timestamptz := clock_timestamp();
    known  constant text[] := array['args', 'queue', 'priority', 'run_at', 'delay', 'max_attempts', 'timeout', 'tags',
                                    'meta', 'expires', 'deadline'];
    wrong  text;
    now_is text;
    former timestamptz;
    edited record;
begin
    if jsonb_typeof(changes) is distinct from 'object' or changes = '{}' then
        wrong := 'an edit needs an object of options';
    elsif changes - known <> '{}' then
        wrong := format('unknown option %s for an edit', changes - known);
    elsif changes ?& array['run_at', 'delay'] then
        wrong := 'run_at and delay are both given';
    else
        select format('%s cannot be null', e.key) into wrong
        from jsonb_each(changes) e
        where e.value = 'null' and e.key not in ('timeout', 'expires', 'deadline')
        limit 1;
    end if;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong,
            hint = 'options: ' || array_to_string(known, ', ');
    end if;

    for rounds in 1 .. 100 loop
        select j.state, j.run_at into now_is, former from pgqueue.jobs_live j where j.id = job and j.state <> 'running' for update;
        exit when found;
        select j.state into now_is from pgqueue.jobs j where j.id = job;
        if now_is is null or now_is not in ('pending', 'retrying', 'waiting') then  -- otherwise the job has just become unfinished again
            return now_is;
        end if;
        if rounds = 100 then
            raise insufficient_privilege using message = format('pgqueue: row level security does not let this role change job %s', job);
        end if;
    end loop;
    update pgqueue.jobs_live j
    set args = coalesce(c.args, j.args), queue = coalesce(c.queue, j.queue), priority = coalesce(c.priority, j.priority),
        run_at = case when c.delay is not null then moment + make_interval(secs => greatest(c.delay, 0))
                      else coalesce(c.run_at, j.run_at) end,
        max_attempts = coalesce(c.max_attempts, j.max_attempts),
        timeout = case when changes ? 'timeout' then make_interval(secs => c.timeout) else j.timeout end,
        tags = coalesce(c.tags, j.tags), meta = coalesce(c.meta, j.meta),
        expires_at = case when changes ? 'expires' then pgqueue.option_time(c.expires, moment) else j.expires_at end,
        deadline_at = case when changes ? 'deadline' then pgqueue.option_time(c.deadline, moment) else j.deadline_at end
    from jsonb_to_record(changes) as c (
        args jsonb, queue text, priority smallint, run_at timestamptz, delay float8, max_attempts smallint, timeout float8,
        tags text[], meta jsonb, expires jsonb, deadline jsonb)
    where j.id = job
    returning j.lease_id, j.attempt, j.queue, j.run_at into edited;
    if edited.run_at <> former then
        update pgqueue.checkpoints c set value = jsonb_set(c.value, '{until}', to_jsonb(edited.run_at))
        where c.job_id = job and (c.kind = 'sleep' or c.kind = 'wait' and c.value ? 'names')
          and (c.value ->> 'until')::timestamptz = former;
    end if;
    insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason, run_at)
    values (job, edited.lease_id, edited.attempt, now_is, now_is, 'edited', edited.run_at);
    if now_is <> 'waiting' and edited.run_at <= moment + interval '1 second' then
        perform pgqueue.wake(edited.queue);
    end if;
    return 'edited';
end
$function$;
