-- If no worker has an unfinished job, replaces its arguments and options by the values in `body`, which is an item of enqueue_many. So the
-- last call wins.
-- If the job is debounced, its new run_at is `moment` + debounce, but at most debounce_max after the job was first enqueued.
-- The job's id, state, attempts, created_at and key stay. Returns the job's state. Null: nothing was changed, because the job is running or
-- waiting, has stored a checkpoint, has ended, or is overdue. A job with a checkpoint is work that has begun: with other arguments, its next
-- attempt would take the results of steps that had the old ones.
-- Locks the job's row. If another transaction is claiming or replacing the job at this moment, waits for that transaction. Never locks a
-- running job, because then the job's worker could not settle it before the caller's transaction ends.
create or replace function pgqueue.replace_job(job bigint, body jsonb, moment timestamptz)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- the job is found by jobs_live_id_key, even if the statistics are stale
as $function$
declare
    replaced record;
begin
    update pgqueue.jobs_live j
    set args = coalesce(w.args, '{}'), queue = coalesce(w.queue, 'default'), priority = coalesce(w.priority, 0),
        run_at = case when w.debounce is null then coalesce(w.run_at, moment + make_interval(secs => greatest(w.delay, 0)))
                      else least(moment + make_interval(secs => w.debounce), j.created_at + make_interval(secs => w.debounce_max)) end,
        max_attempts = least(greatest(coalesce(w.max_attempts, 6), j.attempt + 1), 10000), timeout = make_interval(secs => w.timeout),
        concurrency_key = w.concurrency_key, parked = null, weight = w.weight, ordering = w.ordering, tags = coalesce(w.tags, '{}'),
        meta = coalesce(w.meta, '{}'), trace_context = w.trace_context,
        expires_at = case when w.expires is not null then pgqueue.option_time(w.expires, replace_job.moment) end,
        deadline_at = case when w.deadline is not null then pgqueue.option_time(w.deadline, replace_job.moment) end
    from jsonb_to_record(body) as w (
        args jsonb, queue text, priority smallint, run_at timestamptz, delay float8, debounce float8, debounce_max float8,
        max_attempts smallint, timeout float8, concurrency_key text, weight integer, ordering text, tags text[], meta jsonb,
        trace_context jsonb, expires jsonb, deadline jsonb)
    where j.id = job and j.state <> all(array['running', 'waiting'])  -- in this form, no index of due jobs can be used
      and not exists (select from pgqueue.checkpoints c where c.job_id = j.id)
      and not pgqueue.is_overdue(j.state, j.expires_at, j.deadline_at, j.cancel_requested, replace_job.moment)
    returning j.state, j.queue, j.run_at into replaced;
    if replaced.run_at <= moment + interval '1 second' and body -> 'wake' is distinct from 'false' then
        perform pgqueue.wake(replaced.queue);
    end if;
    return replaced.state;
end
$function$;
