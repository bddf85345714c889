-- Finishes those of the jobs `ids` that are overdue at `moment`. If a job has expired, it becomes cancelled. If its deadline has passed, it
-- becomes dead. If both are true, the earlier of the two times decides. If the job was asked to stop while its last attempt ended, it
-- becomes cancelled.
-- The leader calls it (finish_overdue.sql). enqueue_many also calls it, if a new job needs the unique key of an overdue job.
-- No attempt failed, so of the hooks only on_dead is called. As in settle.sql, a job is stored for this hook if a living worker knows it.
-- Uses the index jobs_live_id_key. Locks the jobs. If another transaction is claiming or editing a job at this moment, waits for that
-- transaction. If the job is no longer overdue after the wait, it stays as it is.
-- Runs as the owner, because an enqueuer is not allowed to change jobs, but can need the key of an overdue job.
-- Returns the jobs that it finished. Zero rows: none of the jobs is overdue.
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
        ), resolved as (
            select pgqueue.resolve(array_agg(n.id), array_agg(n.end_state), array_agg(n.result), array_agg(n.error)) as released
            from named n where n.workflow_id is not null
            having count(*) > 0
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
        select n.id, n.task::text, n.end_state, n.reason from named n left join resolved r on true;
end
$function$;
