-- Moves jobs of a workflow that do not run to the finished jobs. The caller has locked their rows, and resolves their nodes. `reason` is
-- the reason in the transitions; null: the one that the node says.
create or replace function pgqueue.end_jobs(ids bigint[], end_state text, reason text)
returns void
language plpgsql
as $function$
declare
    told_of integer;
begin
    with gone as (
        delete from pgqueue.jobs_live j where j.id = any(ids) and j.state <> 'running' returning j.*
    ), named as materialized (
        select g.*, coalesce(end_jobs.reason, case when end_state = 'dead' then 'results_too_long' when n.needs = 'failed' then 'not_needed'
                                                   else 'dependency_failed' end) as why,
               case end_state when 'dead' then 'The results that it waits for are too long for its arguments.' end as error
        from gone g
        left join lateral (select n.needs from pgqueue.nodes n where n.id = g.id offset 0) n on true
    ), moved as (
        insert into pgqueue.jobs (
            --+ ended,
            finished_at, state, crash_count, cancel_requested, progress, last_error)
        select
            --+ ended g,
            clock_timestamp(), end_state, g.crash_count, g.cancel_requested, g.progress, coalesce(g.error, g.last_error)
        from named g
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason, error)
        select g.id, g.lease_id, g.attempt, g.state, end_state, g.why, g.error from named g
    ), told as (
        insert into pgqueue.jobs_live as h (stored_by_pgqueue, task, queue, priority, trace_context, args)
        select true, k.hook, 'pgqueue.hooks', g.priority, g.trace_context,
               pgqueue.hook_args(to_jsonb(g) - 'why' || jsonb_build_object(
                   'state', end_state, 'last_error', g.error, 'finished_at', clock_timestamp()), g.why, g.error, null)
        from named g cross join lateral (select g.task || ':on_dead') k (hook)
        where end_state = 'dead'
          and exists (select from pgqueue.workers w
                      where k.hook = any(w.tasks) and w.state in ('running', 'draining') and w.expires_at > clock_timestamp())
        returning pgqueue.wake(h.queue)
    ), waited as materialized (
        select --+ is_waited
    )
    select count(n.sent::text) into told_of
    from named g
    left join lateral (select pg_notify('pgqueue_finished', g.id::text) as sent where (select w.now from waited w)) n on true;
end
$function$;
