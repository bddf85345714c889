-- Finishes those of the jobs `ids` that no worker may run at `moment`. A job becomes cancelled if it has expired, or dead if its deadline
-- has passed, whichever moment came first. It becomes cancelled if the request came while its last attempt ended.
-- The leader calls it (finish_overdue.sql). enqueue_many calls it if another job needs the key of such a job.
-- No attempt failed, so only on_dead gets a job, as in settle.sql, if a living worker knows that hook.
-- Expects jobs_live_id_key. Locks the jobs. If another transaction is just claiming or editing a job, waits for it: a job that is no
-- longer overdue then stays.
-- Runs as the owner, because an enqueuer may change no job, but may need the key of an overdue one.
-- Returns what it finished. Zero rows: none of them is overdue.
create or replace function pgqueue.finish_overdue(ids bigint[], moment timestamptz)
returns table (id bigint, task text, state text, reason text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $function$
#variable_conflict use_column
begin
    moment := least(moment, clock_timestamp());
    return query
        with finished as (
            delete from pgqueue.jobs_live j
            where j.id = any(ids) and pgqueue.is_overdue(j.state, j.expires_at, j.deadline_at, j.cancel_requested, moment)
            returning j.*, case when j.cancel_requested then 'cancelled'
                                when j.expires_at = least(j.expires_at, j.deadline_at) then 'expired'
                                else 'deadline_exceeded' end as reason
        ), named as (
            select f.*, case f.reason when 'deadline_exceeded' then 'dead' else 'cancelled' end as end_state,
                   case f.reason when 'expired' then 'It had not started when it expired.'
                                 when 'deadline_exceeded' then 'DeadlineExceededError: PGQ-605  Its deadline passed while it waited.' end as error
            from finished f
        ), moved as (
            insert into pgqueue.jobs (
                --+ ended,
                finished_at, state, crash_count, cancel_requested, progress, last_error)
            select
                --+ ended n,
                clock_timestamp(), n.end_state, n.crash_count, n.cancel_requested, n.progress, coalesce(n.last_error, n.error)
            from named n
        ), noted as (
            insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason, error)
            select n.id, n.lease_id, n.attempt, n.state, n.end_state, n.reason, n.error from named n
        ), told as (
            insert into pgqueue.jobs_live as h (stored_by_pgqueue, task, queue, priority, trace_context, args)
            select true, k.hook, 'pgqueue.hooks', n.priority, n.trace_context,
                   pgqueue.hook_args(to_jsonb(n) || jsonb_build_object(
                       'state', n.end_state, 'last_error', coalesce(n.last_error, n.error), 'finished_at', clock_timestamp()),
                       n.reason, n.error, null)
            from named n cross join lateral (select n.task || ':on_dead') k (hook)
            where n.end_state = 'dead'
              and exists (select from pgqueue.workers w
                          where k.hook = any(w.tasks) and w.state in ('running', 'draining') and w.expires_at > clock_timestamp())
            returning pgqueue.wake(h.queue)
        )
        select n.id, n.task::text, n.end_state, n.reason from named n;
end
$function$;
